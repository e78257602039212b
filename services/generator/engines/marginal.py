"""How likely answers are given each passage: what RAG models sum over passages. Imports torch.

p(z|x) is the softmax of the passages' scores, p(y|x,z) what the generator gives the answer after reading passage z
(Lewis et al. 2020, "Retrieval-Augmented Generation for Knowledge-Intensive NLP Tasks", section 2.1). Letters of shapes:
Q questions, D passages of each, C answers, T tokens of an answer with the start token, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

MAX_LOGITS = 1 << 27
"""Numbers in one output of the decoder: half a gibibyte of float32."""


@dataclass(frozen=True)
class Read:
    """Passages as the encoder left them."""

    states: torch.Tensor
    """(passages, S, dimension)."""
    mask: torch.Tensor
    """(passages, S), int64."""

    def outputs(self, passages: torch.Tensor | None = None) -> BaseModelOutput:
        """For the decoder: of all passages, or of those at the places given, which may repeat."""
        return BaseModelOutput(last_hidden_state=self.states if passages is None else self.states[passages])


def read(generator: PreTrainedModel, token_ids: torch.Tensor, mask: torch.Tensor) -> Read:
    """The rows of `token_ids` (passages, S) through the encoder."""
    return Read(generator.get_encoder()(input_ids=token_ids, attention_mask=mask).last_hidden_state, mask)


@torch.inference_mode()
def token_log_likelihoods(
    generator: PreTrainedModel,
    passages: Read,
    answers: torch.Tensor,
    pairs: Sequence[tuple[int, int]],
    pad_token_id: int,
    max_tokens: int,
) -> torch.Tensor:
    """log p(y_i | x, z, y_<i) of each pair (place of z among the passages, place of y among `answers`).

    `answers` are (C, T), the start token first, padded on the right. Returns (pairs, T - 1), 0 at padding.
    Every passage passes the encoder once and its keys and values are made once, whatever number of answers is scored
    by it. At most `max_tokens` encoder states are attended to at a time.
    """
    starts = answers.new_empty(len(passages.states), 1).fill_(int(answers[0, 0]))
    begun = generator(
        encoder_outputs=passages.outputs(),
        attention_mask=passages.mask,
        decoder_input_ids=starts,
        past_key_values=None,
        use_cache=True,
    )
    first = begun.logits.log_softmax(-1)[:, 0]
    scored = answers.new_zeros((len(pairs), answers.shape[1] - 1), dtype=first.dtype)
    places = torch.tensor(pairs, device=answers.device)
    for some in _portions(len(pairs), max_tokens // passages.mask.shape[1], scored.shape[1] * first.shape[1]):
        of, targets = places[some, 0], answers[places[some, 1], 1:]
        scored[some, 0] = first[of].gather(1, targets[:, :1])[:, 0]
        if targets.shape[1] > 1:
            logits = generator(
                encoder_outputs=passages.outputs(of),
                attention_mask=passages.mask[of],
                decoder_input_ids=targets[:, :-1],
                past_key_values=_of(begun.past_key_values, of),
                use_cache=True,
            ).logits
            chosen = logits.gather(2, targets[:, 1:, None])[..., 0]
            scored[some, 1:] = chosen - logits.logsumexp(-1)
        scored[some] = scored[some].masked_fill(targets == pad_token_id, 0.0)
    return scored


def sequence_scores(
    token_scores: torch.Tensor, scores: torch.Tensor, answers: torch.Tensor, pad_token_id: int, bos_token_id: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(y|x) as transformers' `RagSequenceForGeneration` ranks answers, (C,); and p(z|x,y), (C, D).

    `token_scores` are (C, D, T - 1), `scores` (D,). A first token that all answers share as the model's beginning of
    a text counts for none. An answer of one token is ranked without p(z|x), as `get_nll` masks it with the padding;
    the posterior always has it: p(z|x,y) = p(z|x) p(y|x,z) / sum over z.
    """
    prior = scores.log_softmax(-1)
    has_bos = bos_token_id is not None and bool((answers[:, 1] == bos_token_id).all())
    likelihoods = token_scores[..., int(has_bos) :].sum(-1)
    is_longer = answers[:, 2] != pad_token_id if answers.shape[1] > 2 else answers.new_zeros(len(answers)).bool()
    ranked = (likelihoods + prior * is_longer[:, None]).logsumexp(-1)
    return ranked, (likelihoods + prior).softmax(-1)


def token_posterior(token_scores: torch.Tensor, scores: torch.Tensor, is_text: torch.Tensor) -> torch.Tensor:
    """The mean over an answer's tokens of p(z | x, y_<=i), (D,): how much of the answer each passage accounts for.

    RAG-token chooses the passage anew for every token (Lewis et al. 2020, section 2.1 and figure 2), so that each has
    a posterior of its own: p(z|x) p(y_i|x,z,y_<i) / sum over z. `token_scores` are (D, T - 1), `scores` (D,),
    `is_text` (T - 1,) says which tokens count; where none does, the prior is returned.
    """
    prior = scores.log_softmax(-1)
    if not bool(is_text.any()):
        return prior.exp()
    return (token_scores[:, is_text] + prior[:, None]).softmax(0).mean(1)


def _portions(num_pairs: int, most: int, logits_of_one: int) -> Iterator[slice]:
    size = max(1, min(most, MAX_LOGITS // logits_of_one))
    return (slice(start, start + size) for start in range(0, num_pairs, size))


def _of(cache: Any, passages: torch.Tensor) -> EncoderDecoderCache:
    """A cache of its own for the rows at the places given."""
    own, crossed = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
    return EncoderDecoderCache(
        tuple(
            (one.keys[passages], one.values[passages], other.keys[passages], other.values[passages])
            for one, other in zip(own, crossed, strict=True)
        )
    )

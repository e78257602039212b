"""What engines that write with a model of transformers have in common. Imports torch."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chassis import pretrained
from services.generator import prompt as prompts
from services.generator.decoder import AnyDecoder
from services.generator.engine import AnswerKind, Passage, Sampling, Step
from services.generator.positions import UnknownPositions
from services.generator.prompt import TokenPrompt
from services.generator.row import Opening
from services.generator.row_flight import RowFlight
from services.generator.rules import UnknownEnd, greedy, least_lengths, rules, unforced_ends
from services.generator.vocabulary import Vocabulary
from services.generator.writer import Writer

if TYPE_CHECKING:
    from transformers import LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

logger = logging.getLogger(__name__)


class LanguageModel(ABC):
    """Greedy: the tokens are those of the model's own `generate` without beams, one answer at a time or in flight."""

    kind: AnswerKind = "generated"
    _load_as: Any
    """transformers' class."""

    def __init__(
        self,
        path: Path,
        device: str,
        max_prompt_tokens: int,
        max_output_tokens: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._tokenizer = pretrained.load_tokenizer(path)
        self._model = pretrained.load_model(self._load_as, path, device, dtype)
        self._model.generation_config = greedy(self._model.generation_config)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._unforced_ends = unforced_ends(self._model.generation_config)
        num_positions = getattr(self._model.config, "max_position_embeddings", None) or math.inf
        bounds = self._bounds(num_positions, max_prompt_tokens, max_output_tokens)
        self.max_prompt_tokens, self.max_output_tokens = map(int, bounds)

    @abstractmethod
    def _bounds(self, num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[float, float]:
        """The longest prompt and the longest answer that the model has positions for, within what is wanted."""

    @abstractmethod
    def _decoder(self) -> AnyDecoder:
        """The model, for rows. Raises UnknownPositions."""

    def _cache(self) -> dict[str, Any]:
        """Options of `generate` where the cache that it makes will not do."""
        return {}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._vocabulary.encode(texts)]

    def fit(self, question: str, passages: Sequence[Passage]) -> TokenPrompt:
        return prompts.fit(question, passages, self._vocabulary, self.max_prompt_tokens)

    def generate(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        max_tokens = self._max_tokens(sampling)
        writer = self._writer(max_tokens)
        for token_id, is_last in self._tokens(prompt, max_tokens):
            yield writer.write(token_id, is_last)

    def flight(self) -> RowFlight | None:
        """Answers written together, or None, with a line in the log, where this model's cannot be."""
        try:
            decoder = self._decoder()
            self._open(TokenPrompt(1, 1, 0, (), (0,)), Sampling(1))
        except (UnknownPositions, UnknownEnd) as unknown:
            logger.warning("answers are written one at a time", extra={"reason": str(unknown)})
            return None
        return RowFlight(decoder, self._open)

    def _open(self, prompt: TokenPrompt, sampling: Sampling) -> Opening:
        max_tokens = self._max_tokens(sampling)
        return Opening(rules(self._model, prompt.token_ids, max_tokens), self._writer(max_tokens), max_tokens)

    def _writer(self, max_tokens: int) -> Writer:
        return Writer(self._tokenizer, max_tokens, self._unforced_ends)

    def _max_tokens(self, sampling: Sampling) -> int:
        return min(sampling.max_output_tokens, self.max_output_tokens)

    def _tokens(self, prompt: TokenPrompt, max_tokens: int) -> Iterator[tuple[int, bool]]:
        token_ids = torch.tensor([prompt.token_ids], device=self._model.device)
        tokens: Iterator[tuple[int, bool]] = self._model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            max_new_tokens=max_tokens,
            custom_generate=_decode_greedily,
            **self._cache(),
            **least_lengths(self._model, prompt.token_ids, max_tokens),
        )
        return tokens


@torch.inference_mode()
def _decode_greedily(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: Any,
    **read: Any,
) -> Iterator[tuple[int, bool]]:
    """Yields (token id, whether it is the last), one pass each.

    `generate` calls this in place of its own loop, when an encoder has run and its rules are set up.
    """
    is_last, num_unread = False, input_ids.shape[1]
    while not is_last:
        inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=num_unread, **read)
        outputs = model(**inputs, return_dict=True)
        read = model._update_model_kwargs_for_generation(outputs, read, model.config.is_encoder_decoder)
        # In float32 whatever the model's dtype, as `generate` has it: the rules then round the same.
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        token_id = scores.argmax(dim=-1)
        input_ids, num_unread = torch.cat([input_ids, token_id[:, None]], dim=-1), 1
        is_last = bool(stopping_criteria(input_ids, scores).all())
        yield int(token_id), is_last

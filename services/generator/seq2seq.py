"""Encoder-decoders: BART, T5 and kin."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

from chassis import pretrained
from services.generator import citations, frame, prompt_template
from services.generator import prompt as prompts
from services.generator.alone import Alone
from services.generator.choice import Choice, Chosen, choose
from services.generator.encoder_decoder import EncoderDecoder
from services.generator.engine import AnswerKind, Passage, Sampling, Step
from services.generator.positions import positions_of
from services.generator.prompt import TokenPrompt
from services.generator.prompt_template import PromptTemplate
from services.generator.row import Opening
from services.generator.row_flight import RowFlight
from services.generator.rows_and_searches import RowsAndSearches
from services.generator.rules import UnknownEnd, greedy, least_new_tokens, of_beams, options, rules, unforced_ends
from services.generator.search import search
from services.generator.vocabulary import Vocabulary
from services.generator.writer import Writer

if TYPE_CHECKING:
    from transformers import LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

logger = logging.getLogger(__name__)


class Seq2Seq:
    """The tokens are those of the model's own `generate`, one answer at a time or in flight.

    Answers of several beams are searched for beside the flight, each by itself.
    """

    kind: AnswerKind = "generated"

    def __init__(
        self,
        path: Path,
        device: str,
        max_prompt_tokens: int,
        max_output_tokens: int,
        dtype: torch.dtype = torch.float32,
        template: PromptTemplate | None = None,
    ) -> None:
        """`template` is `question-context-1` unless it is given."""
        self._tokenizer = pretrained.load_tokenizer(path)
        self._model = pretrained.load_model(AutoModelForSeq2SeqLM, path, device, dtype)
        self._of_beams = of_beams(self._model.generation_config)
        self._model.generation_config = greedy(self._model.generation_config)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._template = template or prompt_template.find(prompt_template.DEFAULTS["seq2seq"])
        self._frame = frame.plain(self._vocabulary, self._template)
        self._unforced_ends = unforced_ends(self._model.generation_config)
        num_positions = getattr(self._model.config, "max_position_embeddings", None) or math.inf
        self.max_prompt_tokens = int(min(max_prompt_tokens, num_positions))
        self.max_output_tokens = int(min(max_output_tokens, num_positions - 1))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._vocabulary.encode(texts)]

    def fit(self, question: str, passages: Sequence[Passage]) -> TokenPrompt:
        return prompts.fit(question, passages, self._template, self._frame, self.max_prompt_tokens)

    def generate(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        sampling = self._within(sampling)
        return self._searched(prompt, sampling) if sampling.num_beams > 1 else self._written(prompt, sampling)

    def flight(self) -> RowsAndSearches | None:
        """Answers written together, or None, with a line in the log, where this model's cannot be."""
        positions = positions_of(self._model)
        reason = None if positions else f"no known positions: {self._model.config.model_type}"
        try:
            self._open(TokenPrompt(1, 1, 0, (), (0,)), Sampling(1))
        except UnknownEnd as unknown:
            reason = f"answers end by {unknown}"
        if positions is None or reason:
            logger.warning("answers are written one at a time", extra={"reason": reason})
            return None
        return RowsAndSearches(RowFlight(EncoderDecoder(self._model, positions), self._open), Alone(self))

    def _open(self, prompt: TokenPrompt, sampling: Sampling) -> Opening:
        sampling = self._within(sampling)
        found, writer = rules(self._model, prompt.token_ids, sampling), self._writer(prompt, sampling)
        return Opening(found, writer, sampling.max_output_tokens)

    def _writer(self, prompt: TokenPrompt, sampling: Sampling) -> Writer:
        return Writer(
            self._tokenizer,
            sampling.max_output_tokens,
            self._unforced_ends,
            stop=sampling.stop,
            min_tokens=least_new_tokens(self._model, prompt.token_ids, sampling),
            citations=citations.of(prompt),
        )

    def _within(self, sampling: Sampling) -> Sampling:
        return replace(sampling, max_output_tokens=min(sampling.max_output_tokens, self.max_output_tokens))

    def _written(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        writer = self._writer(prompt, sampling)
        for chosen, is_last in self._tokens(prompt, sampling):
            step = writer.write(chosen.number, is_last, chosen.logprobs)
            yield step
            if step.finish:
                return

    def _searched(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        """Steps without anything while the search goes on, then one with all."""
        searching = search(
            self._model,
            torch.tensor([prompt.token_ids], device=self._model.device),
            num_beams=sampling.num_beams,
            past_key_values=_cache(),
            **self._of_beams,
            **options(self._model, prompt.token_ids, sampling),
        )
        with closing(searching):
            for found in searching:
                yield Step() if found is None else _whole(self._writer(prompt, sampling), found)

    def _tokens(self, prompt: TokenPrompt, sampling: Sampling) -> Iterator[tuple[Chosen, bool]]:
        token_ids = torch.tensor([prompt.token_ids], device=self._model.device)
        tokens: Iterator[tuple[Chosen, bool]] = self._model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            past_key_values=_cache(),
            custom_generate=functools.partial(_decode, sampling),
            **options(self._model, prompt.token_ids, sampling),
        )
        return tokens


def _cache() -> EncoderDecoderCache:
    """The one that `generate` makes has as many layers as the encoder, whatever the decoder has."""
    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def _whole(writer: Writer, token_ids: Sequence[int]) -> Step:
    """All that is written of an answer, in one step."""
    text = ""
    for number, token_id in enumerate(token_ids, start=1):
        step = writer.write(token_id, is_last=number == len(token_ids))
        text += step.text
        if step.finish:
            return replace(step, text=text, num_tokens=number)
    raise AssertionError("the last token ends an answer")


@torch.inference_mode()
def _decode(
    sampling: Sampling,
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    *,
    encoder_outputs: Any,
    attention_mask: torch.Tensor,
    **others: Any,
) -> Iterator[tuple[Chosen, bool]]:
    """Yields (token, whether it is the last), one decoder step each.

    `generate` calls this in place of its own loop, when the encoder has run and its rules are set up.
    """
    choice, is_last = Choice(logits_processor, sampling, model.device), False
    while not is_last:
        outputs = model(
            encoder_outputs=encoder_outputs,
            attention_mask=attention_mask,
            decoder_input_ids=input_ids[:, -1:],
            past_key_values=others["past_key_values"],
            use_cache=True,
        )
        # In float32 whatever the model's dtype, as `generate` has it: the rules then round the same.
        (chosen,) = choose([choice], [input_ids], outputs.logits[:, -1].float())
        if isinstance(chosen, Exception):
            raise chosen
        input_ids = torch.cat([input_ids, chosen.token_id[None]], dim=-1)
        is_last = bool(stopping_criteria(input_ids, None).all())
        yield chosen, is_last

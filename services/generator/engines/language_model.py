"""What engines that write with a model of transformers have in common. Imports torch."""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chassis import pretrained
from services.generator.engine import AnswerKind, CachedFlight, Passage, Sampling, Step
from services.generator.engines import bounds
from services.generator.prompts import prompt as prompts
from services.generator.prompts.frame import Frame
from services.generator.prompts.prompt import TokenPrompt
from services.generator.prompts.prompt_template import PromptTemplate, find
from services.generator.prompts.vocabulary import Vocabulary
from services.generator.rows.choice import Choice, Chosen, choose
from services.generator.rows.decoder import AnyDecoder
from services.generator.rows.positions import UnknownPositions
from services.generator.rows.row import Opening
from services.generator.rows.row_flight import RowFlight
from services.generator.rows.rules import (
    UnknownEnd,
    greedy,
    least_new_tokens,
    num_in_decoder,
    options,
    rules,
    unforced_ends,
)
from services.generator.text import citations
from services.generator.text.writer import Writer

if TYPE_CHECKING:
    from transformers import LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

logger = logging.getLogger(__name__)


class LanguageModel(ABC):
    """The tokens are those of the model's own `generate`, one answer at a time or in flight."""

    kind: AnswerKind = "generated"
    _load_as: Any
    """transformers' class."""
    _template_name: str
    """The prompt template unless another one is given."""

    def __init__(
        self,
        path: Path,
        device: str,
        max_prompt_tokens: int,
        max_output_tokens: int,
        dtype: torch.dtype = torch.float32,
        template: PromptTemplate | None = None,
    ) -> None:
        """Raises ConfigError: nothing that can be loaded or asked."""
        self._tokenizer = pretrained.load_tokenizer(path)
        self._model = pretrained.load_model(self._load_as, path, device, dtype)
        pretrained.quicken_steps(self._model, device)
        self._settings = self._model.generation_config
        self._model.generation_config = greedy(self._settings)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._template = template or find(self._template_name)
        self._frame = self._framed(self._template)
        self._unforced_ends = unforced_ends(self._settings)
        num_positions = bounds.num_positions(self._model.config)
        self.max_prompt_tokens, self.max_output_tokens = self._bounds(
            num_positions, max_prompt_tokens, max_output_tokens
        )

    @abstractmethod
    def _framed(self, template: PromptTemplate) -> Frame:
        """What stands around question and passages. Raises ConfigError."""

    @abstractmethod
    def _bounds(self, num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[int, int]:
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
        return prompts.fit(question, passages, self._template, self._frame, self.max_prompt_tokens)

    def generate(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        sampling = sampling.within(self.max_output_tokens)
        writer = self._writer(prompt, sampling)
        for chosen, is_last in self._tokens(prompt, sampling):
            step = writer.write(chosen.number, is_last, chosen.logprobs)
            yield step
            if step.finish:
                return

    def flight(self) -> CachedFlight[Any] | None:
        return self._rows()

    def _rows(self) -> RowFlight | None:
        """Answers written together, or None, with a line in the log, where this model's cannot be."""
        try:
            decoder = self._decoder()
            self._open(TokenPrompt(1, 1, 0, (), (0,)), Sampling(1))
        except (UnknownPositions, UnknownEnd) as unknown:
            logger.warning("answers are written one at a time", extra={"reason": str(unknown)})
            return None
        return RowFlight(decoder, self._open)

    def _open(self, prompt: TokenPrompt, sampling: Sampling) -> Opening:
        sampling = sampling.within(self.max_output_tokens)
        found, writer = rules(self._model, prompt.token_ids, sampling), self._writer(prompt, sampling)
        return Opening(found, writer, sampling.max_output_tokens)

    def _writer(self, prompt: TokenPrompt, sampling: Sampling) -> Writer:
        return Writer(
            self._tokenizer,
            sampling.max_output_tokens,
            self._unforced_ends,
            stop=sampling.stop,
            min_tokens=least_new_tokens(self._settings, sampling, num_in_decoder(self._model, prompt.token_ids)),
            citations=citations.of(prompt),
        )

    def _tokens(self, prompt: TokenPrompt, sampling: Sampling) -> Iterator[tuple[Chosen, bool]]:
        token_ids = torch.tensor([prompt.token_ids], device=self._model.device)
        tokens: Iterator[tuple[Chosen, bool]] = self._model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            custom_generate=functools.partial(_decode, sampling),
            **self._cache(),
            **options(self._model, prompt.token_ids, sampling),
        )
        return tokens


@torch.inference_mode()
def _decode(
    sampling: Sampling,
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: Any,
    **read: Any,
) -> Iterator[tuple[Chosen, bool]]:
    """Yields (token, whether it is the last), one pass each.

    `generate` calls this in place of its own loop, when an encoder has run and its rules are set up.
    """
    choice, is_last, num_unread = Choice(logits_processor, sampling, model.device), False, input_ids.shape[1]
    while not is_last:
        inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=num_unread, **read)
        outputs = model(**inputs, return_dict=True)
        read = model._update_model_kwargs_for_generation(outputs, read, model.config.is_encoder_decoder)
        # In float32 whatever the model's dtype, as `generate` has it: the rules then round the same.
        (chosen,) = choose([choice], [input_ids], outputs.logits[:, -1].float())
        if isinstance(chosen, Exception):
            raise chosen
        input_ids, num_unread = torch.cat([input_ids, chosen.token_id[None]], dim=-1), 1
        is_last = bool(stopping_criteria(input_ids, None).all())
        yield chosen, is_last

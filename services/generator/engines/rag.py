"""RAG models: answers that are likely over all passages together. Imports torch.

The modules, the search and RAG-token's marginalisation are transformers'. RAG-sequence is asked here for the whole
batch at once where transformers goes question by question, and encodes every passage once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import RagSequenceForGeneration, RagTokenForGeneration

from chassis import pretrained
from chassis.config import ConfigError
from services.generator.engine import Answer, Asked, Passage
from services.generator.engines import bounds, marginal
from services.generator.engines.batch_engine import BatchEngine
from services.generator.prompts import rag_prompt
from services.generator.prompts.rag_prompt import RagPrompt, RowForm
from services.generator.prompts.vocabulary import Vocabulary
from services.generator.rows.padding import mask, pad
from services.generator.rows.rules import unforced_ends


@dataclass(frozen=True)
class Shape:
    """What must be equal for questions to be computed at once."""

    num_passages: int
    max_tokens: int


class Rag(BatchEngine[RagPrompt, Shape]):
    """What the two have in common."""

    _load_as: Any
    """transformers' class."""

    def __init__(
        self,
        path: Path,
        device: str,
        max_prompt_tokens: int,
        max_output_tokens: int,
        num_beams: int = 4,
        max_batch_tokens: int = 8_192,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        model: Any = pretrained.load_model(self._load_as, path, device, dtype)
        model.rag.question_encoder = torch.nn.Module()  # the retriever's; not for this process's memory
        self._model = model.to(dtype)  # of a model of models `from_pretrained` leaves the parts as they were saved
        self._config = model.config
        if self._config.label_smoothing:
            raise ConfigError(f"the model at {path} smooths labels: answers ranked by that are not offered")
        self._generator = model.rag.generator
        pretrained.quicken_steps(self._generator, device)
        self._asking = pretrained.load_tokenizer(path / "question_encoder_tokenizer", self._config.question_encoder)
        self._tokenizer = pretrained.load_tokenizer(path / "generator_tokenizer", self._config.generator)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._num_beams = num_beams
        self._max_states = max_batch_tokens * num_beams
        self._pad: int = self._config.generator.pad_token_id
        # The encoder reads each row by itself.
        max_row_tokens, self.max_output_tokens = bounds.of_two_texts(
            bounds.num_positions(self._config.generator), self._config.max_combined_length, max_output_tokens
        )
        self._form = _form(self._config, max_row_tokens)
        self.max_prompt_tokens = max_prompt_tokens

    @abstractmethod
    def _answers(
        self, questions: Sequence[Asked[RagPrompt]], max_tokens: int
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """For each question, all with as many passages: the answer's ids, start token first; the passages' weights."""

    def fit(self, question: str, passages: Sequence[Passage]) -> RagPrompt:
        return rag_prompt.fit(self._asked(question), passages, self._form, self._vocabulary, self.max_prompt_tokens)

    def cost(self, item: Asked[RagPrompt]) -> int:
        return item.prompt.num_padded_tokens

    def _row_lengths(self, prompt: RagPrompt) -> Sequence[int]:
        return list(map(len, prompt.rows))

    def _shape(self, question: Asked[RagPrompt]) -> Shape:
        return Shape(len(question.prompt.rows), question.sampling.within(self.max_output_tokens).max_output_tokens)

    @torch.inference_mode()
    def _write(self, questions: Sequence[Asked[RagPrompt]], shape: Shape) -> Sequence[Answer]:
        found = self._answers(questions, shape.max_tokens)
        return [
            self._answer(question.prompt, token_ids, weights, shape.max_tokens)
            for question, (token_ids, weights) in zip(questions, found, strict=True)
        ]

    def _asked(self, question: str) -> str:
        """The question as its encoder's tokenizer writes it back: so RAG models read it (`RagRetriever.__call__`)."""
        ids = self._asking(question, verbose=False)["input_ids"]
        text: str = self._asking.decode(ids, skip_special_tokens=True)
        return text

    def _inputs(self, questions: Sequence[Asked[RagPrompt]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Token ids and mask, (Q x D, S), int64, and scores, (Q, D), on the device."""
        rows = [row for one in questions for row in one.prompt.rows]
        scores = torch.tensor([one.prompt.scores for one in questions], dtype=self._model.dtype)
        device = self._model.device
        return pad(rows, device, self._pad), mask(list(map(len, rows)), device), scores.to(device)

    def _search(self, config: Any, max_tokens: int) -> dict[str, Any]:
        """Options of `generate`. All others are the checkpoint's."""
        config.max_new_tokens = config.min_new_tokens = None
        return {
            "num_beams": self._num_beams,
            "do_sample": False,
            "max_length": 1 + max_tokens,
            "min_length": min(config.min_length or 0, 1 + max_tokens),
        }

    def _trimmed(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """Without the padding behind."""
        ids = list(token_ids)
        while len(ids) > 2 and ids[-1] == self._pad:
            ids.pop()
        return tuple(ids)

    def _scored(
        self, passages: marginal.Read, answers: Sequence[Sequence[tuple[int, ...]]], num_passages: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each question's answers as rows of one table, (C, T), and the log-likelihoods of their tokens given each of
        its passages, (C, D, T - 1)."""
        questions = [question for question, some in enumerate(answers) for _ in some]
        pairs = [
            (question * num_passages + passage, answer)
            for answer, question in enumerate(questions)
            for passage in range(num_passages)
        ]
        table = pad([one for some in answers for one in some], self._model.device, self._pad)
        token_scores = marginal.token_log_likelihoods(
            self._generator, passages, table, pairs, self._pad, self._max_states
        )
        return table, token_scores.view(len(table), num_passages, -1)

    def _answer(self, prompt: RagPrompt, token_ids: torch.Tensor, weights: torch.Tensor, max_tokens: int) -> Answer:
        ids = token_ids.tolist()[1:]
        is_cut = len(ids) == max_tokens and ids[-1] not in unforced_ends(self._generator.generation_config)
        return Answer(
            text=self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            num_tokens=len(ids),
            finish="length" if is_cut else "stop",
            weight_by_passage_id=dict(zip(prompt.passage_ids, weights.tolist(), strict=True)),
        )


class RagSequence(Rag):
    """One passage explains the whole answer: each proposes its beams, and all are ranked over all passages
    ("thorough decoding", Lewis et al. 2020, section 2.5)."""

    _load_as = RagSequenceForGeneration

    def _answers(
        self, questions: Sequence[Asked[RagPrompt]], max_tokens: int
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        token_ids, mask, scores = self._inputs(questions)
        passages = marginal.read(self._generator, token_ids, mask)
        proposed = self._generator.generate(
            token_ids,
            attention_mask=mask,
            encoder_outputs=passages.outputs(),
            num_return_sequences=self._num_beams,
            **self._search(self._generator.generation_config, max_tokens),
        )
        num_passages = scores.shape[1]
        per_question = proposed.view(len(questions), num_passages * self._num_beams, -1).tolist()
        distinct = [list(dict.fromkeys(map(self._trimmed, answers))) for answers in per_question]
        return self._best(passages, distinct, scores)

    def _best(
        self, passages: marginal.Read, answers: Sequence[Sequence[tuple[int, ...]]], scores: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each question's answers the likeliest, and its passages' posterior."""
        table, token_scores = self._scored(passages, answers, scores.shape[1])
        sizes = list(map(len, answers))
        bos = self._config.bos_token_id or getattr(self._config.generator, "bos_token_id", None)  # T5 has none
        best = []
        parts = zip(answers, torch.split(token_scores, sizes), scores, torch.split(table, sizes), strict=True)
        for some, own_token_scores, own_scores, rows in parts:
            ranked, posterior = marginal.sequence_scores(own_token_scores, own_scores, rows, self._pad, bos)
            chosen = int(ranked.argmax())
            best.append((torch.tensor(some[chosen]), posterior[chosen]))
        return best


class RagToken(Rag):
    """Every token is chosen by what all passages together make likely (Lewis et al. 2020, section 2.1)."""

    _load_as = RagTokenForGeneration

    def _answers(
        self, questions: Sequence[Asked[RagPrompt]], max_tokens: int
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        token_ids, mask, scores = self._inputs(questions)
        found = self._model.generate(
            context_input_ids=token_ids,
            context_attention_mask=mask,
            doc_scores=scores,
            n_docs=scores.shape[1],
            **self._search(self._model.generation_config, max_tokens),
        )
        answers = [self._trimmed(ids) for ids in found.tolist()]
        passages = marginal.read(self._generator, token_ids, mask)
        table, token_scores = self._scored(passages, [[one] for one in answers], scores.shape[1])
        is_text = ~torch.isin(table[:, 1:], torch.tensor(self._tokenizer.all_special_ids, device=table.device))
        return [
            (torch.tensor(ids), marginal.token_posterior(token_scores[n], scores[n], is_text[n]))
            for n, ids in enumerate(answers)
        ]


def _form(config: Any, max_row_tokens: int) -> RowForm:
    prefix = getattr(config.generator, "prefix", None)  # the one that transformers' retriever is told
    return RowForm(
        title_sep=config.title_sep,
        doc_sep=config.doc_sep,
        prefix=config.prefix or "" if prefix is None else prefix,
        max_row_tokens=max_row_tokens,
        max_passages=config.n_docs,
    )

"""Ways in which one process writes the answers to many requests, each on one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.open_loop import Clock, Way
from benchmarks.random_writers import MAX_OUTPUT_TOKENS, MAX_PROMPT_TOKENS, Request, words

MAX_ROWS = 8
MANY_ROWS = 32
MAX_PREFILL_TOKENS = 2_048


class InFlight(Way):
    """As the service writes: rows that join and leave at any token."""

    def __init__(self, folder: Path, dtype: str, max_rows: int = MAX_ROWS) -> None:
        import torch

        from services.generator.engines.seq2seq import Seq2Seq
        from services.generator.loop.room import Room

        engine = Seq2Seq(folder, "cpu", MAX_PROMPT_TOKENS, MAX_OUTPUT_TOKENS, dtype=getattr(torch, dtype))
        torch.set_num_threads(1)
        flight = engine.flight()
        assert flight is not None
        self._flight = flight
        self._room = Room(max_rows, max_rows * (MAX_PROMPT_TOKENS + MAX_OUTPUT_TOKENS), MAX_PREFILL_TOKENS)
        self._waiting: list[tuple[int, Any]] = []
        self._flying: dict[int, Any] = {}
        self._texts: dict[int, str] = {}

    def begin(self, number: int, request: Request) -> None:
        from services.generator.engine import Sampling
        from services.generator.prompts.prompt import TokenPrompt

        num_tokens = len(request.token_ids)
        prompt = TokenPrompt(num_tokens, num_tokens, 0, (), request.token_ids)
        self._waiting.append((number, (prompt, Sampling(request.length))))

    def go_on(self, clock: Clock) -> dict[int, tuple[str, float]]:
        from services.generator.engine import Step

        ended = {}
        for number, step in self._flight.step(self._joining(), []).items():
            if not isinstance(step, Step):
                raise step if isinstance(step, Exception) else AssertionError("memory ran out")
            self._texts[number] = self._texts.get(number, "") + step.text
            if step.finish:
                del self._flying[number]
                ended[number] = self._texts.pop(number), clock.now
        return ended

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._flying

    def _joining(self) -> dict[int, Any]:
        from services.generator.loop.room import Size

        joining: dict[int, Any] = {}
        sizes: dict[int, Any] = {}
        while self._waiting:
            number, asked = self._waiting[0]
            size = Size.of(*asked)
            if not self._room.fits(size, list(self._flying.values()), list(sizes.values())):
                break
            joining[number], sizes[number] = asked, size
            del self._waiting[0]
        self._flying |= sizes
        return joining


class InBatches(Way):
    """transformers' `generate` for some at a time in order of arrival, until the longest of them ends."""

    def __init__(self, folder: Path, max_rows: int = MAX_ROWS) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM

        torch.set_num_threads(1)
        self._model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        self._max_rows = max_rows
        self._waiting: list[tuple[int, Request]] = []

    def begin(self, number: int, request: Request) -> None:
        self._waiting.append((number, request))

    def go_on(self, clock: Clock) -> dict[int, tuple[str, float]]:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        batch, self._waiting = self._waiting[: self._max_rows], self._waiting[self._max_rows :]
        token_ids = pad_sequence([torch.tensor(request.token_ids) for _, request in batch], batch_first=True)
        written = self._model.generate(
            token_ids,
            attention_mask=(token_ids != 0).long(),
            max_new_tokens=max(request.length for _, request in batch),
            do_sample=False,
            num_beams=1,
        ).tolist()
        return {
            number: (words(row[1 : 1 + request.length]), clock.now)
            for (number, request), row in zip(batch, written, strict=True)
        }

    @property
    def is_idle(self) -> bool:
        return not self._waiting


class Ctranslate2(Way):
    """CTranslate2 for all who wait, in its own batches; a row leaves its batch when it is as long as it may be."""

    def __init__(self, folder: Path, compute_type: str, max_batch_size: int = MAX_ROWS, batch_type: str = "examples"):
        import ctranslate2

        self._translator = ctranslate2.Translator(
            str(converted(folder)), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=1
        )
        self._batches = {"max_batch_size": max_batch_size, "batch_type": batch_type}
        self._words = _vocabulary(folder)
        self._waiting: list[tuple[int, Request]] = []

    def begin(self, number: int, request: Request) -> None:
        self._waiting.append((number, request))

    def go_on(self, clock: Clock) -> dict[int, tuple[str, float]]:
        asked, self._waiting = self._waiting, []
        ended_at: dict[int, float] = {}

        def is_long_enough(result: Any) -> bool:
            number, request = asked[result.batch_id]
            if result.step + 1 < request.length:
                return False
            ended_at[number] = clock.now
            return True

        written = self._translator.translate_batch(
            [[self._words[token_id] for token_id in request.token_ids] for _, request in asked],
            beam_size=1,
            min_decoding_length=MAX_OUTPUT_TOKENS,
            max_decoding_length=MAX_OUTPUT_TOKENS,
            max_input_length=0,
            callback=is_long_enough,
            **self._batches,
        )
        return {
            number: (_spoken(one.hypotheses[0]), ended_at[number])
            for (number, _), one in zip(asked, written, strict=True)
        }

    @property
    def is_idle(self) -> bool:
        return not self._waiting


def converted(folder: Path) -> Path:
    """The checkpoint in CTranslate2's form, float32."""
    from ctranslate2.converters import TransformersConverter

    target = folder / "ctranslate2"
    if not target.exists():
        TransformersConverter(str(folder)).convert(str(target))
    return target


def _vocabulary(folder: Path) -> list[str]:
    from transformers import AutoTokenizer

    by_word = AutoTokenizer.from_pretrained(folder).get_vocab()
    return sorted(by_word, key=by_word.__getitem__)


def _spoken(tokens: Sequence[str]) -> str:
    return " ".join(token for token in tokens if not token.startswith("<"))


WAYS: dict[str, Callable[[Path], Way]] = {
    "in flight float32": lambda folder: InFlight(folder, "float32"),
    "in flight bfloat16": lambda folder: InFlight(folder, "bfloat16"),
    f"in flight float32, {MANY_ROWS} rows": lambda folder: InFlight(folder, "float32", MANY_ROWS),
    "batches float32": InBatches,
    "one by one float32": lambda folder: InBatches(folder, 1),
    "ctranslate2 float32": lambda folder: Ctranslate2(folder, "float32"),
    f"ctranslate2 float32, {MAX_PREFILL_TOKENS} tokens a batch": lambda folder: Ctranslate2(
        folder, "float32", MAX_PREFILL_TOKENS, "tokens"
    ),
    "ctranslate2 int8": lambda folder: Ctranslate2(folder, "int8"),
}

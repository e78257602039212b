"""What the machine can do without a server: bare forward passes and products of matrices, on the device's core.

They run in a process of their own, through `Floors`, between two rounds of the server.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any, ParamSpec, TypeVar

from benchmarks.rig import DEVICE_CORE, pin

Given = ParamSpec("Given")
Found = TypeVar("Found")

BATCH_SIZES = (1, 4, 16, 64)
"""Of which the best makes the offline loop."""

STOCK_BATCH_SIZE = 16
"""With which the peers' own floors were measured."""


class Floors:
    """A process with one torch thread on the device's core."""

    def __init__(self, dtype: str) -> None:
        context = multiprocessing.get_context("spawn")  # FAISS hangs after fork
        self._pool = ProcessPoolExecutor(1, context, initializer=_start, initargs=(dtype,))

    def measure(self, function: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
        """What a function of this module returns there."""
        return self._pool.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        self._pool.shutdown()


def _start(dtype: str) -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "BENCH_DTYPE": dtype}
    pin(DEVICE_CORE)


@cache
def _encoder(side: str) -> Any:
    from chassis import checkpoint
    from services.retriever.encoder import load

    found = checkpoint.find("embedded")
    return load("sentence", side, found, found, "cpu", os.environ["BENCH_DTYPE"])  # type: ignore[arg-type]


@cache
def _reranker() -> Any:
    from chassis import checkpoint
    from services.reranker.late_interaction import LateInteraction

    return LateInteraction(checkpoint.find("embedded").path, "cpu", 512, os.environ["BENCH_DTYPE"])  # type: ignore[arg-type]


@cache
def _stock() -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    from chassis import checkpoint

    path = str(checkpoint.find("embedded").path)
    return SentenceTransformer(
        path, device="cpu", local_files_only=True, model_kwargs={"dtype": getattr(torch, dtype())}
    )


def _forward(model: Any, features: Any) -> None:
    import torch

    with torch.inference_mode():
        model(features)


def dtype() -> str:
    """What the models here compute in."""
    from chassis.precision import resolve

    return str(resolve(os.environ["BENCH_DTYPE"], "cpu")).removeprefix("torch.")  # type: ignore[arg-type]


def encode_rate(texts: Sequence[str], side: str = "question") -> tuple[float, int]:
    """Texts a second of the best offline loop, length-sorted, tokenised beforehand; and its batch size."""
    from services.retriever.encoder import Text

    return _best_rate(_encoder(side), [Text(text) for text in sorted(texts, key=len)])


def stock_rate(texts: Sequence[str]) -> float:
    """Texts a second of sentence-transformers as it comes, length-sorted, in batches of 16, in the models' dtype."""
    model = _stock()
    rows = [
        model.preprocess(texts[start : start + STOCK_BATCH_SIZE])
        for texts in [sorted(texts, key=len)]
        for start in range(0, len(texts), STOCK_BATCH_SIZE)
    ]
    began = time.perf_counter()
    for features in rows:
        _forward(model, features)
    return len(texts) / (time.perf_counter() - began)


def rerank_rate(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Pairs a second of the best offline loop, and its batch size."""
    from services.reranker.pairs import Pair

    return _best_rate(_reranker(), [Pair(*pair) for pair in sorted(pairs, key=lambda pair: len(pair[1]))])


def forward_ms(question: str, repetitions: int) -> float:
    """The median of a bare forward pass of one question, tokenised beforehand."""
    from services.retriever.encoder import Text

    return _median_ms(_encoder("question"), [Text(question)], repetitions)


def rerank_forward_ms(question: str, passage: str, repetitions: int) -> float:
    """The median of bare forward passes of one pair, tokenised beforehand."""
    from services.reranker.pairs import Pair

    return _median_ms(_reranker(), [Pair(question, passage)], repetitions)


def forward_flop(texts: Sequence[str]) -> float:
    """Multiplications and additions of the linear layers for these texts, without padding."""
    from services.retriever.encoder import Text

    encoder = _encoder("question")
    config = encoder._model[0].auto_model.config
    weights = config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
    return float(2 * weights * encoder.prepare([Text(text) for text in texts]).num_tokens)


def gemm_gflops(size: int, seconds: float) -> float:
    """The highest rate of a product of square matrices, 10⁹ operations a second, in the models' dtype."""
    import torch

    torch.set_num_threads(1)
    left = right = torch.randn(size, size, dtype=getattr(torch, dtype()))
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def _best_rate(model: Any, items: Sequence[Any]) -> tuple[float, int]:
    """The batch size is tried out once for each number of items, on every eighth of them."""
    size = _best_size(model, len(items), items[::8])
    return _rate(model, items, size), size


_sizes: dict[tuple[int, int], int] = {}


def _best_size(model: Any, count: int, sample: Sequence[Any]) -> int:
    if (id(model), count) not in _sizes:
        _rate(model, sample, BATCH_SIZES[-1])
        _sizes[id(model), count] = max(BATCH_SIZES, key=lambda size: _rate(model, sample, size))
    return _sizes[id(model), count]


def _rate(model: Any, items: Sequence[Any], size: int) -> float:
    batches = [model.prepare(items[start : start + size]) for start in range(0, len(items), size)]
    began = time.perf_counter()
    for batch in batches:
        model.run(batch)
    return len(items) / (time.perf_counter() - began)


def _median_ms(model: Any, items: Sequence[Any], repetitions: int) -> float:
    batch = model.prepare(items)
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        model.run(batch)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3

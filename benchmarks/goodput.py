"""Answers under arrivals by chance: how many requests a second a way takes while all but 1 % end in time.

An open loop in one process: arrivals are drawn on the clock of the way that writes, which tells CPU seconds, and each
waits until its last token. All ways see the same arrivals. In time is within twice what the longest answer takes
with nothing else on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import generation, random_writers
from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.generation import ONE_BY_ONE, OURS, PEER
from benchmarks.open_loop import write
from benchmarks.random_writers import MAX_OUTPUT_TOKENS, MAX_PROMPT_TOKENS, Request
from benchmarks.scale import Scale

SHARES = (0.15, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the rate at which ours is saturated."""

TIMES = 2
"""The requests of saturation."""

PATIENCE = 2.0
WAYS = (OURS, "batches float32", ONE_BY_ONE, PEER)


def goodput(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Requests a CPU second in flight ÷ by the best of the others, all in float32, at equal p99 to the last token."""
    shape = scale.writers[0]
    bare.measure(random_writers.save, shape, folder / shape)
    requests = random_writers.mixed(TIMES * scale.num_answers)
    alone_s = bare.measure(longest_alone_s, folder / shape)
    saturated = bare.measure(generation.saturated, OURS, folder / shape, requests)
    rates = [share * len(requests) / saturated.cpu_s for share in SHARES]
    details: dict[str, Any] = {"shape": shape, "dtype": "float32", "num_requests": len(requests)}
    details |= {"p99_limit_s": round(PATIENCE * alone_s, 3), "rates": [round(rate, 3) for rate in rates]}
    best: dict[str, float] = {}
    for name in WAYS:
        p99s = bare.measure(p99s_until_late, name, folder / shape, requests, rates, PATIENCE * alone_s)
        in_time = [rate for rate, p99_s in zip(rates, p99s, strict=False) if p99_s <= PATIENCE * alone_s]
        best[name] = max(in_time, default=0.0)
        details |= {f"{name}: goodput": round(best[name], 3), f"{name}: p99_s": [round(one, 3) for one in p99s]}
    bare.measure(generation.forget)
    others = max(rate for name, rate in best.items() if name != OURS)
    return Figure("generation-goodput", spread([best[OURS] / (others or rates[0])]), 1.0, True, details)


def longest_alone_s(folder: Path) -> float:
    """CPU seconds of the longest answer, one by one."""
    longest = Request(tuple(range(random_writers.FIRST_WORD, MAX_PROMPT_TOKENS)), MAX_OUTPUT_TOKENS)
    return generation.saturated(ONE_BY_ONE, folder, [longest]).cpu_s


def p99s_until_late(
    name: str, folder: Path, requests: Sequence[Request], rates: Sequence[float], limit_s: float
) -> list[float]:
    """Seconds from arrival to last token, by ascending rate, up to the first that is too long."""
    import numpy as np

    found: list[float] = []
    for rate in rates:
        gaps = np.random.default_rng(5).exponential(1 / rate, len(requests))
        written = write(generation.loaded(name, folder), requests, gaps.cumsum().tolist())
        found.append(float(np.percentile(written.waits_s, 99)))
        if found[-1] > limit_s:
            break
    return found

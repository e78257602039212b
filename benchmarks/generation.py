"""Answers of an encoder-decoder written in flight, against transformers' `generate` and CTranslate2.

All ways write the same requests with the same random weights, one after the other in one process, on one thread. At
saturation all requests wait from the beginning. Ratios are of CPU seconds; those of the clock on the wall stand
beside them, and mean something on a quiet machine. Ways of different dtypes are named by them and never promised
against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import random_writers
from benchmarks.figures import Figure, Spread, spread
from benchmarks.floors import Floors
from benchmarks.open_loop import Way, Written, write
from benchmarks.random_writers import Request
from benchmarks.scale import Scale
from benchmarks.ways_to_write import MAX_ROWS, WAYS

OURS = "in flight float32"
ONE_BY_ONE = "one by one float32"
PEER = "ctranslate2 float32"
TARGET, PEER_TARGET = 3.0, 1.0
MAX_ROUNDS = 1
"""A round of both shapes takes minutes, most of them one by one."""

_ways: dict[tuple[str, Path], Way] = {}
"""One: a model of each would take gigabytes."""


def saturation(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Tokens a CPU second in flight ÷ one by one, float32, 8 rows: the worse of the shapes is promised."""
    details: dict[str, Any] = {"max_rows": MAX_ROWS, "num_requests": scale.num_answers, "dtypes": "by name"}
    promised: list[Spread] = []
    names = bare.measure(usable_ways)
    for shape in scale.writers:
        bare.measure(random_writers.save, shape, folder / shape)
        requests = random_writers.mixed(scale.num_answers)
        rounds = [
            {name: bare.measure(saturated, name, folder / shape, requests) for name in names}
            for _ in range(min(MAX_ROUNDS, scale.rounds))
        ]
        promised.append(_ratio(rounds, OURS, ONE_BY_ONE))
        details |= {f"{shape}: {name}": value for name, value in _details(rounds, names).items()}
    bare.measure(forget)
    return Figure("generation", min(promised, key=lambda one: one.median), TARGET, True, details)


def usable_ways() -> list[str]:
    """bfloat16 only where this CPU multiplies it."""
    from chassis.cpu import this_cpu

    return [name for name in WAYS if "bfloat16" not in name or this_cpu().multiplies_bfloat16]


def saturated(name: str, folder: Path, requests: Sequence[Request]) -> Written:
    """By one way, when all wait from the beginning."""
    return write(loaded(name, folder), requests, [0.0] * len(requests))


def forget() -> None:
    """Give memory back, and CTranslate2's threads."""
    _ways.clear()


def loaded(name: str, folder: Path) -> Way:
    """The way, warm."""
    if (name, folder) not in _ways:
        forget()
        way = _ways[name, folder] = WAYS[name](folder)
        write(way, random_writers.mixed(2), [0.0] * 2)
    return _ways[name, folder]


def _ratio(rounds: Sequence[Mapping[str, Written]], ours: str, others: str) -> Spread:
    return spread([one[others].cpu_s / one[ours].cpu_s for one in rounds])


def _details(rounds: Sequence[Mapping[str, Written]], names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        found[f"{name}: tokens_per_cpu_s"] = spread([one[name].num_tokens / one[name].cpu_s for one in rounds], 1)
        found[f"{name}: tokens_per_wall_s"] = spread([one[name].num_tokens / one[name].wall_s for one in rounds], 1)
        if name != OURS:
            found[f"{name}: share of answers that differ"] = _share_that_differs(rounds[0][OURS], rounds[0][name])
    found[f"to {PEER} (target >= {PEER_TARGET:g})"] = _ratio(rounds, OURS, PEER)
    found["to batches float32"] = _ratio(rounds, OURS, "batches float32")
    found["to one by one float32 on the wall"] = spread([one[ONE_BY_ONE].wall_s / one[OURS].wall_s for one in rounds])
    found[f"to {PEER} on the wall"] = spread([one[PEER].wall_s / one[OURS].wall_s for one in rounds])
    return found


def _share_that_differs(ours: Written, theirs: Written) -> float:
    return round(sum(text != theirs.texts[number] for number, text in ours.texts.items()) / len(ours.texts), 3)

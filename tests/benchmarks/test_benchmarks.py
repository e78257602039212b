"""Every benchmark runs: nothing is timed here, and the tiny figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.figures import Figure, Spread, spread
from benchmarks.rig import this_rig
from benchmarks.served_generator import ENGINES, usable
from benchmarks.workload import MAX_TOKENS, MIN_TOKENS, questions, texts
from cli.system import TREE, clean_environment

RIG = ("cpu", "flags", "cores", "python", "versions", "threads", "dtype")


@pytest.mark.slow
def test_every_benchmark_prints_its_rig_and_one_line_of_json() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--tiny"],
        cwd=TREE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=1_000,
    )
    assert finished.returncode == 0, finished.stderr
    head, *lines = finished.stdout.splitlines()
    assert head.startswith("rig: cpu ")
    figures = [json.loads(line) for line in lines]
    assert [figure["benchmark"] for figure in figures] == list(BENCHMARKS)
    for figure in figures:
        assert tuple(figure["rig"]) == RIG
        assert figure["ratio"].keys() == {"median", "min", "max"}
        assert figure["ratio"]["max"] >= figure["ratio"]["median"] >= figure["ratio"]["min"] >= 0


@pytest.mark.parametrize(
    ("ratio", "is_floor", "is_met"),
    [(0.91, True, True), (0.89, True, False), (0.89, False, True), (0.91, False, False)],
)
def test_a_figure_says_whether_its_target_is_met(ratio: float, is_floor: bool, is_met: bool) -> None:
    line = json.loads(Figure("one", Spread(ratio, ratio, ratio), 0.90, is_floor).line(this_rig("float32")))
    assert line["is_met"] is is_met
    assert line["target"] == (">= 0.9" if is_floor else "<= 0.9")


def test_repetitions_are_shown_by_their_median_and_their_ends() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(median=2.0, min=1.0, max=3.0)


def test_engines_that_this_machine_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable(["float32", "bfloat16"]) == list(ENGINES)
    assert usable(["float32"]) == ["seq2seq float32", "ctranslate2 float32", "ctranslate2 int8"]
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert usable(["float32"]) == ["seq2seq float32"]


def test_the_workload_is_the_same_each_time_and_of_the_lengths_that_it_says() -> None:
    from benchmarks.workload import _tokenizer

    few = texts(40)
    assert few == texts(80)[:40]
    assert len(set(few)) == 40
    assert {MIN_TOKENS <= len(_tokenizer().encode(text)) <= MAX_TOKENS for text in few} == {True}
    assert len(questions(20)) == 20

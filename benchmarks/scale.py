"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Repetitions and sizes of all benchmarks."""

    rounds: int
    """Interleaved repetitions: floor, server, floor, server …"""
    load_s: float
    """Seconds of an open loop, of which the first two fifths do not count."""
    num_questions: int
    num_texts: int
    """Of the workload that peers were measured with."""
    num_alone: int
    """Calls with nothing else in flight, in each round."""
    gemm_size: int
    num_passages: int = 0
    """Synthetic ones, of what needs no model."""
    live_sizes: tuple[int, ...] = ()
    """Passages that were stored since a version was published."""
    sizes: tuple[int, ...] = ()
    """Passages of collections that grow."""
    num_vectors: tuple[int, ...] = ()
    """Sizes of the indexes that are searched."""
    num_answers: int = 0
    """Requests to a generator."""
    writers: tuple[str, ...] = ()
    """Shapes of its models."""
    num_rag_questions: int = 0
    """Answered in one batch, and one by one."""
    rag_width: int = 0
    """Numbers in a state of the generator there."""


FULL = Scale(
    rounds=5,
    load_s=6.0,
    num_questions=600,
    num_texts=2_000,
    num_alone=60,
    gemm_size=1_024,
    num_passages=100_000,
    live_sizes=(1_000, 10_000),
    sizes=(10_000, 100_000, 1_000_000),
    num_vectors=(100_000, 1_000_000),
    num_answers=32,
    writers=("t5-small", "bart-base"),
    num_rag_questions=4,
    rag_width=768,
)
TINY = Scale(
    rounds=1,
    load_s=2.0,
    num_questions=16,
    num_texts=16,
    num_alone=3,
    gemm_size=64,
    num_passages=2_000,
    live_sizes=(10, 100),
    sizes=(100, 1_000),
    num_vectors=(2_000,),
    num_answers=6,
    writers=("tiny-t5", "tiny-bart"),
    num_rag_questions=2,
    rag_width=48,
)
"""Runs every line in seconds; its figures mean nothing."""

"""`python -m benchmarks [--tiny] [--dtype auto] [NAME …]`: prints the rig and a JSON line for each benchmark."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import (
    floors,
    gateway_cpu,
    generation,
    goodput,
    knowledge_base,
    latency,
    rag,
    served_generator,
    sparse_search,
    step_overhead,
    throughput,
    vector_search,
)
from benchmarks.figures import Figure
from benchmarks.floors import Floors
from benchmarks.rig import FRONT_CORE, pin, show, this_rig
from benchmarks.scale import FULL, TINY, Scale

BENCHMARKS: dict[str, Callable[[Scale, Floors, str, Path], Figure]] = {
    "idle-retriever": latency.retriever,
    "idle-reranker": latency.reranker,
    "encoding": throughput.encoding,
    "reranking": throughput.reranking,
    "peers": throughput.peers,
    "ingest": throughput.ingest,
    "gateway-cpu": gateway_cpu.gateway,
    "rag-sequence": rag.sequence,
    "vector-search": vector_search.vector_search,
    "sparse-search": sparse_search.run,
    "upsert-to-visible": knowledge_base.visible,
    "live-segment": knowledge_base.live,
    "growth": knowledge_base.growth,
    "generation": generation.saturation,
    "generation-goodput": goodput.goodput,
    "generation-served": served_generator.served,
    "step-overhead": step_overhead.overhead,
}


def run(names: Sequence[str], scale: Scale, dtype: str) -> Iterator[str]:
    """What is printed, line by line."""
    pin(FRONT_CORE)
    bare = Floors(dtype)
    try:
        rig = this_rig(bare.measure(floors.dtype))
        yield f"rig: {show(rig)}"
        for name in names:
            with tempfile.TemporaryDirectory(prefix="trivium-bench-") as folder:
                yield BENCHMARKS[name](scale, bare, dtype, Path(folder)).line(rig)
    finally:
        bare.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--tiny", action="store_true", help="once each, in seconds; the figures mean nothing")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    asked = parser.parse_args()
    if unknown := set(asked.names) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    for line in run(asked.names or list(BENCHMARKS), TINY if asked.tiny else FULL, asked.dtype):
        print(line, flush=True)


if __name__ == "__main__":
    main()

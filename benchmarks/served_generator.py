"""Answers of the generator's process, by each of its engines that write with an encoder-decoder.

Each engine gets the same requests, as text, over gRPC: all at once, which tells tokens a second, and then by chance,
which tells how long they wait. Weights are random. Seconds are the wall's, and mean something on a quiet machine;
those of the process's CPU stand beside them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import random_writers, step_overhead
from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.random_writers import Request, words
from benchmarks.rig import cpu_seconds
from benchmarks.scale import Scale
from benchmarks.servers import serving
from benchmarks.streams import Streamed, Streams
from cli.processes import Process
from trivium.v1 import generator_pb2, passage_pb2

OURS = "seq2seq float32"
PEER = "ctranslate2 float32"
ENGINES: Mapping[str, Mapping[str, str]] = {
    OURS: {"ENGINE": "seq2seq", "DTYPE": "float32"},
    "seq2seq bfloat16": {"ENGINE": "seq2seq", "DTYPE": "bfloat16"},
    PEER: {"ENGINE": "ctranslate2", "COMPUTE_TYPE": "float32"},
    "ctranslate2 int8": {"ENGINE": "ctranslate2", "COMPUTE_TYPE": "int8"},
}
"""What the generator is told. All else is as it is by default."""

TARGET = 1.0
TIMES = 2
"""The requests of `generation`, which would be but a few batches."""

SHARE = 0.5
"""Of the rate at which ours answers requests that are sent at once: that of those that arrive by chance."""

NUM_FIRST = 8
"""Requests before those that count."""

NUM_QUESTION_TOKENS = 4
"""Of a prompt. The others are its passage."""

END_ID = 2
METHOD = "/trivium.v1.GeneratorService/Generate"
PATIENCE_S = 600


@dataclass(frozen=True)
class Answered:
    """What became of the requests."""

    at_once: Sequence[Streamed]
    cpu_s: float
    """Of the process meanwhile, all its threads together."""
    by_chance: Sequence[Streamed]

    @property
    def wall_s(self) -> float:
        """Until the last answer to those that were sent at once."""
        return max(one.to_last_s for one in self.at_once)

    @property
    def rate(self) -> float:
        """Of those, a second."""
        return len(self.at_once) / self.wall_s


def served(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Tokens a second of `seq2seq` ÷ those of `ctranslate2`, both in float32, all requests sent at once."""
    shape = scale.writers[0]
    bare.measure(save, shape, folder / shape)
    requests = random_writers.mixed(TIMES * scale.num_answers)
    answered: dict[str, Answered] = {}
    for name in usable(bare.measure(step_overhead.dtypes)):
        rate = SHARE * answered[OURS].rate if answered else None
        settings = {"MODEL": str(folder / shape), "MAX_DEADLINE_S": str(PATIENCE_S), **ENGINES[name]}
        with serving(folder / name, dtype, "generator", settings=settings) as processes:
            (process,) = processes.all
            answered[name] = asyncio.run(_answered(process, requests, rate))
    ratio = answered[PEER].wall_s / answered[OURS].wall_s if PEER in answered else 0.0
    details = {"shape": shape, "num_requests": len(requests), "dtypes": "by name", **_details(answered, requests)}
    return Figure("generation-served", spread([ratio]), TARGET, True, details)


def usable(dtypes: Sequence[str]) -> list[str]:
    """The engines that can be started here: those of `ctranslate2` where it is installed."""
    missing = {"ctranslate2"} if importlib.util.find_spec("ctranslate2") is None else set()
    told = ENGINES.items()
    return [name for name, one in told if one["ENGINE"] not in missing and one.get("DTYPE", dtypes[0]) in dtypes]


def save(shape: str, folder: Path) -> None:
    """The random model of this shape with an end, which `ctranslate2` wants: its score is 0, and never the best."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    random_writers.save(shape, folder)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight[END_ID] = 0
    model.generation_config.eos_token_id = END_ID
    model.save_pretrained(folder)


async def _answered(process: Process, requests: Sequence[Request], rate: float | None) -> Answered:
    """`rate` is that of requests by chance. None: `SHARE` of that of those at once."""
    import numpy as np

    asked = [generate_request(request) for request in requests]
    async with Streams(process.address, METHOD, PATIENCE_S) as streams:
        await streams.call_all(asked[:NUM_FIRST], [0.0] * len(asked[:NUM_FIRST]))
        began_s = cpu_seconds(process.pid)
        at_once = await streams.call_all(asked, [0.0] * len(asked))
        cpu_s = cpu_seconds(process.pid) - began_s
        rate = rate or SHARE * Answered(at_once, cpu_s, []).rate
        due_s = np.random.default_rng(5).exponential(1 / rate, len(asked)).cumsum().tolist()
        answered = Answered(at_once, cpu_s, await streams.call_all(asked, due_s))
    _require_lengths(answered, requests)
    return answered


def generate_request(request: Request) -> bytes:
    """The prompt as words of the model's vocabulary. What the template adds is unknown to it."""
    question, passage = request.token_ids[:NUM_QUESTION_TOKENS], request.token_ids[NUM_QUESTION_TOKENS:]
    return generator_pb2.GenerateRequest(
        question=words(question),
        passages=[passage_pb2.Passage(passage_id="1", text=words(passage))],
        sampling=generator_pb2.Sampling(max_output_tokens=request.length),
    ).SerializeToString()


def _finished(streamed: Streamed) -> generator_pb2.GenerateFinished:
    return generator_pb2.GenerateResponse.FromString(streamed.last).finished


def _require_lengths(answered: Answered, requests: Sequence[Request]) -> None:
    """All engines read whole prompts and write the same number of tokens."""
    for load in (answered.at_once, answered.by_chance):
        for request, one in zip(requests, load, strict=True):
            usage = _finished(one).usage
            assert usage.prompt_tokens >= len(request.token_ids)
            assert usage.output_tokens == request.length


def _details(answered: Mapping[str, Answered], requests: Sequence[Request]) -> dict[str, Any]:
    found: dict[str, Any] = {"requests_per_s by chance": round(SHARE * answered[OURS].rate, 3)}
    if PEER in answered:
        found[f"to {PEER} by CPU seconds"] = round(answered[PEER].cpu_s / answered[OURS].cpu_s, 3)
    else:
        found["ctranslate2"] = "not installed: nothing to compare with"
    num_tokens = sum(request.length for request in requests)
    for name, one in answered.items():
        found[f"{name}: tokens_per_s"] = round(num_tokens / one.wall_s, 1)
        found[f"{name}: tokens_per_cpu_s"] = round(num_tokens / one.cpu_s, 1)
        found[f"{name}: batch_size at once, by chance"] = [_batch_size(load) for load in (one.at_once, one.by_chance)]
        found[f"{name}: p50_s, p99_s to the last token by chance"] = _quantiles(
            [stream.to_last_s for stream in one.by_chance], 50, 99
        )
        found[f"{name}: p50_s to the first text by chance"] = _quantiles(
            [stream.to_first_s for stream in one.by_chance], 50
        )
    return found


def _batch_size(load: Sequence[Streamed]) -> float:
    """The mean over the answers of what each was written beside."""
    return round(statistics.mean(_finished(one).stats.batch_size for one in load), 1)


def _quantiles(seconds: Sequence[float], *percents: int) -> list[float]:
    import numpy as np

    return [round(float(one), 3) for one in np.percentile(seconds, percents)]

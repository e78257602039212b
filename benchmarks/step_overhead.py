"""What a step of answers in flight costs beside the model's own pass.

Bare is the same module called with the same tokens, cache, masks and positions, prepared beforehand. Both take turns
on the same rows: the bare pass is undone and the step then does it again. Nothing joins or leaves meanwhile.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import random_writers
from benchmarks.figures import Figure, Spread, spread
from benchmarks.floors import Floors
from benchmarks.random_writers import MAX_OUTPUT_TOKENS
from benchmarks.scale import Scale
from benchmarks.ways_to_write import MAX_ROWS

NUM_PROMPT_TOKENS = 100
TARGET = 0.10

Seconds = tuple[float, float]
"""Of CPU, and on the wall."""


def overhead(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """(step - bare pass) ÷ bare pass, CPU seconds, 8 rows, one thread: the worst of the shapes is promised."""
    details: dict[str, Any] = {"rows": MAX_ROWS, "num_prompt_tokens": NUM_PROMPT_TOKENS}
    details["num_steps"] = num_steps = min(scale.num_alone, MAX_OUTPUT_TOKENS - 2)
    ratios: list[Spread] = []
    for shape in scale.writers:  # a decoder-only one is measured by the same `measured`, once it is in this list
        bare.measure(random_writers.save, shape, folder / shape)
        for name in bare.measure(dtypes):
            rounds = [bare.measure(measured, folder / shape, name, num_steps) for _ in range(scale.rounds)]
            ratios.append(spread([one["overhead"] for one in rounds]))
            details[f"{shape} {name}: overhead"] = ratios[-1]
            for key in ("overhead_on_the_wall", "step_ms", "bare_ms"):
                details[f"{shape} {name}: {key}"] = spread([one[key] for one in rounds])
    return Figure("step-overhead", max(ratios, key=lambda one: one.median), TARGET, False, details)


def dtypes() -> list[str]:
    """Those that this machine multiplies."""
    from chassis.cpu import this_cpu

    return ["float32", "bfloat16"] if this_cpu().multiplies_bfloat16 else ["float32"]


def measured(folder: Path, dtype: str, num_steps: int) -> dict[str, float]:
    """Medians of the steps of eight rows."""
    import torch

    from services.generator.engine import Sampling
    from services.generator.engines.seq2seq import Seq2Seq
    from services.generator.prompts.prompt import TokenPrompt

    engine = Seq2Seq(folder, "cpu", NUM_PROMPT_TOKENS, MAX_OUTPUT_TOKENS, dtype=getattr(torch, dtype))
    torch.set_num_threads(1)
    flight = engine.flight()
    assert flight is not None
    token_ids = tuple(range(random_writers.FIRST_WORD, random_writers.FIRST_WORD + NUM_PROMPT_TOKENS))
    prompt = TokenPrompt(NUM_PROMPT_TOKENS, NUM_PROMPT_TOKENS, 0, (), token_ids)
    flight.step({number: (prompt, Sampling(MAX_OUTPUT_TOKENS)) for number in range(MAX_ROWS)}, [])
    flight.step({}, [])
    steps, passes = list[Seconds](), list[Seconds]()
    for _ in range(num_steps):
        passes.append(_bare_pass(engine._model, flight))
        steps.append(_seconds(lambda: flight.step({}, [])))
    return _figures(steps, passes)


def _bare_pass(model: Any, flight: Any) -> Seconds:
    """One pass of the rows of a flight, undone."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    ((memory, rows),) = flight._rows._batches
    mask, positions = memory.layout()
    with torch.inference_mode(), _positions(model, positions):
        states = torch.zeros(len(rows), memory.prompt_mask.shape[1], 1, dtype=model.dtype)
        inputs = {
            "encoder_outputs": BaseModelOutput(last_hidden_state=states),
            "attention_mask": memory.prompt_mask,
            "decoder_input_ids": torch.cat([row.token_ids[:, -1:] for row in rows]),
            "decoder_attention_mask": mask,
            "past_key_values": memory.cache,
            "use_cache": True,
        }
        seconds = _seconds(lambda: model(**inputs))
        memory.rewind()
    return seconds


def _positions(model: Any, places: Any) -> contextlib.AbstractContextManager[None]:
    from services.generator.rows.positions import positions_of

    positions = positions_of(model)
    assert positions is not None
    return positions.at(places)


def _seconds(run: Callable[[], object]) -> Seconds:
    began_cpu, began = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - began_cpu, time.perf_counter() - began


def _figures(steps: list[Seconds], passes: list[Seconds]) -> dict[str, float]:
    """By the median of the differences: what else the machine does comes and goes in bursts."""
    found = {}
    for place, name in enumerate(("overhead", "overhead_on_the_wall")):
        differences = [step[place] - bare[place] for step, bare in zip(steps, passes, strict=True)]
        found[name] = statistics.median(differences) / statistics.median(bare[place] for bare in passes)
    found["step_ms"] = statistics.median(step[0] for step in steps) * 1e3
    found["bare_ms"] = statistics.median(bare[0] for bare in passes) * 1e3
    return found

"""Answers of an encoder-decoder written in flight, against transformers' `generate` over the same requests.

Both run the same random model (6 layers, 512 wide) with the same rows at most. Requests have mixed prompts and mixed
greatest lengths. They all wait from the beginning: `generate` gets them in batches in order of arrival, each of which
goes on until its longest answer ends, and then one by one. Answers are as long as they may be, so that all three
write the same number of tokens, which a random model's own ends would not do in float32.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.scale import Scale

MAX_ROWS = 8
FAMILIES = ("bart", "t5")
VOCABULARY = 8_000
MAX_PROMPT_TOKENS = 200
MAX_OUTPUT_TOKENS = 96

Request = tuple[list[int], int]


def generation(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Requests a second in flight ÷ in whole batches of as many rows: the worst of both families is promised."""
    details: dict[str, Any] = {"max_rows": MAX_ROWS, "num_requests": scale.num_answers, "dtype": "float32"}
    ratios = []
    for family in FAMILIES:
        requests = mixed(scale.num_answers)
        found = [bare.measure(rates, family, requests, scale.width) for _ in range(scale.rounds)]
        ratios.append(spread([one["in flight"] / one["batches"] for one in found]))
        details[f"{family}: to batches"] = ratios[-1]
        details[f"{family}: to one by one"] = spread([one["in flight"] / one["one by one"] for one in found])
        details[f"{family}: tokens per second in flight"] = spread([one["tokens"] for one in found], 1)
        details[f"{family}: mean rows"] = spread([one["rows"] for one in found])
    return Figure("generation", min(ratios, key=lambda one: one.median), 1.0, True, details)


def mixed(number: int) -> list[Request]:
    """Prompts of 8 to 200 tokens; greatest lengths of 4 to 96, most of them short. The same each time."""
    import numpy as np

    random = np.random.default_rng(3)
    return [
        (
            random.integers(10, VOCABULARY, random.integers(8, MAX_PROMPT_TOKENS)).tolist(),
            int(np.clip(random.exponential(24), 4, MAX_OUTPUT_TOKENS)),
        )
        for _ in range(number)
    ]


def rates(family: str, requests: Sequence[Request], width: int) -> dict[str, float]:
    """Requests a second by each way, in this process, one after the other."""
    import torch

    torch.set_num_threads(1)
    model = _model(family, width)
    with torch.inference_mode():
        _in_flight(model, requests[:2])
        began = time.perf_counter()
        num_steps, num_tokens = _in_flight(model, requests)
        in_flight_s = time.perf_counter() - began
        batches_s = _seconds(model, requests, MAX_ROWS)
        one_by_one_s = _seconds(model, requests, 1)
    return {
        "in flight": len(requests) / in_flight_s,
        "batches": len(requests) / batches_s,
        "one by one": len(requests) / one_by_one_s,
        "tokens": num_tokens / in_flight_s,
        "rows": num_tokens / num_steps,
    }


def _model(family: str, width: int) -> Any:
    import torch
    from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    shared: dict[str, Any] = {"vocab_size": VOCABULARY, "d_model": width, "pad_token_id": 0, "eos_token_id": None}
    num_heads = max(1, width // 64)
    model: Any
    if family == "t5":
        config = T5Config(
            **shared, d_kv=64, d_ff=4 * width, num_layers=6, num_heads=num_heads, decoder_start_token_id=0
        )
        model = T5ForConditionalGeneration(config)
    else:
        model = BartForConditionalGeneration(
            BartConfig(
                **shared,
                encoder_layers=6,
                decoder_layers=6,
                encoder_attention_heads=num_heads,
                decoder_attention_heads=num_heads,
                encoder_ffn_dim=4 * width,
                decoder_ffn_dim=4 * width,
                bos_token_id=2,
                decoder_start_token_id=2,
                forced_eos_token_id=None,
            )
        )
    return model.eval()


def _in_flight(model: Any, requests: Sequence[Request]) -> tuple[int, int]:
    """Steps and tokens."""
    from services.generator.encoder_decoder import EncoderDecoder
    from services.generator.engine import Sampling, Step
    from services.generator.positions import positions_of
    from services.generator.prompt import TokenPrompt
    from services.generator.room import Room, Size
    from services.generator.row import Opening
    from services.generator.row_flight import RowFlight
    from services.generator.rules import rules

    def begin(prompt: TokenPrompt, sampling: Sampling) -> Opening:
        return Opening(rules(model, prompt.token_ids, sampling), _Silent(), sampling.max_output_tokens)

    positions = positions_of(model)
    assert positions is not None
    flight, room = RowFlight(EncoderDecoder(model, positions), begin), Room(MAX_ROWS, 16_384, 2_048)
    waiting = [
        (TokenPrompt(len(token_ids), len(token_ids), 0, (), tuple(token_ids)), Sampling(length))
        for token_ids, length in reversed(requests)
    ]
    flying: dict[int, Size] = {}
    num_steps = num_tokens = 0
    while waiting or flying:
        joining: dict[int, tuple[TokenPrompt, Sampling]] = {}
        sizes: list[Size] = []
        while waiting and room.fits(size := Size.of(*waiting[-1]), list(flying.values()), sizes):
            joining[len(waiting)] = waiting.pop()
            sizes.append(size)
        flying |= dict(zip(joining, sizes, strict=True))
        for number, step in flight.step(joining, []).items():
            assert isinstance(step, Step)
            num_tokens += 1
            if step.finish:
                del flying[number]
        num_steps += 1
    return num_steps, num_tokens


class _Silent:
    """Writes no text: decoding tokens is no part of what is compared."""

    def write(self, token_id: int, is_last: bool, logprobs: Any = None) -> Any:
        from services.generator.engine import Step

        return Step(num_tokens=1, finish="length" if is_last else None)


def _seconds(model: Any, requests: Sequence[Request], num_rows: int) -> float:
    """What `generate` takes for batches in order of arrival, each as long as its longest answer."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    began = time.perf_counter()
    for start in range(0, len(requests), num_rows):
        batch = requests[start : start + num_rows]
        token_ids = pad_sequence([torch.tensor(prompt) for prompt, _ in batch], batch_first=True)
        model.generate(
            token_ids,
            attention_mask=(token_ids != 0).long(),
            max_new_tokens=max(length for _, length in batch),
            do_sample=False,
            num_beams=1,
        )
    return time.perf_counter() - began

"""A process whose address space is bounded: its allocator fails for real, and nobody is lost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, contextlib, json, resource, time
import numpy as np, torch
from transformers import T5Config, T5ForConditionalGeneration
from chassis.cost_model import CostModel
from chassis.deadline import NEVER
from chassis.executor import SingleThread
from chassis.queue import Queue
from services.generator.loop.decoding import DecodingLoop
from services.generator.engine import Sampling, Step
from services.generator.loop.room import Room
from services.generator.rows.rules import greedy
from tests.unit import random_models as models
from tests.unit.random_vocabulary import VOCABULARY
from tests.unit.scarce_memory import Scarce

torch.set_num_threads(1)
torch.manual_seed(0)
# Narrow, with many heads: few weights, and 256 kB of keys and values for each token.
config = T5Config(vocab_size=VOCABULARY, d_model=16, d_kv=64, d_ff=16, num_layers=2, num_heads=128,
                  initializer_factor=2.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
model = T5ForConditionalGeneration(config).to(torch.float64).eval()
model.generation_config = greedy(model.generation_config)
model.generation_config.min_new_tokens = 20
random = np.random.default_rng(0)
requests = [(models.prompt_of(*random.integers(3, 60, 40).tolist()), Sampling(25)) for _ in range(6)]
expected = [models.alone(model, prompt, sampling.max_output_tokens) for prompt, sampling in requests]
device = SingleThread("device")

async def write(flight):
    queue = Queue(clock=time.monotonic, cost_model=CostModel(), max_entries=100, max_skips=8)
    loop = DecodingLoop(flight, queue, device.run, Room(max_rows=8))
    loop.start()
    async def text(request):
        return "".join([one.text async for one in loop.answer(*request, NEVER) if isinstance(one, Step)])
    written = await asyncio.gather(*map(text, requests), return_exceptions=True)
    await loop.close()
    return [str(one) for one in written]

flight = Scarce(models.fly(model), contextlib.nullcontext())
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + MORE_BYTES, size + MORE_BYTES))
written = asyncio.run(write(flight))
device.close()
print(json.dumps({"written": written, "expected": expected, "num_put_back": flight.num_put_back}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="bounds the address space as Linux does")
def test_answers_are_exact_where_the_allocator_of_the_machine_fails() -> None:
    program = PROGRAM.replace("MORE_BYTES", str(64 << 20))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110, check=True)
    told = json.loads(done.stdout)
    assert told["written"] == told["expected"]
    assert told["num_put_back"] > 0

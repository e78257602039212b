"""What a model computes in follows the CPU, and what leaves it is float32 either way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from chassis import checkpoint, precision
from chassis.cpu import Cpu, this_cpu
from chassis.pretrained import load_encoder
from services.reranker.late_interaction import LateInteraction
from services.reranker.pairs import Pair
from services.retriever.encoder import Text, load
from tests.unit.seeded_rerankers import save_bert_encoder

CPUINFO = "processor\t: 0\nvendor_id\t: {}\nmodel name\t: One\nflags\t\t: fpu {}\n\nprocessor\t: 1\nflags\t\t: other\n"
TEXTS = [
    Text("Who writes the index?"),
    Text("fsync " * 150, "Log"),
    Text("A version is immutable and complete, and one pointer is flipped."),
]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx512f avx512_bf16", torch.bfloat16),
        ("amx_tile amx_bf16", torch.bfloat16),
        ("avx2 fma", torch.float32),
        ("avx512f avx512_vnni", torch.float32),
    ],
    ids=["avx512_bf16", "amx", "avx2", "avx512 without bf16"],
)
def test_auto_is_bfloat16_only_where_the_cpu_multiplies_it(flags: str, expected: torch.dtype, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO.format("AuthenticAMD", flags))
    assert precision.resolve("auto", "cpu", this_cpu(tmp_path / "cpuinfo")) == expected


def test_an_arm_cpu_lists_its_flags_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert this_cpu(tmp_path / "cpuinfo").multiplies_bfloat16


def test_a_machine_without_a_list_of_cpus_computes_in_float32(tmp_path: Path) -> None:
    assert this_cpu(tmp_path / "none") == Cpu()
    assert precision.resolve("auto", "cpu", Cpu()) == torch.float32


def test_a_dtype_that_is_named_is_taken_whatever_the_cpu() -> None:
    assert precision.resolve("bfloat16", "cpu", Cpu()) == torch.bfloat16
    assert precision.resolve("float32", "cpu", Cpu(flags=frozenset({"amx_bf16"}))) == torch.float32


def test_a_model_in_bfloat16_returns_float32(tmp_path: Path) -> None:
    model, _ = load_encoder(AutoModel, save_bert_encoder(tmp_path), "cpu", "bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        outputs = model(input_ids=torch.tensor([[2, 5, 3]]), attention_mask=torch.ones(1, 3, dtype=torch.int64))
    assert (outputs.last_hidden_state.dtype, outputs.pooler_output.dtype) == (torch.float32, torch.float32)


def test_vectors_of_both_dtypes_can_be_mixed() -> None:
    found = checkpoint.find("embedded")
    whole, half = (load("sentence", "passage", found, found, "cpu", dtype) for dtype in ("float32", "bfloat16"))
    assert whole.fingerprint == half.fingerprint
    vectors, near = (np.stack([one.vector for one in encoder.run(encoder.prepare(TEXTS))]) for encoder in (whole, half))
    assert near.dtype == np.float32
    assert not np.array_equal(vectors, near), "bfloat16 was not used"
    np.testing.assert_allclose(np.linalg.norm(near, axis=1), 1, atol=1e-6)
    assert (vectors * near).sum(1).min() >= 0.9998  # of the text that is one word, over and over
    assert np.median((vectors * near).sum(1)) >= 0.9999


def test_scores_in_bfloat16_are_those_of_float32_within_a_hundredth() -> None:
    path = checkpoint.find("embedded").path
    pairs = [Pair("Who writes the index?", text.text) for text in TEXTS]
    whole, half = (LateInteraction(path, "cpu", 512, dtype) for dtype in ("float32", "bfloat16"))
    logits, near = ([one.logit for one in engine.run(engine.prepare(pairs))] for engine in (whole, half))
    np.testing.assert_allclose(near, logits, atol=0.01)

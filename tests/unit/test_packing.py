"""A batch without its padding, through other libraries: the same numbers as transformers' own, within rounding."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    CamembertConfig,
    CamembertModel,
    DistilBertConfig,
    DistilBertModel,
    DPRConfig,
    DPRQuestionEncoder,
    ElectraConfig,
    ElectraModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from chassis.cpu import Cpu, this_cpu
from chassis.linear import FEW_ROWS, X86_BFLOAT16, RelaidLinear, relay
from chassis.packing import PackedEncoder, pack
from chassis.pretrained import quicken

TOLERANCE = 1e-5
LENGTHS = [9, 3, 3, 31, 1, 12, 31]
SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "initializer_range": 0.3,
}
PACKABLE = [
    (BertModel, BertConfig),
    (BertForSequenceClassification, BertConfig),
    (RobertaForSequenceClassification, RobertaConfig),
    (XLMRobertaModel, XLMRobertaConfig),
    (CamembertModel, CamembertConfig),
    (ElectraModel, ElectraConfig),
    (DPRQuestionEncoder, DPRConfig),
]


def seeded(model_class: type[PreTrainedModel], config_class: type) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return model_class(config_class(**SIZES)).eval()


def batch(lengths: list[int], side: str = "right") -> dict[str, torch.Tensor]:
    """Texts of these lengths, padded."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(2, 90, (len(lengths), max(lengths)), generator=generator)
    read = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    mask = read.long() if side == "right" else read.long().flip(1)
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}


@torch.inference_mode()
def outputs(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By name; states of padding, which nobody reads, are left out."""
    given = dict(model(**inputs).items())
    if "last_hidden_state" in given:
        given["last_hidden_state"] = given["last_hidden_state"][inputs["attention_mask"].bool()]
    return given


@pytest.mark.parametrize(("model_class", "config_class"), PACKABLE, ids=[one.__name__ for one, _ in PACKABLE])
@pytest.mark.parametrize("lengths", [LENGTHS, [7, 7], [5], [2, 40]], ids=str)
def test_a_quick_model_equals_transformers_in_any_batch(
    model_class: type[PreTrainedModel], config_class: type, lengths: list[int]
) -> None:
    stock, quick = seeded(model_class, config_class), seeded(model_class, config_class)
    quicken(quick, "cpu", "float32")
    assert any(isinstance(module, PackedEncoder) and module.layers for module in quick.modules())
    inputs = batch(lengths)
    expected, given = outputs(stock, inputs), outputs(quick, inputs)
    assert given.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(given[name], expected[name], atol=TOLERANCE, rtol=0)


def test_padding_may_stand_before_the_texts() -> None:
    stock, quick = seeded(BertModel, BertConfig), seeded(BertModel, BertConfig)
    quicken(quick, "cpu", "float32")
    inputs = batch(LENGTHS, "left")
    expected, given = (outputs(model, inputs)["last_hidden_state"] for model in (stock, quick))
    torch.testing.assert_close(given, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("lengths", [LENGTHS, [7, 7], [5]], ids=str)
@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {}], ids=["another activation", "another dtype"])
def test_layers_that_are_no_graph_run_packed_all_the_same(lengths: list[int], change: dict[str, str]) -> None:
    stock, quick = (BertModel(BertConfig(**SIZES | change)).eval() for _ in range(2))
    quick.load_state_dict(stock.state_dict())
    if not change:
        stock, quick = stock.double(), quick.double()
    assert pack(quick)
    rows: list[int] = []
    layer = next(module for name, module in quick.named_modules() if name.endswith("self.query"))
    layer.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[:-1].numel()))
    inputs = batch(lengths)
    expected, given = outputs(stock, inputs), outputs(quick, inputs)
    for name in expected:
        torch.testing.assert_close(given[name], expected[name], atol=TOLERANCE, rtol=0)
    assert rows == [sum(lengths)], "padding was computed"


def test_an_architecture_that_is_not_known_runs_as_it_is() -> None:
    config = {"vocab_size": 90, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "pad_token_id": 1}
    stock, quick = (DistilBertModel(DistilBertConfig(**config)).eval() for _ in range(2))
    quick.load_state_dict(stock.state_dict())
    assert not pack(quick)
    quicken(quick, "cpu", "float32")
    inputs = batch(LENGTHS)
    torch.testing.assert_close(
        outputs(quick, inputs)["last_hidden_state"],
        outputs(stock, inputs)["last_hidden_state"],
        atol=TOLERANCE,
        rtol=0,
    )


@pytest.mark.parametrize("rows", [0, 1, 2, 3, FEW_ROWS, FEW_ROWS + 1, 300])
@pytest.mark.parametrize(
    "cpu", [Cpu(), Cpu(vendor="AuthenticAMD", flags=frozenset({"avx512f"}))], ids=["any", "amd with avx512"]
)
@pytest.mark.parametrize("bias", [True, False], ids=["with bias", "without"])
def test_a_relaid_layer_equals_the_layer(rows: int, cpu: Cpu, bias: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(48, 80, bias=bias))
    states = torch.randn(rows, 48)
    with torch.inference_mode():
        expected = model(states)
        relay(model, cpu)
        assert isinstance(model[0], RelaidLinear)
        torch.testing.assert_close(model(states), expected, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(model(states.unsqueeze(0)), expected.unsqueeze(0), atol=TOLERANCE, rtol=0)


@pytest.mark.skipif(X86_BFLOAT16.isdisjoint(this_cpu().flags), reason="this CPU does not multiply bfloat16")
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 300])
def test_a_relaid_layer_in_bfloat16_equals_the_layer(rows: int) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(48, 80)).to(torch.bfloat16)
    states = torch.randn(rows, 48, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = model(states)
        relay(model)
        assert isinstance(model[0], RelaidLinear)
        torch.testing.assert_close(model(states), expected, atol=0.01, rtol=0.01)


def test_bfloat16_is_left_alone_where_it_is_emulated() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4)).to(torch.bfloat16)
    relay(model, Cpu())
    assert type(model[0]) is torch.nn.Linear

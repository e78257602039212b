"""Rows of decoder-only models: each is what it would be alone, and what cannot be so is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from services.generator.engine import Sampling
from services.generator.rows.causal_decoder import CausalDecoder
from services.generator.rows.positions import UnknownPositions, require_positions_of_each
from services.generator.rows.row import Opening, Row
from services.generator.rows.rules import rules
from tests.unit import random_causal
from tests.unit import random_models as models
from tests.unit.pilots import MAX_ROWS, RULES, Pilot, assert_as_alone

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES = ["llama", "gpt2"]
EAGER_IN_FLOAT32 = {"gemma2"}
"""Their attention computes in float32, where the smallest number of float64 is minus infinity and padding that reads
nothing becomes no number. In float64 their prompts have to be read without padding."""


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_is_that_of_generate_alone(family: str, rules: str) -> None:
    assert_as_alone(family, RULES[rules], 32)


@pytest.mark.parametrize("family", random_causal.MAKE)
def test_every_family_whose_positions_are_known_is_exact(family: str) -> None:
    assert_as_alone(family, {"min_new_tokens": 12}, 10, most_at_once=1 if family in EAGER_IN_FLOAT32 else MAX_ROWS)


def rows_of(model: Any, *prompts: int) -> list[Row]:
    """Rows whose prompts are so long."""
    made = []
    for number, length in enumerate(prompts):
        prompt = models.prompt_of(*range(3, 3 + length))
        made.append(Row(number, prompt, Opening(rules(model, prompt.token_ids, Sampling(9)), models.Spelling(9), 9)))
    return made


@torch.inference_mode()
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2", "opt"])
def test_in_float32_padding_changes_nothing_but_rounding(family: str) -> None:
    model = models.make(family).float()
    decoder, rows = CausalDecoder(model), rows_of(model, 2, 30, 9)
    _, together = decoder.read(rows)
    for place, row in enumerate(rows):
        _, alone = decoder.read([row])
        torch.testing.assert_close(together[place], alone[0], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_that_is_read_anew_with_what_it_wrote_goes_on_where_it_was(family: str) -> None:
    model = models.make(family)
    decoder, rows = CausalDecoder(model), rows_of(model, 5, 20)
    memory, scores = decoder.read(rows)
    for _ in range(4):
        memory.grow()
        for place, row in enumerate(rows):
            token_id = scores[place].argmax()[None]
            row.write(token_id, int(token_id))
        scores = decoder.go_on(memory, rows)
    read, scores_of_read = decoder.read(rows)
    torch.testing.assert_close(scores_of_read, scores)
    read.grow()
    memory.grow()
    assert read.lengths == memory.lengths == [9, 24]


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_last_token_of_a_prompt_is_scored(family: str) -> None:
    model = models.make(family)
    scored: list[int] = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, states: scored.append(states[0].shape[1]))
    Pilot(models.fly(model)).step({0: (models.prompt_of(*range(3, 20)), Sampling(2))})
    assert scored == [1]


@pytest.mark.parametrize("family", [*FAMILIES, "mistral"])
def test_who_leaves_takes_row_and_columns_along(family: str) -> None:
    model = models.make(family, min_new_tokens=50)
    pilot = Pilot(models.fly(model))
    pilot.step({0: (models.prompt_of(*range(3, 43)), Sampling(50))})
    assert pilot.shapes == (1, 40)
    for _ in range(9):
        pilot.step()
    pilot.step({1: (models.prompt_of(8, 9), Sampling(30)), 2: (models.prompt_of(5), Sampling(40))})
    pilot.step()
    assert pilot.shapes == (3, 51)
    pilot.step(leaving={0})
    assert pilot.shapes == (2, 4)
    pilot.step(leaving={1})
    assert pilot.shapes == (1, 4)
    pilot.until_landed()
    assert pilot.texts[2] == models.alone(model, models.prompt_of(5), 40)


ROTARY = {
    "dynamic": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 40,
        "rope_theta": 10_000.0,
    },
}


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("bloom", {}, "no known positions: bloom"),
        ("llama", {"rope_parameters": ROTARY["dynamic"]}, "llama with dynamic rotary embeddings"),
        ("phi3", {"rope_parameters": ROTARY["longrope"]}, "phi3 with longrope rotary embeddings"),
    ],
    ids=["unknown", "dynamic", "longrope"],
)
def test_models_whose_rows_depend_on_each_other_are_refused_by_name(
    family: str, settings: dict[str, Any], reason: str
) -> None:
    config = AutoConfig.for_model(family, **random_causal.LIKE_LLAMA | settings)
    with pytest.raises(UnknownPositions, match=reason):
        require_positions_of_each(AutoModelForCausalLM.from_config(config))


def test_rotary_embeddings_of_every_row_by_itself_are_taken() -> None:
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    config = AutoConfig.for_model("llama", **random_causal.LIKE_LLAMA | {"rope_parameters": scaled})
    require_positions_of_each(AutoModelForCausalLM.from_config(config))

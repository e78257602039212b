"""An answer is written at start: what cannot be written then is a refusal to start."""

from __future__ import annotations

import pytest

from chassis import checkpoint
from chassis.config import ConfigError
from services.generator import warm_up
from services.generator.engines.extractive import Extractive
from services.generator.rows.alone import Alone
from services.generator.rows.row_flight import RowFlight
from tests.unit import random_models as models
from tests.unit.random_vocabulary import VOCABULARY
from tests.unit.scarce_memory import Allocator, Scarce, is_empty

pytestmark = pytest.mark.usefixtures("one_thread")

AMPLE = 1 << 30


def flight(max_bytes: int = AMPLE) -> Scarce[RowFlight]:
    return Scarce(models.fly(models.make("t5")), Allocator(max_bytes))


def test_nothing_is_left_of_a_row() -> None:
    warmed = flight()
    warm_up.write(warmed, models.prompt_of(5, 6, 7))
    assert is_empty(warmed.flight)


def test_nothing_is_left_of_an_answer_that_takes_many_steps() -> None:
    engine = Extractive(checkpoint.find("embedded").path, "cpu", 2_048, 400)
    warmed = Alone(engine)
    warm_up.write(warmed, warm_up.smallest_prompt(engine))
    assert not warmed.numbers


def test_a_model_that_leaves_no_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="no memory for an answer"):
        warm_up.write(flight(max_bytes=16), models.prompt_of(5, 6, 7))


def test_a_model_that_cannot_read_says_why() -> None:
    with pytest.raises(IndexError):
        warm_up.write(flight(), models.prompt_of(VOCABULARY))

"""Checks of request fields. Each raises InvalidRequest with the field's proto name and never quotes its value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from chassis.errors import InvalidRequest

MAX_QUESTION_CHARACTERS = 8_192
MAX_PASSAGE_ID_CHARACTERS = 512
MAX_PASSAGE_CHARACTERS = 32_768


class EnumType(Protocol):
    """A generated proto enum."""

    def values(self) -> list[int]: ...


def require_text(field: str, text: str, max_characters: int) -> None:
    """The text has 1 to `max_characters` characters, and not only white space."""
    if not text.strip():
        raise InvalidRequest(field, "must not be empty")
    if len(text) > max_characters:
        raise InvalidRequest(field, f"at most {max_characters:,} characters, got {len(text):,}")


def require_question(question: str) -> None:
    """It can be a question: not empty, and no longer than any may be."""
    require_text("question", question, MAX_QUESTION_CHARACTERS)


def require_passage_id(field: str, passage_id: str) -> None:
    """It can be a passage's id."""
    if not 1 <= len(passage_id) <= MAX_PASSAGE_ID_CHARACTERS:
        raise InvalidRequest(field, f"1 to {MAX_PASSAGE_ID_CHARACTERS} characters")


def require_passage_text(field: str, text: str) -> None:
    """It can be a passage: not empty, and no longer than a model's helpers can take apart in a moment."""
    require_text(field, text, MAX_PASSAGE_CHARACTERS)


def require_between(field: str, value: int, low: int, high: int) -> None:
    """low ≤ value ≤ high."""
    if not low <= value <= high:
        raise InvalidRequest(field, f"{low:,} to {high:,}, got {value:,}")


def require_finite(field: str, value: float, low: float, high: float) -> None:
    """low ≤ value ≤ high, and neither NaN nor infinite."""
    if not math.isfinite(value):
        raise InvalidRequest(field, "must be finite")
    if not low <= value <= high:
        raise InvalidRequest(field, f"{low:g} to {high:g}, got {value:g}")


def require_enum(field: str, value: int, enum_type: EnumType) -> None:
    """The value is one that this version of the contract knows."""
    if value not in enum_type.values():
        raise InvalidRequest(field, f"unknown value {value}")


def require_unique(repeated: str, field: str, values: Iterable[str]) -> None:
    """No value of `field` occurs twice in the repeated field: else `repeated[n].field` is named."""
    seen: set[str] = set()
    for position, value in enumerate(values):
        if value in seen:
            raise InvalidRequest(f"{repeated}[{position}].{field}", "must be unique in the request")
        seen.add(value)

"""From a logit to a probability, and which files may say how."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from chassis.checkpoint import EMBEDDED_SHA256
from chassis.config import ConfigError
from services.reranker.calibration import (
    SHIPPED_PATH,
    Calibration,
    find_calibration,
    load_calibration,
    read_calibration,
)

SHA256 = "5" * 64
FIELDS = {
    "engine": "cross-encoder",
    "model_sha256": SHA256,
    "slope": 2.0,
    "intercept": -1.0,
    "abstention_threshold": 0.25,
    "made_with": "a test",
}


def write(path: Path, **changes: object) -> Path:
    file = path / "calibration.json"
    file.write_text(json.dumps({name: value for name, value in {**FIELDS, **changes}.items() if value is not ...}))
    return file


def test_the_probability_is_the_logistic_function_of_the_logit(tmp_path: Path) -> None:
    calibration = load_calibration(write(tmp_path), "cross-encoder", SHA256)
    assert calibration.abstention_threshold == 0.25
    for logit in (-3.0, 0.5, 1.2):
        assert calibration.probability(logit) == pytest.approx(1 / (1 + math.exp(1 - 2 * logit)))


def test_the_probability_stays_one_at_the_ends_of_float32() -> None:
    calibration = Calibration("cross-encoder", SHA256, 100.0, 0.0, 0.5, "")
    assert (calibration.probability(-3.4e38), calibration.probability(3.4e38)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("engine", "sha256"),
    [("late-interaction", SHA256), ("cross-encoder", "6" * 64)],
    ids=["engine", "model"],
)
def test_a_calibration_of_another_engine_or_model_is_refused(tmp_path: Path, engine: str, sha256: str) -> None:
    with pytest.raises(ConfigError, match="made for cross-encoder over 555555555555, not for"):
        load_calibration(write(tmp_path), engine, sha256)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slope", 0.0),
        ("slope", "NaN"),
        ("intercept", None),
        ("abstention_threshold", 1.5),
        ("abstention_threshold", ...),
        ("threshold", 0.5),
    ],
    ids=["flat", "nan", "null", "out-of-range", "missing", "unknown"],
)
def test_a_malformed_calibration_is_refused_by_field(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"calibration.json: {field}: "):
        load_calibration(write(tmp_path, **{field: value}), "cross-encoder", SHA256)


@pytest.mark.parametrize("content", [None, b"", b"not json", b"\xff"], ids=["absent", "empty", "text", "bytes"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "calibration.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"calibration\.json"):
        load_calibration(file, "cross-encoder", SHA256)


def test_the_embedded_model_and_its_engine_have_a_calibration_that_abstains() -> None:
    calibration = find_calibration("shipped", "late-interaction", EMBEDDED_SHA256)
    assert calibration == read_calibration(SHIPPED_PATH)
    assert 0 < calibration.abstention_threshold < 1
    assert find_calibration("none", "late-interaction", EMBEDDED_SHA256) is None


@pytest.mark.parametrize(
    ("engine", "sha256"),
    [("late-interaction", SHA256), ("cross-encoder", EMBEDDED_SHA256)],
    ids=["model", "engine"],
)
def test_nothing_is_shipped_for_other_models_and_engines(engine: str, sha256: str) -> None:
    assert find_calibration("shipped", engine, sha256) is None


def test_a_calibration_that_is_named_is_read(tmp_path: Path) -> None:
    assert find_calibration(str(write(tmp_path)), "cross-encoder", SHA256) == Calibration(**FIELDS)  # type: ignore[arg-type]

"""What `trivium doctor` finds in a container: settings, device, models."""

import hashlib
from pathlib import Path

import pytest

from cli.checks.check import Status
from cli.checks.local import examine_device, examine_models, examine_settings
from cli.system import clean_environment
from tests.unit.doctor import (
    failure_of,
    found_by,
)


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant() -> None:
    environ = clean_environment() | {"RERANKER_MAX_CANDIDATE": "10"}
    failed = failure_of(lambda: examine_settings("reranker", environ))
    assert failed.text == "RERANKER_MAX_CANDIDATE: unknown setting, did you mean RERANKER_MAX_CANDIDATES?"


def test_a_container_too_slow_to_read_its_settings_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.checks.local.JUDGED_WITHIN_S", 0.001)
    failed = failure_of(lambda: examine_settings("reranker", clean_environment()))
    assert failed.text == "Python took longer than 0.001 s to read them"


def test_good_settings_are_counted() -> None:
    environ = clean_environment() | {"INDEXER_MAX_PASSAGE_TOKENS": "100", "INDEXER_DEVICE": "cpu"}
    assert found_by(lambda: examine_settings("indexer", environ)) == [
        (Status.OK, "2 variables, all known and well-formed")
    ]


def test_a_gpu_that_is_not_there_is_a_failure() -> None:
    failed = failure_of(lambda: examine_device("reranker", {"RERANKER_DEVICE": "cuda:99"}))
    assert "cuda:99" in failed.text
    assert "RERANKER_DEVICE=cpu" in failed.advice


def test_the_cpu_is_a_device() -> None:
    [(status, text)] = found_by(lambda: examine_device("reranker", {"RERANKER_DEVICE": "cpu", "OMP_NUM_THREADS": "3"}))
    assert (status, text) == (Status.OK, "cpu, 3 threads (set to cpu)")


def test_the_embedded_weights_are_the_official_ones() -> None:
    assert found_by(lambda: examine_models("reranker", {})) == [
        (Status.OK, "embedded: sha256 53aa51172d14…, the official weights")
    ]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(tmp_path.iterdir())]
    (tmp_path / "model.sha256").write_text("".join(sums))
    return tmp_path


def test_a_model_is_held_to_its_sums(model: Path) -> None:
    [(status, text)] = found_by(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert status is Status.OK
    assert text.endswith("as model.sha256 says")


def test_a_damaged_file_of_a_model_is_named(model: Path) -> None:
    (model / "config.json").write_text("{ }")
    failed = failure_of(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert failed.text == f"{model / 'config.json'} is not the file that {model / 'model.sha256'} describes"


def test_a_missing_file_of_a_model_is_named(model: Path) -> None:
    (model / "config.json").unlink()
    failed = failure_of(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert failed.text.startswith(f"{model / 'config.json'} is missing")


def test_a_model_without_safetensors_is_a_failure(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    failed = failure_of(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert "only safetensors load" in failed.text


def test_a_volume_that_is_not_mounted_is_a_failure() -> None:
    failed = failure_of(lambda: examine_models("generator", {"GENERATOR_MODEL": "/models/absent"}))
    assert "/models/absent" in failed.text

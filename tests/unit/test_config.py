"""Configuration comes from the environment, and nothing in it is silently ignored."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis.config import BatchConfig, ConfigError, load


@dataclass(frozen=True)
class ExampleConfig(BatchConfig):
    folder: Path = Path("here")
    names: tuple[str, ...] = ()


def test_silence_means_the_defaults() -> None:
    assert load(ExampleConfig, "EXAMPLE", {"OTHER_MODEL": "x"}) == ExampleConfig()


def test_every_kind_of_field_is_read() -> None:
    environ = {
        "EXAMPLE_MAX_BATCH_TOKENS": "512",
        "EXAMPLE_REFLECTION": "true",
        "EXAMPLE_DRAIN_DELAY_S": "0.25",
        "EXAMPLE_FOLDER": "/there",
        "EXAMPLE_NAMES": "a, b,,c",
    }
    config = load(ExampleConfig, "EXAMPLE", environ)
    assert (config.max_batch_tokens, config.reflection, config.drain_delay_s) == (512, True, 0.25)
    assert (config.folder, config.names) == (Path("/there"), ("a", "b", "c"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EXAMPLE_MAX_BATCH_TOKENS", "many"),
        ("EXAMPLE_MAX_BATCH_TOKENS", "0"),
        ("EXAMPLE_DEFAULT_DEADLINE_S", "nan"),
        ("EXAMPLE_LOG_LEVEL", "LOUD"),
        ("EXAMPLE_REFLECTION", "perhaps"),
        ("EXAMPLE_LISTEN_ADDRESS", "localhost"),
        ("EXAMPLE_LISTEN_ADDRESS", "localhost:http"),
        ("EXAMPLE_METRICS_ADDRESS", "localhost:99999"),
        ("EXAMPLE_METRICS_ADDRESS", ":7000"),
    ],
)
def test_a_malformed_variable_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load(ExampleConfig, "EXAMPLE", {variable: value})


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"EXAMPLE_MAX_BATCH_TOKEN: .* did you mean EXAMPLE_MAX_BATCH_TOKENS"):
        load(ExampleConfig, "EXAMPLE", {"EXAMPLE_MAX_BATCH_TOKEN": "512"})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)DRAIN_DELAY_S.*MAX_QUEUE_ENTRIES|MAX_QUEUE_ENTRIES.*DRAIN_DELAY_S"):
        load(ExampleConfig, "EXAMPLE", {"EXAMPLE_DRAIN_DELAY_S": "-1", "EXAMPLE_MAX_QUEUE_ENTRIES": "none"})


TLS = {f"EXAMPLE_TLS_{name}_PATH" for name in ("CERTIFICATE", "KEY", "CA")}


@pytest.mark.parametrize("missing", [{"EXAMPLE_TLS_KEY_PATH", "EXAMPLE_TLS_CA_PATH"}, {"EXAMPLE_TLS_CERTIFICATE_PATH"}])
def test_a_part_of_the_tls_files_is_refused_and_the_missing_ones_are_named(missing: set[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load(ExampleConfig, "EXAMPLE", dict.fromkeys(TLS - missing, "/x"))
    assert {name for name in TLS if name in str(refused.value)} == missing


def test_all_tls_files_together_are_taken() -> None:
    config = load(ExampleConfig, "EXAMPLE", dict.fromkeys(TLS, "/x"))
    assert (config.tls_certificate_path, config.tls_key_path, config.tls_ca_path) == (Path("/x"),) * 3


def test_an_empty_variable_leaves_out_what_may_be_left_out() -> None:
    assert load(ExampleConfig, "EXAMPLE", dict.fromkeys(TLS, "")).tls_key_path is None

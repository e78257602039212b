"""What a process is told and given, seen from its own container: settings, device, the files of its models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from chassis import checkpoint, device
from chassis.config import ConfigError, ModelConfig, load
from cli.checks.check import Finding, NotChecked, Status, Trouble
from cli.system import MODULE_BY_PROCESS, TREE

SUMS = "model.sha256"
"""Beside a model's files: what `sha256sum` printed for them."""

_JUDGE = """
import importlib, sys
from chassis.config import ConfigError, load
module, prefix = sys.argv[1:]
try:
    config = importlib.import_module(f"{module}.config")
except ModuleNotFoundError as error:
    sys.exit(3 if error.name and f"{module}.config".startswith(error.name) else str(error))
try:
    load(getattr(config, f"{prefix.capitalize()}Config"), prefix)
except ConfigError as error:
    sys.exit(str(error))
"""
"""Loads the configuration as the process would. Apart, because `cli` knows no process but by its command."""
_NO_CODE = 3
JUDGED_WITHIN_S = 60.0


def processes_with_settings(environ: Mapping[str, str]) -> list[str]:
    """The processes that this environment tells anything."""
    return [name for name in MODULE_BY_PROCESS if any(one.startswith(f"{name.upper()}_") for one in environ)]


def examine_settings(name: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Every variable of the process is known and well-formed, by its own configuration."""
    paths = [str(TREE), str(TREE / "protos"), *filter(None, [environ.get("PYTHONPATH")])]
    try:
        judged = subprocess.run(
            [sys.executable, "-c", _JUDGE, MODULE_BY_PROCESS[name], name.upper()],
            env={**environ, "PYTHONPATH": os.pathsep.join(paths)},
            cwd=TREE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=JUDGED_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        text = f"Python took longer than {JUDGED_WITHIN_S:g} s to read them"
        raise Trouble(text, "This container is starved of CPU, or its disk hangs: look at its limits.") from None
    if judged.returncode == _NO_CODE:
        raise NotChecked(f"the {name}'s code is not in this image")
    if judged.returncode:
        said = judged.stderr.strip().splitlines() or ["it said nothing"]
        raise Trouble(said[-1], f"The {name} refuses to start with it. docs/settings.md lists every variable.")
    count = sum(variable.startswith(f"{name.upper()}_") for variable in environ)
    yield Finding(Status.OK, f"{count} variable{'s' if count > 1 else ''}, all known and well-formed")


def examine_device(name: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The device that the process would compute on."""
    config = _model_config(name, environ)
    try:
        chosen = device.resolve(config.device, config.device_exclusive)
    except ConfigError as error:
        raise Trouble(
            str(error),
            "On Kubernetes: `nvidia.com/gpu` in the pod's limits, and the NVIDIA runtime class. Elsewhere: "
            f"nvidia-smi, CUDA_VISIBLE_DEVICES, or {name.upper()}_DEVICE=cpu.",
        ) from None
    if chosen.is_gpu:
        shared = "" if config.device_exclusive else ", may be shared"
        yield Finding(Status.OK, f"{chosen.torch_name} is {chosen.uuid} ({chosen.name}){shared}")
    else:
        why = ": no GPU is visible" if config.device == "auto" else ""
        yield Finding(Status.OK, f"cpu, {device.num_threads(environ=environ)} threads (set to {config.device}{why})")


def examine_models(name: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The weights are there, are safetensors, and are those of the sums file, where there is one."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported: nothing is downloaded here
    named = [_model_config(name, environ).model, environ.get(f"{name.upper()}_PASSAGE_MODEL", "")]
    for model in filter(None, named):
        try:
            found = checkpoint.find(model)
        except ConfigError as error:
            raise Trouble(
                str(error), "Is the models volume mounted, and filled? A hub id must be in the cache (HF_HOME)."
            ) from None
        verified = "the official weights" if model == checkpoint.EMBEDDED else _compare_sums(found.path)
        yield Finding(Status.OK, f"{model}: sha256 {found.revision}…, {verified}")


def _compare_sums(path: Path) -> str:
    sums = path / SUMS
    if not sums.is_file():
        return f"not compared: no {SUMS} beside it"
    for line in filter(None, sums.read_text(encoding="utf-8").splitlines()):
        expected, _, file_name = line.partition(" ")
        file = path / file_name.strip().removeprefix("*")
        if not file.is_file():
            raise Trouble(f"{file} is missing, which {sums} names", "Fill the models volume again.")
        if checkpoint.sha256_of([file]) != expected.lower():
            raise Trouble(f"{file} is not the file that {sums} describes", "It is damaged or another: copy it again.")
    return f"as {SUMS} says"


def _model_config(name: str, environ: Mapping[str, str]) -> ModelConfig:
    """The part of the configuration that every process with a model has. Raises Trouble."""
    known = {f"{name.upper()}_{field.name.upper()}" for field in fields(ModelConfig)}
    try:
        return load(ModelConfig, name.upper(), {key: value for key, value in environ.items() if key in known})
    except ConfigError as error:
        raise Trouble(str(error), "See the settings above.") from None

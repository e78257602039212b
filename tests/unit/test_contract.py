"""The committed stubs are those of the committed protos."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trivium.v1.gateway_pb2 import AnswerFinished, AnswerResponse
from trivium.v1.generator_pb2 import GenerateFinished, TextDelta

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos" / "trivium" / "v1"


def test_the_committed_stubs_are_fresh(tmp_path: Path) -> None:
    sources = sorted(PROTOS.glob("*.proto"))
    for source in sources:
        (tmp_path / "trivium" / "v1").mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "trivium" / "v1")
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python", "mypy_grpc")]
    names = [f"trivium/v1/{source.name}" for source in sources]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", *out, *names],
        check=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True,
    )  # fmt: skip
    made = {path.name: path.read_text() for path in (tmp_path / "trivium" / "v1").glob("*_pb2*")}
    committed = {path.name: path.read_text() for path in PROTOS.glob("*_pb2*")}
    assert made == committed


@pytest.mark.parametrize(
    ("source", "target", "other"),
    [
        (GenerateFinished, AnswerFinished, {"stats"}),
        (AnswerFinished, AnswerResponse, set()),
        (TextDelta, AnswerResponse, set()),
    ],
    ids=["generator to stream", "stream to answer", "delta to answer"],
)
def test_what_is_passed_on_has_one_name_and_one_type(source: Any, target: Any, other: set[str]) -> None:
    """`chassis.messages.carry` goes by names."""
    fields, theirs = source.DESCRIPTOR.fields_by_name, target.DESCRIPTOR.fields_by_name
    assert set(fields) - set(theirs) == other
    for name in set(fields) - other:
        one, same = fields[name], theirs[name]
        assert (one.type, one.is_repeated, one.has_presence) == (same.type, same.is_repeated, same.has_presence), name
        assert (one.message_type, one.enum_type) == (same.message_type, same.enum_type), name

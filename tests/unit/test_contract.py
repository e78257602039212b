"""The committed stubs are those of the committed protos."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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

"""The folder shows the architecture: who may import whom, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ROOMS = ["chassis", "gateway", "services.retriever", "services.reranker", "services.generator", "cli"]
OURS = {"chassis", "gateway", "services", "cli", "trivium", "tests", "benchmarks"}
WIRE = {"grpc", "opentelemetry", "trivium"}
WIRE_ROOMS = {"__main__", "service", "wire"}
"""Modules of a stage that may speak gRPC. All others are work modules."""


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room.replace(".", "/")).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every absolute module name that the file imports, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_chassis_the_contract_and_itself(room: str) -> None:
    allowed = [room] if room == "chassis" else [room, "chassis", "trivium.v1"]
    allowed_roots = {name.split(".")[0] for name in allowed}
    for path in modules(room):
        for name in imports(path):
            root = name.split(".")[0]
            if root in OURS:
                fine = any(is_within(name, one) for one in allowed) or (name == root and root in allowed_roots)
                assert fine, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("services.")])
def test_work_modules_know_no_wire(room: str) -> None:
    for path in modules(room):
        if path.stem not in WIRE_ROOMS and path.stem != "__init__":
            wire = {name.split(".")[0] for name in imports(path)} & WIRE
            assert not wire, f"{path.relative_to(ROOT)} imports {wire}"


GENERATOR = {
    "prompts": set[str](),
    "text": {"prompts"},
    "rows": {"prompts"},
    "engines": {"prompts", "text", "rows"},
    "loop": set[str](),
}
"""The generator's rooms, and whom each may import besides itself and `engine`, which all know."""


@pytest.mark.parametrize("room", GENERATOR)
def test_the_generators_rooms_know_each_other_one_way(room: str) -> None:
    generator = "services.generator"
    allowed = {f"{generator}.{one}" for one in {room, "engine", *GENERATOR[room]}}
    paths = modules(f"{generator}.{room}")
    assert len(paths) > 1
    for path in paths:
        for name in imports(path):
            if is_within(name, generator) and name != generator:
                assert any(is_within(name, one) for one in allowed), f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", ["gateway", "cli"])
def test_processes_without_a_model_load_no_model_library(room: str) -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules(room)]
    program = (
        "import importlib, sys\n"
        f"for name in {[name for name in names if not name.endswith('__init__')]!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'transformers', 'faiss', 'tantivy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr

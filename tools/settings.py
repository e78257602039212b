"""Writes docs/settings.md from the config dataclasses: `python -m tools.settings`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import textwrap
import types
import typing
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

MODULE_BY_PROCESS = {
    "gateway": "gateway.config",
    "retriever": "services.retriever.config",
    "indexer": "services.retriever.indexer.config",
    "reranker": "services.reranker.config",
    "generator": "services.generator.config",
}

HEAD = """\
# Settings

Every process reads its settings from the environment once, at start. A variable with the process's prefix that is
unknown or malformed is refused by name. This page is written by `python -m tools.settings`.
"""


def config_class(process: str) -> type[Any]:
    """The config dataclass of a process."""
    module = importlib.import_module(MODULE_BY_PROCESS[process])
    found: type[Any] = getattr(module, f"{process.capitalize()}Config")
    return found


def docstrings(config: type[Any]) -> dict[str, str]:
    """The docstring under each field, inherited ones too."""
    texts: dict[str, str] = {}
    for one in reversed(config.__mro__[:-1]):
        (declared,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(declared, ast.ClassDef)
        for field, text in zip(declared.body, declared.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                assert isinstance(field.target, ast.Name)
                texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts


def kind(hint: Any) -> str:
    """The type as a reader of the table needs it."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (
        types.UnionType,
        typing.Union,
    ):  # `Path | None`: that it may be left out shows in the default
        return " or ".join(kind(one) for one in typing.get_args(hint) if one is not types.NoneType)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{one}`" for one in typing.get_args(hint))
    return getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint)


def table(process: str) -> str:
    """One process's settings as a Markdown table."""
    config = config_class(process)
    texts, hints = docstrings(config), typing.get_type_hints(config, include_extras=True)
    lines = [f"## {process}", "", "| variable | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(config):
        default = f"`{field.default}`" if field.default not in ("", None) else "none"
        variable = f"`{process.upper()}_{field.name.upper()}`"
        lines.append(f"| {variable} | {kind(hints[field.name])} | {default} | {texts[field.name]} |".replace("\n", " "))
    return "\n".join(lines)


def page() -> str:
    """docs/settings.md as it should be."""
    return "\n".join([HEAD, *(f"{table(process)}\n" for process in MODULE_BY_PROCESS)])


if __name__ == "__main__":
    PATH.write_text(page())

"""Log lines of several processes in one terminal: who, when, what."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rich.text import Text

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red")
STYLE_BY_LEVEL = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
OWN_FIELDS = ("time", "level", "event", "service", "logger", "exc_info")
"""Fields with a place of their own in the line; the rest follow as `name=value`."""


class LogView:
    """Turns each process's JSON lines into coloured text behind the process's name."""

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        self._width = max(map(len, names))
        self._colour_by_name = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}

    def line(self, name: str, text: str) -> Text:
        """One line for the terminal. What is no JSON object is shown as it is."""
        prefix = Text.assemble((f"{name:<{self._width}} │ ", self._colour_by_name[name]))
        try:
            fields = json.loads(text)
        except ValueError:
            fields = None
        return prefix + (_event(fields) if isinstance(fields, dict) else Text(text, style="dim"))


def _event(fields: dict[str, object]) -> Text:
    level = str(fields.get("level", ""))
    clock = str(fields.get("time", ""))[11:19]
    line = Text.assemble((f"{clock} ", "dim"), (str(fields.get("event", "")), STYLE_BY_LEVEL.get(level, "")))
    for name, value in fields.items():
        if name not in OWN_FIELDS:
            line.append(f" {name}={value}", "dim")
    if "exc_info" in fields:
        line.append(f"\n{fields['exc_info']}", "red")
    return line

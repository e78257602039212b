"""What docs/kubernetes.md promises, in a form that tests can hold against the chart."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from tests.chart.network import Port
from tests.installation import ROOT

PAGE = ROOT / "docs" / "kubernetes.md"


@dataclass(frozen=True)
class Connection:
    """A row of the table under "Who may talk to whom"."""

    source: str
    target: str
    ports: tuple[Port, ...]
    """Of a range only those count that the target has."""
    condition: str
    """The value that opens it. Empty: always."""


def connections() -> list[Connection]:
    """The table's rows."""
    section = PAGE.read_text().partition("## Who may talk to whom\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert cells[0] == ["from", "to", "port", "when"]
    return [Connection(source, target, _ports(port), when.strip("`")) for source, target, port, when in cells[2:]]


def _ports(text: str) -> tuple[Port, ...]:
    found = re.findall(r"(TCP|UDP) (\d+)(?: to (\d+))?", text)
    assert found, f"no port in {text!r}"
    return tuple(
        Port(number, protocol)
        for protocol, first, last in found
        for number in range(int(first), int(last or first) + 1)
    )


def commands() -> list[list[str]]:
    """Every command of the page's code blocks, in the order of the page, as a shell would split it."""
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]

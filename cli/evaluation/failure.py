"""Why an evaluation cannot be made."""

from __future__ import annotations


class EvaluationFailed(Exception):
    """The set, the answers or the files to compare do not allow an evaluation. The text says why, for a person."""


class Malformed(EvaluationFailed):
    """A line of a file is not what its format says. Names file, line (from 1) and field."""

    def __init__(self, file: str, line: int, field: str, description: str) -> None:
        super().__init__(f"{file}, line {line:,}: " + (f"{field}: " if field else "") + description)
        self.file, self.line, self.field = file, line, field

"""Citations in the text that a model writes, parsed back to the passages that it read.

A citation is one or more numbers of passages in square brackets: `[2]`, `[1, 3]`, `[1-3]`, `【2】`. `docs/prompts.md`
has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from services.generator.engine import Citations, Step
from services.generator.prompts.prompt import TokenPrompt

NUMBER = r"[1-9][0-9]{0,2}"
MEMBER = rf"{NUMBER}(?:[-–]{NUMBER})?"
MEMBERS = rf"{MEMBER}(?:[,;] ?{MEMBER})*"
CITATION = re.compile(rf"( ?)(?:\[({MEMBERS})\]|【({MEMBERS})】)")
BEGINNING = re.compile(rf" ?(?:[\[【](?:{MEMBER}[,;] ?)*(?:{NUMBER}(?:[-–](?:{NUMBER})?)?)?)?\Z")
"""The end of a text that may be the beginning of a citation."""
OPEN = re.compile(r"[\[【][0-9 ,;–-]*\Z")
INSIDE = re.compile(r"[0-9 ,;–-]*")


def of(prompt: TokenPrompt) -> CitationFilter | None:
    """For the answer to that prompt, where it asks for citations."""
    return CitationFilter(prompt.read_passage_ids) if prompt.asks_citations else None


class CitationFilter:
    """The text of one answer, without citations of passages that the model has not read.

    What it gives does not depend on how the text is cut into deltas, and has no more such citations.
    """

    def __init__(self, read_passage_ids: Sequence[str]) -> None:
        """`read_passage_ids` are the passages by their numbers, from 1."""
        self._read = read_passage_ids
        self._held = ""
        self._last = "\n"
        """The character before, as if a line ended before the text."""
        self._is_open = False
        """Whether what was given ends in a bracket and numbers alone: with what follows it could be a citation."""
        self._skips_space = False
        self._cited: dict[str, None] = {}
        self._num_removed = 0

    @property
    def citations(self) -> Citations:
        """Those of the text so far."""
        return Citations(tuple(self._cited), self._num_removed)

    def add(self, text: str) -> str:
        """The text that is certain now and was not before. Never a part of a citation."""
        self._held += text
        beginning = BEGINNING.search(self._held)
        assert beginning
        certain, self._held = self._held[: beginning.start()], self._held[beginning.start() :]
        return self._filtered(certain)

    def end(self) -> str:
        """The text that waited for more."""
        rest, self._held = self._held, ""
        return self._filtered(rest)

    def check(self, step: Step) -> Step:
        """The step with what of its text is certain; the last one with all that is left, and with what is cited."""
        text = self.add(step.text)
        if not step.finish:
            return replace(step, text=text)
        return replace(step, text=text + self.end(), citations=self.citations)

    def _filtered(self, text: str) -> str:
        given: list[str] = []
        end = 0
        for match in CITATION.finditer(text):
            given += self._give(text[end : match.start()]), self._cite(match)
            end = match.end()
        return "".join([*given, self._give(text[end:])])

    def _cite(self, match: re.Match[str]) -> str:
        """The citation without the members that name what was not read."""
        text = match[0]
        listed = match[2] or match[3]
        members = re.split("[,;] ?", listed)
        kept = [member for member in members if self._note(member)]
        self._num_removed += len(members) - len(kept)
        if len(kept) == len(members):
            return self._give(text)
        if kept or self._is_open:  # a bracket that is open would close around what follows
            return self._give(text.replace(listed, ", ".join(kept)))
        self._skips_space |= self._last == "\n" and not match[1]
        return ""

    def _note(self, member: str) -> bool:
        """Whether every passage of a number or a range was read; those are cited then."""
        first, _, last = member.replace("–", "-").partition("-")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers or numbers[-1] > len(self._read):
            return False
        self._cited.update((self._read[number - 1], None) for number in numbers)
        return True

    def _give(self, text: str) -> str:
        if text and self._skips_space:
            text, self._skips_space = text.removeprefix(" "), False
        if text:
            self._last = text[-1]
            self._is_open = bool(OPEN.search(text)) or (self._is_open and bool(INSIDE.fullmatch(text)))
        return text

"""Answers of one model of which some are written in rows and some are searched for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from services.generator.engine import NoMemory, PutBack, Sampling, Step
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.alone import Alone
from services.generator.rows.row_flight import RowFlight

Joining = Mapping[int, tuple[Any, Sampling]]


class RowsAndSearches:
    """A flight of two: a step of it is one of each row and one of each search.

    A search without memory is put back while anybody else could give some back, and begins anew when it joins again:
    its text comes in one piece, so that nobody has read any of it.
    """

    def __init__(self, rows: RowFlight, searches: Alone) -> None:
        self._rows = rows
        self._searches = searches

    def step(self, joining: Joining, leaving: Collection[int]) -> Mapping[int, Step | PutBack | Exception]:
        beginning = _those(joining, lambda sampling: sampling.num_beams > 1)
        searching = (self._searches.numbers | beginning.keys()) - set(leaving)
        self._rows.has_company = bool(searching)
        rows = self._rows.step(_those(joining, lambda sampling: sampling.num_beams == 1), leaving)
        has_company = len(searching) > 1 or bool(rows)
        searches = self._searches.step(beginning, leaving)
        return {**rows, **{number: _outcome(found, has_company) for number, found in searches.items()}}

    def token_bytes(self, prompt: TokenPrompt, sampling: Sampling) -> int:
        return self._rows.token_bytes(prompt, sampling)


def _those(joining: Joining, are: Callable[[Sampling], bool]) -> Joining:
    return {number: (prompt, sampling) for number, (prompt, sampling) in joining.items() if are(sampling)}


def _outcome(found: Step | Exception, has_company: bool) -> Step | PutBack | Exception:
    return PutBack() if isinstance(found, NoMemory) and has_company else found

"""What a search keeps to itself: the passages that it left out, and where any one passage stands."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.retriever.fusion import Found, Ranked, list_unfused
from services.retriever.passage import Passage
from services.retriever.search import Findings, Mode, Search
from services.retriever.version import Version


@dataclass(frozen=True)
class Standing:
    """Where a passage stands in the legs when they look as far as any search may."""

    found: Found
    """Never fused; None for a leg that did not search, or does not have it there."""
    passage: Passage
    limit: int
    """How many rows each leg was looked through for."""
    needed_top_k: int | None
    """With as many wanted it is among them, with one less it is not. None where the most that may be are too few."""
    is_filtered_out: bool = False
    """The filter does not choose it: no leg can have it."""


def find_left_out(version: Version, search: Search, findings: Findings) -> list[tuple[Found, Passage]]:
    """What a leg found and the search did not return, best first; last what only a leg of weight 0 found. Blocks."""
    ordered = search.order(findings.dense, findings.bm25)
    rows = {one.row for one in ordered}
    weightless = list_unfused(
        (ranked for ranked in findings.dense if ranked.row not in rows),
        (ranked for ranked in findings.bm25 if ranked.row not in rows),
    )
    return version.with_passages(ordered[search.top_k :] + weightless)


def find_standing(
    version: Version, search: Search, findings: Findings, passage_id: str, max_top_k: int
) -> Standing | None:
    """Where the passage stands, were `max_top_k` wanted; None when there is no such passage. Blocks.

    A leg that failed in the search is left out here too.
    """
    row = version.sparse.row_of(passage_id)
    if row is None:
        return None
    limit = replace(search, top_k=max_top_k).limit
    dense = _continued(findings.dense, _dense(version, findings, limit))
    bm25 = _continued(findings.bm25, _bm25(version, search, findings, limit))

    def is_wanted(top_k: int) -> bool:
        asked = replace(search, top_k=top_k)
        ordered = asked.order(dense[: asked.limit], bm25[: asked.limit])
        return any(one.row == row for one in ordered[:top_k])

    needed_top_k = 1 + bisect_left(range(1, max_top_k + 1), True, key=is_wanted)
    found = Found(
        row,
        dense=next((ranked for ranked in dense if ranked.row == row), None),
        bm25=next((ranked for ranked in bm25 if ranked.row == row), None),
    )
    (passage,) = version.sparse.passages([row])
    is_filtered_out = findings.kept is not None and not findings.kept[row]
    return Standing(found, passage, limit, needed_top_k if needed_top_k <= max_top_k else None, is_filtered_out)


def _continued(found: Sequence[Ranked], further: Sequence[Ranked]) -> list[Ranked]:
    """What the search found, then what looking further adds: among equals each search cuts where it likes."""
    rows = {one.row for one in found}
    added = (one for one in further if one.row not in rows)
    return [*found, *(Ranked(one.row, one.score, rank) for rank, one in enumerate(added, len(found) + 1))]


def _dense(version: Version, findings: Findings, limit: int) -> list[Ranked]:
    if findings.encoded is None or findings.dense_error:
        return []
    return version.dense.search(findings.encoded.output.vector, limit, findings.kept)


def _bm25(version: Version, search: Search, findings: Findings, limit: int) -> list[Ranked]:
    if search.mode is Mode.DENSE or findings.bm25_error:
        return []
    return version.sparse.search(search.question, limit, findings.kept)

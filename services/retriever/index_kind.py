"""Which FAISS index a collection's dense leg is: a factory string of a closed grammar, and a metric.

    Flat | SQfp16 | SQ8                               every vector is compared
    IVFn,Flat | IVFn,SQfp16 | IVFn,SQ8 | IVFn,PQm     those in the nearest of n lists
    HNSWm | HNSWm,SQfp16 | HNSWm,SQ8                  those met on a walk from neighbour to neighbour

Imports no model code. A string reaches FAISS only after it has been read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

FACTORY = re.compile(
    r"(?:IVF(?P<lists>[1-9][0-9]{0,5}),|HNSW(?P<links>[1-9][0-9]{0,2})(?:,|$))?"
    r"(?P<encoding>Flat|SQfp16|SQ8|PQ(?P<codes>[1-9][0-9]{0,3}))?",
    re.ASCII,
)
GRAMMAR = "one of Flat, SQfp16, SQ8; IVFn, then one of Flat, SQfp16, SQ8, PQm; HNSWm, alone or with SQfp16 or SQ8"

MAX_LISTS = 65_536
MIN_LINKS, MAX_LINKS = 4, 64
CENTROIDS_PER_CODE = 256
"""A code of product quantization is one byte."""

MIN_PER_CENTROID = 39
"""Passages for each centroid: with fewer FAISS warns that its k-means is badly founded."""
SAMPLE_PER_CENTROID = 64
"""What is trained on, where there are as many: bounds the time and the memory of training."""
SCALAR_SAMPLE = 65_536
"""Of so many vectors each dimension's range is taken for SQ8."""

LISTS_SHARE = 16
"""By default one list in so many is searched …"""
MIN_PROBED_LISTS = 8
"""… but not fewer than these."""
MIN_EF_SEARCH = 128

BYTES_PER_ID = 8
BYTES_PER_LINK = 4


class InvalidIndexKind(Exception):
    """No such kind, or none for vectors of this dimension."""


class TooFewPassages(Exception):
    """There are fewer passages than the kind's training needs."""

    def __init__(self, kind: IndexKind, needed: int, found: int) -> None:
        super().__init__(f"{kind.factory} is trained on at least {needed:,} passages, and there are {found:,}")
        self.factory, self.needed, self.found = kind.factory, needed, found


class Metric(Enum):
    """How near two vectors are. Either way the greater is the nearer."""

    INNER_PRODUCT = "inner_product"
    COSINE = "cosine"
    """The inner product of the vectors at length 1: they are normalised when written, questions when asked."""


@dataclass(frozen=True)
class Effort:
    """How far an approximate index is searched; None leaves it to the kind. A kind without the knob ignores it."""

    nprobe: int | None = None
    """IVF: how many lists."""
    ef_search: int | None = None
    """HNSW: how many of the nearest passages met the walk keeps in view."""


@dataclass(frozen=True)
class IndexKind:
    """The default compares every vector by inner product."""

    encoding: str = "Flat"
    """How one vector is kept: `Flat` float32, `SQfp16`, `SQ8`, or `PQm` in m bytes."""
    num_lists: int = 0
    """Of IVF; 0 for other kinds."""
    num_links: int = 0
    """Of HNSW: of a passage to others, twice as many on the lowest level; 0 for other kinds."""
    metric: Metric = Metric.INNER_PRODUCT

    @classmethod
    def parse(cls, factory: str, metric: Metric = Metric.INNER_PRODUCT) -> IndexKind:
        """The kind that a factory string names. Raises InvalidIndexKind."""
        found = FACTORY.fullmatch(factory)
        if not found or not factory or factory.endswith(","):
            raise InvalidIndexKind(GRAMMAR)
        lists, links = int(found["lists"] or 0), int(found["links"] or 0)
        if (found["codes"] and not lists) or (not found["encoding"] and not links):
            raise InvalidIndexKind(GRAMMAR)
        if lists > MAX_LISTS:
            raise InvalidIndexKind(f"at most {MAX_LISTS:,} lists, got {lists:,}")
        if links and not MIN_LINKS <= links <= MAX_LINKS:
            raise InvalidIndexKind(f"{MIN_LINKS} to {MAX_LINKS} links, got {links}")
        return cls(found["encoding"] or "Flat", lists, links, metric)

    @property
    def factory(self) -> str:
        """Its one name: a graph of whole vectors is `HNSWm`."""
        if self.num_lists:
            return f"IVF{self.num_lists},{self.encoding}"
        if not self.num_links:
            return self.encoding
        return f"HNSW{self.num_links}" + (f",{self.encoding}" if self.encoding != "Flat" else "")

    @property
    def num_codes(self) -> int:
        """Of product quantization: bytes of one vector; 0 for other encodings."""
        return int(self.encoding[2:]) if self.encoding.startswith("PQ") else 0

    @property
    def is_exact(self) -> bool:
        """Whether every vector is compared, if only rounded."""
        return not (self.num_lists or self.num_links)

    @property
    def is_trained(self) -> bool:
        """Whether it learns from vectors before it takes any."""
        return bool(self.num_lists) or self.encoding not in ("Flat", "SQfp16")

    @property
    def num_needed(self) -> int:
        """Passages that training needs. 0 when any number will do."""
        return MIN_PER_CENTROID * self._num_centroids

    @property
    def sample_size(self) -> int:
        """Vectors that training takes where there are as many."""
        return max(SAMPLE_PER_CENTROID * self._num_centroids, SCALAR_SAMPLE if self.encoding == "SQ8" else 0)

    @property
    def _num_centroids(self) -> int:
        return max(self.num_lists, CENTROIDS_PER_CODE if self.num_codes else 0)

    def require_suited(self, dimension: int) -> None:
        """Raises InvalidIndexKind when vectors of that dimension cannot be kept so."""
        if self.num_codes and dimension % self.num_codes:
            raise InvalidIndexKind(f"PQ{self.num_codes}: {self.num_codes} does not divide the dimension, {dimension}")

    def num_bytes(self, num_passages: int, dimension: int) -> int:
        """What an index of so many passages takes in memory and on disk, within a few per cent."""
        by_encoding = {"Flat": 4 * dimension, "SQfp16": 2 * dimension, "SQ8": dimension}
        per_passage = by_encoding.get(self.encoding, self.num_codes)
        shared = 4 * dimension * (self.num_lists + (CENTROIDS_PER_CODE if self.num_codes else 0))
        if self.num_lists:
            per_passage += BYTES_PER_ID
        if self.num_links:  # 2 m links below, m on each level above, where one passage in m is; a level and an offset
            per_passage += BYTES_PER_LINK * (2 * self.num_links + 1) + 4 + 8
        return num_passages * per_passage + shared

    def num_probed(self, effort: Effort) -> int:
        """How many lists a search looks through."""
        default = max(MIN_PROBED_LISTS, self.num_lists // LISTS_SHARE)
        return min(self.num_lists, effort.nprobe or default)

    def num_in_view(self, effort: Effort, limit: int) -> int:
        """How many passages a walk for `limit` of them keeps in view."""
        return max(limit, effort.ef_search or max(MIN_EF_SEARCH, 2 * limit))


FLAT = IndexKind()
DEFAULT_EFFORT = Effort()

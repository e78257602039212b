"""What both corpora are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Corpus = Literal["documentation", "standard_library"]


@dataclass(frozen=True)
class Document:
    id: str
    title: str
    text: str
    corpus: Corpus

"""What an ingestion did: counted, and by name where somebody may want to act."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cli.reading.read import Reading

OUTCOMES = ("created", "updated", "unchanged", "rejected")


@dataclass(frozen=True)
class NearDuplicate:
    """A document that says nearly the same as an earlier one. Both are stored."""

    path: str
    document_id: str
    nearly_equals: str
    """The earlier document's id."""


@dataclass
class Summary:
    """What an ingestion has done so far, and in the end."""

    collection: str
    outcomes: Counter[str] = field(default_factory=Counter)
    """How many documents were created, updated, unchanged, rejected. A file that gives none counts as one rejected."""
    rejections: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason."""
    near_duplicates: list[NearDuplicate] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    """Documents by ISO 639-1 language; `unknown` where it is not known."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What cleaning left out or changed, by kind."""
    num_files: int = 0
    """Files of which every document is stored or rejected. An archive is one."""
    num_passages: int = 0
    """Passages of the documents that were created and updated."""
    is_any_unread: bool = False
    """Some file, or a part of one, gave no document."""
    num_deleted: int = 0
    """Documents that were pruned: the collection held them, and they were not among those read."""
    num_unpruned: int = 0
    """Documents that stayed because a file could not be read or nothing was accepted: that file's may be among them."""
    is_publishing: bool = False
    """Every file is done."""
    index_version: int = 0
    """The version that holds them. 0 when nothing was accepted."""
    num_published_documents: int = 0
    """All that this version holds."""
    num_published_passages: int = 0

    def note_reading(self, reading: Reading) -> None:
        """Count what is known of a document before it is sent."""
        self.dropped.update(reading.dropped)
        if reading.document is not None:
            self.languages[reading.language or "unknown"] += 1

    def reject(self, path: str, reason: str) -> None:
        """Count and name what was not stored."""
        self.outcomes["rejected"] += 1
        self.rejections.append((path, reason))

    @property
    def is_any_accepted(self) -> bool:
        """The collection holds something of what was read."""
        return self.outcomes.total() > self.outcomes["rejected"]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "collection": self.collection,
            **{name: self.outcomes[name] for name in OUTCOMES},
            "num_files": self.num_files,
            "num_passages": self.num_passages,
            "num_deleted": self.num_deleted,
            "num_unpruned": self.num_unpruned,
            "index_version": self.index_version,
            "num_published_documents": self.num_published_documents,
            "num_published_passages": self.num_published_passages,
            "languages": dict(self.languages.most_common()),
            "dropped": dict(self.dropped.most_common()),
            "near_duplicates": [vars(one) for one in self.near_duplicates],
            "rejections": [{"path": path, "reason": reason} for path, reason in self.rejections],
        }

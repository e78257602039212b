"""What a collection's log adds up to: the documents as they are, and as they were at any earlier moment.

A moment is an offset in the log: where it ended then.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from services.retriever.record import Delete, Erased, Location, Record, Rollback, Upsert


@dataclass(frozen=True, slots=True)
class Stored:
    """The state of one document."""

    location: Location
    content_hash: str
    made_by: str
    num_passages: int
    is_erased: bool = False
    """Its content is no longer in the log."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What a document was until the record at `offset` changed it; None when it was not there."""

    offset: int
    before: Stored | None


class Documents:
    """Grows by one record after the other. Takes memory for each document, and for each change of one."""

    def __init__(self) -> None:
        self.log_end = 0
        """After the last record."""
        self.num_passages = 0
        self._stored: dict[str, Stored] = {}
        self._changes: dict[str, list[_Change]] = {}
        """Of documents that were replaced, deleted or rolled back. The first upsert of an id is none of them."""
        self._deleted_at: dict[str, int] = {}
        """Where the last deletion of an id stands."""
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._stored)

    def get(self, document_id: str) -> Stored | None:
        return self._stored.get(document_id)

    def now(self) -> dict[str, Stored]:
        """The state of every document, by id: a copy."""
        return dict(self._stored)

    def deleted(self) -> dict[str, int]:
        """Where the deletion stands of every document that was deleted and is not stored: a copy."""
        return {name: offset for name, offset in self._deleted_at.items() if name not in self._stored}

    def may_be_seen(self, document_id: str) -> bool:
        """Whether the document is stored, or a rollback might bring it back."""
        if document_id in self._stored:
            return True
        deleted_at = self._deleted_at.get(document_id, -1)
        return document_id in self._changes and self._changes[document_id][-1].offset > deleted_at

    def at(self, log_end: int) -> dict[str, Stored]:
        """The documents as they were when the log ended there, by id."""
        states = {name: state for name, state in self._stored.items() if state.location.offset < log_end}
        for document_id in self._changes:
            if state := self._state_at(document_id, log_end):
                states[document_id] = state
            else:
                states.pop(document_id, None)
        return states

    def rolled_back(self, log_end: int) -> dict[str, Stored]:
        """The documents as a rollback to that moment would leave them: deletions survive it."""
        states = self.at(log_end)
        for document_id, deleted_at in self._deleted_at.items():
            if deleted_at >= log_end:
                states.pop(document_id, None)
        return states

    def is_held_at(self, document_id: str, log_end: int) -> bool:
        """Whether the document was there when the log ended there, whatever its content."""
        return self._state_at(document_id, log_end) is not None

    def to_erase(self, log_end: int) -> list[Location]:
        """Where the log has contents of documents that had been deleted when it ended there: of no use any more."""
        return [
            change.before.location
            for document_id, deleted_at in self._deleted_at.items()
            if deleted_at < log_end
            for change in self._changes.get(document_id, ())
            if change.before and change.before.location.offset < deleted_at and not change.before.is_erased
        ]

    def note_erased(self, locations: Collection[Location]) -> None:
        """These contents have been erased from the log."""
        for document_id in self._deleted_at.keys() & self._changes.keys():
            self._changes[document_id] = [
                _Change(change.offset, replace(change.before, is_erased=True))
                if change.before and change.before.location in locations
                else change
                for change in self._changes[document_id]
            ]

    @property
    def num_changed(self) -> int:
        """Documents that were stored, replaced, deleted or rolled back, and not forgotten."""
        return len(self._changed)

    def forget_changes_before(self, log_end: int) -> None:
        """Count only what changed from that moment on."""
        self._changed = {document_id for document_id in self._changed if self._last_change(document_id) >= log_end}

    def apply(self, location: Location, record: Record) -> None:
        """Take the record that stands there in the log."""
        match record:
            case Upsert():
                stored = Stored(location, record.content_hash, record.made_by, len(record.passages))
                self._set(record.document_id, stored, location.offset)
            case Erased(document_id, made_by, num_passages):
                self._set(document_id, Stored(location, "", made_by, num_passages, is_erased=True), location.offset)
            case Delete(document_ids):
                for document_id in document_ids:
                    self._deleted_at[document_id] = location.offset
                    self._set(document_id, None, location.offset)
            case Rollback(log_end):
                states = self.rolled_back(log_end)
                newer = [name for name, state in self._stored.items() if state.location.offset >= log_end]
                for document_id in {*newer, *self._changes}:
                    self._set(document_id, states.get(document_id), location.offset)
        self.log_end = location.end

    def _set(self, document_id: str, state: Stored | None, offset: int) -> None:
        before = self._stored.get(document_id)
        if before is state:
            return
        if before or document_id in self._changes:
            self._changes.setdefault(document_id, []).append(_Change(offset, before))
        self._changed.add(document_id)
        self.num_passages += (state.num_passages if state else 0) - (before.num_passages if before else 0)
        if state:
            self._stored[document_id] = state
        else:
            del self._stored[document_id]

    def _state_at(self, document_id: str, log_end: int) -> Stored | None:
        later = (change.before for change in self._changes.get(document_id, ()) if change.offset >= log_end)
        state = next(later, self._stored.get(document_id))
        # What was stored after that moment was not there: of a first upsert no change is kept.
        return state if state and state.location.offset < log_end else None

    def _last_change(self, document_id: str) -> int:
        if changes := self._changes.get(document_id):
            return changes[-1].offset
        return self._stored[document_id].location.offset

"""What the log adds up to, against a model that keeps the whole state of every moment."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.retriever.indexer.documents import Documents, Stored
from services.retriever.passage import Passage
from services.retriever.record import Delete, Location, Record, Rollback, Upsert

IDS = "abcd"
LENGTH = 10
"""Of a record in these logs."""


def upsert(document_id: str, content_hash: str) -> Upsert:
    """As many passages as the hash says."""
    passages = tuple(
        Passage(f"{document_id}#{number}", document_id, "", (), "text", "", None, 0, 4)
        for number in range(int(content_hash))
    )
    return Upsert(document_id, content_hash, "made by", passages, np.zeros((len(passages), 4), dtype=np.float32))


UPSERTS = st.builds(upsert, st.sampled_from(IDS), st.sampled_from("12"))
DELETES = st.sets(st.sampled_from(IDS), min_size=1).map(lambda ids: Delete(tuple(sorted(ids))))
ROLLBACKS = st.integers(0, 40).map(lambda number: Rollback(number * LENGTH))


class Model:
    """Every state there ever was."""

    def __init__(self) -> None:
        self.states: list[dict[str, Stored]] = [{}]
        self.deleted: list[tuple[int, str]] = []
        """Number of the record, and id."""

    def apply(self, number: int, record: Record) -> None:
        state = dict(self.states[-1])
        match record:
            case Upsert():
                location = Location(number * LENGTH, LENGTH)
                state[record.document_id] = Stored(location, record.content_hash, record.made_by, len(record.passages))
            case Delete(document_ids):
                self.deleted += [(number, document_id) for document_id in document_ids]
                state = {document_id: one for document_id, one in state.items() if document_id not in document_ids}
            case Rollback(log_end):
                since = log_end // LENGTH
                gone = {document_id for at, document_id in self.deleted if at >= since}
                state = {name: one for name, one in self.states[since].items() if name not in gone}
        self.states.append(state)


@settings(deadline=None)
@given(st.lists(UPSERTS | DELETES | ROLLBACKS, max_size=40))
def test_every_moment_can_be_told_and_rolled_back_to(records: list[Record]) -> None:
    documents, model = Documents(), Model()
    for number, record in enumerate(records):
        if isinstance(record, Rollback):  # to a moment that has been
            record = Rollback(min(record.log_end, number * LENGTH))
        documents.apply(Location(number * LENGTH, LENGTH), record)
        model.apply(number, record)
        assert documents.now() == model.states[-1]
        assert len(documents) == len(model.states[-1])
        assert documents.num_passages == sum(one.num_passages for one in model.states[-1].values())
        assert documents.log_end == (number + 1) * LENGTH
    for number, state in enumerate(model.states):
        assert documents.at(number * LENGTH) == state


def test_a_document_that_was_deleted_does_not_come_back_and_one_that_was_replaced_does() -> None:
    documents = Documents()
    records: list[Record] = [upsert("a", "1"), upsert("b", "1"), upsert("a", "2"), Delete(("b",)), upsert("c", "1")]
    for number, record in enumerate(records):
        documents.apply(Location(number * LENGTH, LENGTH), record)
    documents.forget_changes_before(documents.log_end)
    documents.apply(Location(len(records) * LENGTH, LENGTH), Rollback(2 * LENGTH))
    assert {name: one.content_hash for name, one in documents.now().items()} == {"a": "1"}
    assert documents.num_changed == 2, "a is as it was, c is gone"

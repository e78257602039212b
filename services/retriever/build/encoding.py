"""One shard: its documents split, their passages cut into batches, the batches encoded.

Batches follow from the shard and the encoder alone. Which process encodes a shard, and how many there are, changes
no bit of its vectors as long as each has as many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.retriever.build.work import Vectors
from services.retriever.encoder import Encoder, Text
from services.retriever.indexer.splitter import Document, Splitter
from services.retriever.passage import Passage

OnEncoded = Callable[[int, int], None]
"""Gets how many passages of how many characters have just been encoded."""


@dataclass(frozen=True)
class Encoding:
    """How shards are encoded here."""

    encoder: Encoder
    splitter: Splitter
    max_batch_tokens: int

    def passages(self, documents: Sequence[Document]) -> list[list[Passage]]:
        """Of each document."""
        return [self.splitter.split(document) for document in documents]

    def fill(self, vectors: Vectors, passages: Sequence[Passage], on_encoded: OnEncoded) -> None:
        """Encode the passages into the rows of `vectors`."""
        texts = [Text(passage.text, passage.heading_line) for passage in passages]
        for rows in self.batches([self.encoder.cost(text) for text in texts]):
            encoded = self.encoder.run(self.encoder.prepare([texts[row] for row in rows]))
            for row, one in zip(rows, encoded, strict=True):
                vectors[row] = one.vector
            on_encoded(len(rows), sum(len(passages[row].text) for row in rows))

    def batches(self, costs: Sequence[int]) -> Iterator[list[int]]:
        """Rows of like cost, the longest first, at most `max_batch_tokens` together. A row alone may be longer."""
        batch: list[int] = []
        num_tokens = 0
        for row in sorted(range(len(costs)), key=lambda row: (-costs[row], row)):
            cost = costs[batch[0]] if batch and self.encoder.pads else costs[row]
            if batch and num_tokens + cost > self.max_batch_tokens:
                yield batch
                batch, num_tokens, cost = [], 0, costs[row]
            batch.append(row)
            num_tokens += cost
        if batch:
            yield batch

"""Small question sets in the BEIR layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CORPUS: list[dict[str, Any]] = [
    {"_id": "heron", "title": "Herons", "text": "The heron stands in shallow water and eats frogs.", "metadata": {}},
    {"_id": "frog", "title": "Frogs", "text": "The frog sleeps in the mud until March.", "metadata": {}},
    {"_id": "mill", "title": "The mill", "text": "The mill grinds barley on Tuesdays.", "metadata": {}},
]
QUERIES: list[dict[str, Any]] = [
    {"_id": "q1", "text": "What does the heron eat?", "metadata": {"answers": ["frogs"], "kind": "animals"}},
    {"_id": "q2", "text": "When does the mill grind?", "metadata": {"answers": ["on Tuesdays"], "kind": "buildings"}},
    {"_id": "q3", "text": "Who rules the moon?", "metadata": {"unanswerable": True, "kind": "buildings"}},
]
QRELS = ["q1\theron\t2", "q1\tfrog\t1", "q2\tmill\t1"]
HEADER = "query-id\tcorpus-id\tscore"


def write_set(
    folder: Path,
    corpus: Iterable[Mapping[str, Any]] = CORPUS,
    queries: Iterable[Mapping[str, Any]] = QUERIES,
    qrels: Iterable[str] = QRELS,
) -> Path:
    """The folder, with the set in it."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, objects in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
    (folder / "qrels" / "test.tsv").write_text("\n".join([HEADER, *qrels]) + "\n")
    return folder

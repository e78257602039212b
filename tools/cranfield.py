"""Cranfield 1400 in the BEIR layout: `python -m tools.cranfield FOLDER [SOURCE]`.

The source is a folder with `cran.all.1400`, `cran.qry` and `cranqrel` as they are published. Judgements from 1 (a
complete answer) to 4 (of minimum interest) become gains from 4 to 1; 5 and −1 (not relevant) become 0.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cranfield"
GAIN_BY_CODE = {"1": 4, "2": 3, "3": 2, "4": 1}
_RECORD = re.compile(r"^\.I\s+(\d+)\s*$", re.MULTILINE)
_FIELD = re.compile(r"^\.([TABW])\s*$", re.MULTILINE)


def convert(source: Path, folder: Path) -> None:
    """Write corpus.jsonl, queries.jsonl and qrels/test.tsv into `folder`. Raises OSError."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    _write_objects(folder / "corpus.jsonl", _documents((source / "cran.all.1400").read_text("utf-8")))
    _write_objects(folder / "queries.jsonl", _queries((source / "cran.qry").read_text("utf-8")))
    rows = ["query-id\tcorpus-id\tscore", *_judgements((source / "cranqrel").read_text("utf-8"))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(rows) + "\n", "utf-8")


def _documents(text: str) -> Iterator[dict[str, object]]:
    for document_id, fields in _records(text):
        title, body = fields.get("T", ""), fields.get("W", "")
        # The text begins with the title, which has a field of its own here.
        yield {"_id": document_id, "title": title, "text": body.removeprefix(title).strip(), "metadata": {}}


def _queries(text: str) -> Iterator[dict[str, object]]:
    # The judgements name a question by its position; its own number skips.
    for position, (_, fields) in enumerate(_records(text), 1):
        yield {"_id": str(position), "text": fields["W"], "metadata": {}}


def _judgements(text: str) -> Iterator[str]:
    for line in filter(None, map(str.split, text.splitlines())):
        position, document_id, code = line
        yield f"{position}\t{document_id}\t{GAIN_BY_CODE.get(code, 0)}"


def _records(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The number of each record, and its fields with white space as single blanks."""
    _, *parts = _RECORD.split(text)
    for number, body in zip(parts[::2], parts[1::2], strict=True):
        _, *fields = _FIELD.split(body)
        yield number, {name: " ".join(value.split()) for name, value in zip(fields[::2], fields[1::2], strict=True)}


def _write_objects(path: Path, objects: Iterator[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects), "utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder]:
            convert(SOURCE, Path(folder))
        case [folder, source]:
            convert(Path(source), Path(folder))
        case _:
            sys.exit(__doc__)

"""A process that opens a FAISS file of unknown origin: `python -m services.retriever.importing INDEX VECTORS`.

FAISS trusts what it reads: a file made for it can crash it, or worse. This process has nothing to lose. Its memory,
its time and what it may write are bounded, and where the kernel lets it, it has no network. It keeps the rights of
its user on files.

It writes the index's vectors to VECTORS (.npy, float32) and prints one JSON object: `dimension`, `metric`, `count`,
`kind`, or `refusal`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 8_192
"""Vectors that are read at once."""
MAX_GROWTH = 8
"""How many times the file's size the vectors may take: scalar quantisation to 4 bits reaches it."""
SPARE_BYTES = 4 << 30
"""Address space for libraries, beside that for the index."""
SECONDS, SECONDS_PER_GIGABYTE = 60, 600
"""Of CPU time."""
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
REFUSED = 2


class Refused(Exception):
    """These vectors cannot be taken over. The text says why."""


def confine(num_bytes: int) -> None:
    """Bound what this process can do to what reading a file of that size needs."""
    if hasattr(ctypes.CDLL(None), "unshare"):  # fails where the kernel forbids it
        ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNET)
    seconds = SECONDS + SECONDS_PER_GIGABYTE * num_bytes // (1 << 30)
    vectors = MAX_GROWTH * num_bytes + (1 << 20)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_FSIZE, vectors)
    _limit(resource.RLIMIT_AS, SPARE_BYTES + 2 * num_bytes + vectors)


def _limit(what: int, amount: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard == resource.RLIM_INFINITY or hard > amount:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (amount, amount))


def extract(index_path: Path, vectors_path: Path) -> dict[str, Any]:
    """Write the vectors; say what they are. Raises Refused."""
    import faiss

    try:
        file = faiss.read_index(str(index_path))
    except (RuntimeError, MemoryError) as error:
        raise Refused(f"FAISS cannot read it: {_first_line(error)}") from error
    index = _without_ids(faiss, file)  # `file` owns it
    dimension, count = int(index.d), int(index.ntotal)
    if not count or dimension < 1:
        raise Refused("it holds no vectors")
    if count * dimension * 4 > MAX_GROWTH * index_path.stat().st_size:
        raise Refused(
            f"{count:,} vectors of dimension {dimension:,} take more than {MAX_GROWTH} times the file's size: what it "
            "holds is compressed too far"
        )
    _make_readable(faiss, index)
    vectors = np.lib.format.open_memmap(vectors_path, mode="w+", dtype=np.float32, shape=(count, dimension))
    with vectors_path.open("r+b") as written:  # a full disk is an error now, and not a signal later
        os.posix_fallocate(written.fileno(), 0, vectors_path.stat().st_size)
    try:
        for begin in range(0, count, BLOCK):
            rows = np.arange(begin, min(begin + BLOCK, count))
            vectors[rows] = index.reconstruct_batch(rows)
    except RuntimeError as error:
        raise Refused(f"not every row has a vector: {_first_line(error)}") from error
    vectors.flush()
    metric_by_number = {faiss.METRIC_INNER_PRODUCT: "inner_product", faiss.METRIC_L2: "l2"}
    metric = metric_by_number.get(index.metric_type, str(index.metric_type))
    return {"dimension": dimension, "metric": metric, "count": count, "kind": type(index).__name__}


def _without_ids(faiss: Any, index: Any) -> Any:
    """The index within an IDMap whose ids are row numbers."""
    if not isinstance(index, faiss.IndexIDMap):
        return index
    ids = faiss.vector_to_array(index.id_map)
    if not np.array_equal(ids, np.arange(index.index.ntotal)):
        raise Refused("it gives its vectors ids of their own, so no passage can be told from its row")
    return faiss.downcast_index(index.index)


def _make_readable(faiss: Any, index: Any) -> None:
    """Raises Refused when its vectors cannot be had from it."""
    try:
        with contextlib.suppress(RuntimeError):  # not an inverted file
            faiss.extract_index_ivf(index).make_direct_map()
        index.reconstruct(0)  # says so where the batch would end the process
    except RuntimeError as error:
        raise Refused(f"vectors cannot be had from an {type(index).__name__}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """Without the signature of FAISS's function."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.rpartition(".cpp:")[2].partition(": ")[2] or line


def main(index_path: Path, vectors_path: Path) -> int:
    confine(index_path.stat().st_size)
    try:
        found = extract(index_path, vectors_path)
    except Refused as refused:
        print(json.dumps({"refusal": str(refused)}))
        return REFUSED
    except OSError as error:
        print(json.dumps({"refusal": f"its vectors cannot be written: {error.strerror}"}))
        return REFUSED
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

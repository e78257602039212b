"""The public face: files and folders in, documents or reasons out."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from cli.reading.folders import count_files, find_all
from cli.reading.options import ReadOptions
from cli.reading.reading import Reading
from cli.reading.workers import Workers

__all__ = ["ReadOptions", "Reading", "count_files", "read_all"]


def read_all(paths: Sequence[Path], options: ReadOptions) -> Generator[Reading, None, None]:
    """One reading for each document in the files and folders, and one for each file that gives none, in order.

    Parsing runs in processes of its own, but for small Markdown and text. What waits to be taken is bounded: a
    slow consumer slows the parsers. Raises nothing that a file could cause. Close it to end the processes early.
    """
    return Workers(options).read(find_all(paths))

"""How files are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReadOptions:
    """Fields of tables, bounds of archives, and how much runs side by side."""

    id_field: str = ""
    """Column or key whose value is a row's document id. Default: `id` or `_id` where there is one, else the row's
    number, each behind the file's own id: `faq.csv#17`."""
    title_field: str = ""
    """Default: `title` where there is one."""
    text_fields: tuple[str, ...] = ()
    """Several become one section each, under their names. Default: `text`, `body` or `content` where there is one,
    else all other columns as `name: value` lines."""
    uri_field: str = ""
    """Default: `uri` or `url` where there is one."""
    metadata_fields: Mapping[str, str] = field(default_factory=dict)
    """Columns or keys that are metadata, with their types (`string`, `strings`, `integer`, …). Their values are not
    among the `name: value` lines."""
    workers: int = 0
    """Processes that parse. 0: as many as cores, at most 4."""
    time_limit_s: int = 60
    """Seconds of CPU time that one document may take to parse, and ten times as many on the clock."""
    max_worker_bytes: int = 2 << 30
    """Address space of one worker."""
    max_archive_bytes: int = 2 << 30
    """Bytes that one archive may unpack to, archives in it included."""
    max_archive_ratio: int = 200
    """How many times its own size an archive may unpack to, above 32 MiB."""
    max_archive_members: int = 100_000
    """Entries of one archive, archives in it included."""
    max_archive_depth: int = 2
    """1 reads archives, 2 those inside them too."""

    @property
    def num_workers(self) -> int:
        """At least 1."""
        return self.workers or min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)

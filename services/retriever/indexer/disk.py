"""What the disk refuses, as a caller gets it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from chassis.errors import FailedPrecondition, TooLarge

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raises TooLarge when the disk is full, FailedPrecondition when it may not be written."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise TooLarge("the indexer's disk is full") from error
        if error.errno in READ_ONLY:
            raise FailedPrecondition("READ_ONLY", "the indexer may not write its collections") from error
        raise

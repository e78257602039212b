"""A process that reads files for another one: `python -m cli.reading.worker FD`. It may crash, hang or be killed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from multiprocessing.connection import Connection

from cli.reading.files import read_file
from cli.reading.options import ReadOptions

TOO_SLOW = (signal.SIGPROF, signal.SIGALRM)
"""End a worker whose document takes longer than the limit: no handlers, so that no library can hold them up."""
OUT_OF_MEMORY = 71
"""Exit status of a worker that could not even report it."""
_PATIENCE = 10
"""Seconds that may pass for each second of CPU time: the machine may be busy, its disks slow."""


def serve(connection: Connection) -> None:
    """Answers every source with its readings, until the other side closes."""
    options: ReadOptions = connection.recv()
    _limit_memory(options.max_worker_bytes)
    while True:
        source = connection.recv()
        _limit_time(options.time_limit_s)
        for reading in read_file(source, options):
            _limit_time(0)  # sending waits for whoever reads, and that is no fault of the file
            connection.send(reading)
            _limit_time(options.time_limit_s)
        _limit_time(0)


def _limit_time(limit_s: int) -> None:
    """From now on. 0 ends it."""
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    signal.alarm(_PATIENCE * limit_s)


def _limit_memory(max_bytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or hard > max_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (max_bytes, hard))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(EOFError, ConnectionError), Connection(int(sys.argv[1])) as connection:
        try:
            serve(connection)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)

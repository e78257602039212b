"""Processes that read files side by side. One that dies or hangs costs the file that it had, and no other."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from cli.reading.files import TOO_MUCH_MEMORY, read_file, refusal
from cli.reading.folders import Source
from cli.reading.kinds import HARMLESS, KIND_BY_SUFFIX, suffix_of
from cli.reading.options import ReadOptions
from cli.reading.reading import Reading
from cli.reading.worker import OUT_OF_MEMORY, TOO_SLOW

LOOK_AHEAD = 8
"""Files per worker that may be read before the first of them is taken."""
MAX_WAITING_BYTES = 32 << 20
"""Of documents that wait to be taken, beside what the workers themselves hold."""
MAX_HERE_BYTES = 2 << 20
"""Of small harmless files that are read in this process, which takes less time than starting others."""
MAX_HERE_FILE_BYTES = 32 << 10


class _Worker:
    """One process and what is sent to it. It answers one source at a time."""

    def __init__(self, options: ReadOptions) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: nothing in the current folder is imported in place of a module.
                [sys.executable, "-P", "-W", "ignore", "-m", "cli.reading.worker", str(theirs.fileno())],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._time_limit_s = options.time_limit_s
        self.connection = Connection(ours.detach())
        self.is_idle = True
        self._send(options)

    def start(self, source: Source) -> None:
        """Its readings come through the connection, or its end does."""
        self.is_idle = False
        self._send(source)

    def receive(self) -> Reading | None:
        """The next reading; None when the process is gone."""
        try:
            reading: Reading = self.connection.recv()
        except (EOFError, OSError):
            return None
        self.is_idle = reading.is_last
        return reading

    def why_gone(self) -> str:
        """Waits for its end."""
        status = self._process.wait()
        if -status in TOO_SLOW:
            return f"takes longer than {self._time_limit_s} s to parse"
        if status == OUT_OF_MEMORY:
            return TOO_MUCH_MEMORY
        how = signal.strsignal(-status) if status < 0 else f"exit status {status}"
        return f"cannot be parsed: its parser ended early ({how})"

    def close(self) -> None:
        """Ends the process at once: it holds nothing that could be lost."""
        self.connection.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # of one that is gone, which reading from it tells
            self.connection.send(message)


@dataclass
class _Job:
    """A file whose readings are on their way."""

    source: Source
    worker: _Worker | None = None
    """None when nothing more will come."""
    arrived: deque[Reading] = field(default_factory=deque)


class Workers:
    """As many processes as are needed, started when they are."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._workers: list[_Worker] = []
        self._jobs: deque[_Job] = deque()
        self._num_bytes_here = 0
        self._num_waiting_bytes = 0

    def read(self, sources: Iterable[Source]) -> Generator[Reading, None, None]:
        """The readings of every source, in order. Can be used once."""
        remaining = iter(sources)
        try:
            self._hand_out(remaining)
            while self._jobs:
                yield from self._take()
                self._hand_out(remaining)
                if self._jobs and not self._jobs[0].arrived and self._jobs[0].worker:
                    self._wait()
        finally:
            for worker in self._workers:
                worker.close()

    def _take(self) -> Iterator[Reading]:
        """What has come of the first file."""
        job = self._jobs[0]
        while job.arrived:
            reading = job.arrived.popleft()
            self._num_waiting_bytes -= _size(reading)
            yield reading
        if job.worker is None:
            self._jobs.popleft()

    def _hand_out(self, sources: Iterator[Source]) -> None:
        while len(self._jobs) < LOOK_AHEAD * self._options.num_workers and self._num_waiting_bytes < MAX_WAITING_BYTES:
            if not any(worker.is_idle for worker in self._workers) and self._is_full:
                return
            source = next(sources, None)
            if source is None:
                return
            self._jobs.append(self._job(source))

    @property
    def _is_full(self) -> bool:
        return len(self._workers) >= self._options.num_workers

    def _job(self, source: Source) -> _Job:
        if source.reason or self._is_read_here(source):
            job = _Job(source)
            self._note(job, *read_file(source, self._options))
            return job
        worker = next((worker for worker in self._workers if worker.is_idle), None)
        if worker is None:
            worker = _Worker(self._options)
            self._workers.append(worker)
        worker.start(source)
        return _Job(source, worker)

    def _is_read_here(self, source: Source) -> bool:
        if KIND_BY_SUFFIX.get(suffix_of(source.path.name)) not in HARMLESS:
            return False
        try:
            num_bytes = source.path.stat().st_size
        except OSError:
            return True
        if num_bytes > MAX_HERE_FILE_BYTES or self._num_bytes_here + num_bytes > MAX_HERE_BYTES:
            return False
        self._num_bytes_here += num_bytes
        return True

    def _wait(self) -> None:
        """Until something has come. Only the first file's worker is listened to while enough waits."""
        is_enough = self._num_waiting_bytes >= MAX_WAITING_BYTES
        listened = [job for job in self._jobs if job.worker and (not is_enough or job is self._jobs[0])]
        job_by_connection = {job.worker.connection: job for job in listened if job.worker}
        for connection in wait(list(job_by_connection)):
            assert isinstance(connection, Connection)
            self._receive(job_by_connection[connection])

    def _receive(self, job: _Job) -> None:
        worker = job.worker
        assert worker is not None
        reading = worker.receive()
        if reading is None:
            reading = refusal(job.source, worker.why_gone())
            worker.close()
            self._workers.remove(worker)
            worker.is_idle = True
        self._note(job, reading)
        if worker.is_idle:
            job.worker = None

    def _note(self, job: _Job, *readings: Reading) -> None:
        job.arrived += readings
        self._num_waiting_bytes += sum(map(_size, readings))


def _size(reading: Reading) -> int:
    return reading.document.ByteSize() if reading.document else 0

"""What `trivium doctor` makes of other machines' clocks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cli.checks.check import Status
from cli.checks.clocks import examine_clock, offset_s
from cli.checks.places import Place
from tests.unit.doctor import (
    PLAIN,
    failure_of,
    found_by,
    serving,
)


@pytest.mark.parametrize(
    ("theirs", "offset"),
    [
        pytest.param(100, 0, id="same-second"),
        pytest.param(99, -0.3, id="the-second-before"),
        pytest.param(95, -4.3, id="behind"),
        pytest.param(107, 6.6, id="ahead"),
    ],
)
def test_a_date_in_whole_seconds_is_read_kindly(theirs: float, offset: float) -> None:
    assert offset_s(theirs, before=100.3, after=100.4) == pytest.approx(offset)


@contextmanager
def clock(ahead_s: float, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead_s, usegmt=True)

        def log_message(self, format: str, *values: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_clock_like_ours_is_fine() -> None:
    with clock(0) as address:
        [(status, _)] = found_by(lambda: examine_clock(Place("", address, "--metrics"), PLAIN))
    assert status is Status.OK


@pytest.mark.parametrize(("ahead_s", "words"), [(60, "ahead of us"), (-60, "behind us")])
def test_a_clock_that_is_off_is_a_failure(ahead_s: float, words: str) -> None:
    with clock(ahead_s) as address:
        failed = failure_of(lambda: examine_clock(Place("", address, "--metrics"), PLAIN))
    assert failed.text.startswith(address)
    assert failed.text.endswith(words)


def test_another_http_server_has_no_clock() -> None:
    with clock(0, status=404) as address:
        failed = failure_of(lambda: examine_clock(Place("", address, "--metrics"), PLAIN))
    assert failed.text == f"{address} shows no /metrics: HTTP status 404"


def test_a_port_that_speaks_no_http_has_no_clock() -> None:
    with serving() as address:
        failed = failure_of(lambda: examine_clock(Place("", address, "--metrics"), PLAIN))
    assert failed.text.startswith(f"{address} shows no /metrics")

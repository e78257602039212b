"""What `trivium doctor` makes of other machines' clocks."""

from contextlib import AbstractContextManager

import pytest
from grpc_health.v1 import health

from cli.checks.check import Status
from cli.checks.clocks import examine_clock, offset_s
from tests.unit.doctor import PLAIN, Servicer, failure_of, found_by, reranker_at, serving


@pytest.mark.parametrize(
    ("theirs", "offset"),
    [
        pytest.param(100.35, 0, id="while-we-asked"),
        pytest.param(95, -5.3, id="behind"),
        pytest.param(107, 6.6, id="ahead"),
    ],
)
def test_a_clock_is_off_by_what_asking_does_not_explain(theirs: float, offset: float) -> None:
    assert offset_s(theirs, before=100.3, after=100.4) == pytest.approx(offset)


def clock(ahead_s: float) -> AbstractContextManager[str]:
    """A process on a machine whose clock is off."""
    return serving(servicer=Servicer(ahead_s))


def test_a_clock_like_ours_is_fine() -> None:
    with clock(0) as address:
        [(status, text)] = found_by(lambda: examine_clock(reranker_at(address), PLAIN))
    assert status is Status.OK
    assert text == "within 0.001 s of ours"


def test_every_replicas_clock_is_read() -> None:
    with clock(0) as first, clock(-30) as second:
        failed = failure_of(lambda: examine_clock(reranker_at(f"ipv4:{first},{second}"), PLAIN))
    assert failed.text.startswith(second)


@pytest.mark.parametrize(("ahead_s", "words"), [(60, "ahead of us"), (-60, "behind us")])
def test_a_clock_that_is_off_is_a_failure(ahead_s: float, words: str) -> None:
    with clock(ahead_s) as address:
        failed = failure_of(lambda: examine_clock(reranker_at(address), PLAIN))
    assert failed.text.startswith(address)
    assert failed.text.endswith(words)


def test_a_server_that_is_not_ours_has_no_clock() -> None:
    stranger = health.HealthServicer()
    with serving(servicer=stranger) as address:
        failed = failure_of(lambda: examine_clock(reranker_at(address), PLAIN))
    assert failed.text == f"{address} does not tell its time"


def test_a_port_where_nobody_listens_has_no_clock() -> None:
    with serving() as address:
        pass
    failed = failure_of(lambda: examine_clock(reranker_at(address), PLAIN))
    assert failed.text.startswith(f"{address} does not tell its time: ")

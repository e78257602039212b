"""What `trivium up` shows and passes on."""

import io
import signal
import sys
import threading
import time

import pytest
from rich.console import Console

from cli.logs import LogView
from cli.processes import Process, Processes
from cli.up import inherited_settings, watch


def test_a_log_line_shows_who_when_what_and_its_fields() -> None:
    line = LogView(["gateway", "reranker"]).line(
        "gateway",
        '{"time": "2026-01-02T03:04:05.6+00:00", "level": "INFO", "logger": "chassis.server", '
        '"event": "listening", "service": "gateway", "port": 7000, "trace_id": "4bf9"}',
    )
    assert line.plain == "gateway  │ 03:04:05 listening port=7000 trace_id=4bf9"


def test_an_error_is_shown_with_its_traceback() -> None:
    line = LogView(["gateway"]).line(
        "gateway", '{"level": "ERROR", "event": "internal error", "exc_info": "Traceback …\\nKeyError"}'
    )
    assert line.plain.endswith("internal error\nTraceback …\nKeyError")


@pytest.mark.parametrize("text", ["Segmentation fault", "[1, 2]", '"text"', "{broken"])
def test_a_line_that_is_no_event_is_shown_as_it_is(text: str) -> None:
    assert LogView(["gateway"]).line("gateway", text).plain == f"gateway │ {text}"


def test_settings_reach_their_process_and_addresses_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_MODEL", "/models/small")
    monkeypatch.setenv("GATEWAY_RERANKER_ADDRESS", "elsewhere:1")
    settings = inherited_settings()
    assert settings["reranker"] == {"RERANKER_MODEL": "/models/small"}
    assert "GATEWAY_RERANKER_ADDRESS" not in settings["gateway"]


def test_a_process_that_ends_is_reported_and_the_others_go_on() -> None:
    sleeping = [Process(name, [sys.executable, "-c", "import time; time.sleep(60)"], {}) for name in ("a", "b")]
    output = io.StringIO()
    for process in sleeping:
        process.start()
    thread = threading.Thread(target=watch, args=(Processes(sleeping), Console(file=output)))
    thread.start()
    sleeping[0].send(signal.SIGKILL)
    give_up_at = time.monotonic() + 10
    while not output.getvalue() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert output.getvalue() == "a ended with status -9; the others go on\n"
    assert thread.is_alive()
    sleeping[1].kill()
    thread.join(10)
    assert not thread.is_alive()

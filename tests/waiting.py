"""Waits for what must come, and fails where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], timeout_s: float = 120) -> None:
    """Return once it holds. Raises AssertionError at the timeout, which is for what hangs, not for what is slow."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {timeout_s} s"
        time.sleep(0.02)

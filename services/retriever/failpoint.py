"""Named steps at which a test lets a process die, as a power cut would. Nothing happens unless one is armed."""

from __future__ import annotations

import os
import signal

armed = ""
"""The step at which to die."""


def reach(name: str) -> None:
    """Say that the step has been reached."""
    if name == armed:
        os.kill(os.getpid(), signal.SIGKILL)

"""How much work was offered to the device, against how much time there was. Autoscaling reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

WINDOW_S = 15


class Saturation:
    """Offered seconds of device work per second, over the last 15: above 1 the device cannot keep up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._born_at = clock()
        self._seconds: deque[list[float]] = deque(maxlen=WINDOW_S)
        """One [whole clock second, offered seconds] per second in which something was offered."""

    def offer(self, seconds: float) -> None:
        this_second = float(int(self._clock()))
        if not self._seconds or self._seconds[-1][0] != this_second:
            self._seconds.append([this_second, 0.0])
        self._seconds[-1][1] += seconds

    def __call__(self) -> float:
        now = self._clock()
        oldest = int(now) - WINDOW_S + 1
        offered = sum(seconds for second, seconds in self._seconds if second >= oldest)
        return offered / max(1.0, now - max(oldest, self._born_at))

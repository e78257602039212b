"""Who is told how full the cache of the answers on their way is."""

from __future__ import annotations

from typing import Protocol


class CacheWatch(Protocol):
    """Called on the event loop after every step: return quickly, never raise."""

    def cache_changed(self, limit: float, reserved: int, used: int) -> None:
        """Tokens that may be reserved, that are, and that are taken now."""

    def put_back(self, num_answers: int) -> None:
        """There was no memory for so many; they are read again later."""


class Unwatched:
    """Nobody is told."""

    def cache_changed(self, limit: float, reserved: int, used: int) -> None: ...
    def put_back(self, num_answers: int) -> None: ...

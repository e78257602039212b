"""Why a build or an import came to nothing."""

from __future__ import annotations


class BulkFailed(Exception):
    """`reason` is one of a few words for programs (`COUNT_MISMATCH`), the text says what to do."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason

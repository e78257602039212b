"""How long will it take? One straight line, fitted to what the device has just done.

A forward pass costs something however small it is, and then so much per padded token. Both numbers differ by
model, device and neighbour, so nobody configures them: every finished batch moves the line a little.
"""

from __future__ import annotations

MEMORY = 0.95
"""Weight that an observation keeps when the next one comes: the last twenty batches make the line."""

MAX_SURPRISE = 2.0
"""One observation counts for at most this many times its prediction. A hiccup moves little; a device that
really became slower is believed after a few batches."""

ANCHOR = 0.01
"""Weight of the made-up observation "no tokens, no time", which keeps the line determined while all batches
are of one size."""

DOUBT = 0.9
"""What is left of the predictions each time that they alone refuse work on an idle device."""


class CostModel:
    """Seconds of device work from padded tokens. Before the first observation everything costs nothing."""

    def __init__(self) -> None:
        self.fixed_s = 0.0
        self.per_token_s = 0.0
        self._overhead = 1.0
        self._backlog_s = self._ideal_s = 0.0
        self._weight = self._tokens = self._seconds = self._tokens_tokens = self._tokens_seconds = 0.0

    def seconds(self, padded_tokens: int) -> float:
        """Predicted seconds of one batch."""
        return self.fixed_s + self.per_token_s * padded_tokens

    def share(self, tokens: int, max_tokens: int) -> float:
        """Seconds that an entry of `tokens` adds to a backlog which is worked off in batches of `max_tokens`.

        Its tokens, its part of a full batch's fixed cost, and what backlogs have lately taken beyond that for
        padding and for batches that were not full.
        """
        return self._overhead * self._ideal(tokens, max_tokens)

    def observe(self, padded_tokens: int, seconds: float) -> None:
        """Learn from one finished batch.

        Weighted least squares, weights falling by `MEMORY` per observation (W. Gilchrist, Statistical
        Forecasting, 1976, discounted regression). With the weighted sums w, Σx, Σy, Σx², Σxy:
        per token = (w Σxy − Σx Σy) ÷ (w Σx² − (Σx)²), fixed = (Σy − per token × Σx) ÷ w. Neither is negative:
        a line that would start below zero goes through the origin, one that would fall is level.
        """
        if self._weight and (predicted := self.seconds(padded_tokens)) > 0:
            seconds = min(seconds, MAX_SURPRISE * predicted)
        self._weight = MEMORY * self._weight + 1
        self._tokens = MEMORY * self._tokens + padded_tokens
        self._seconds = MEMORY * self._seconds + seconds
        self._tokens_tokens = MEMORY * self._tokens_tokens + padded_tokens**2
        self._tokens_seconds = MEMORY * self._tokens_seconds + padded_tokens * seconds
        self._fit()

    def observe_backlog(self, costs: list[int], padded_tokens: int, max_tokens: int) -> None:
        """Learn the overhead from a batch that left others waiting: it is as full as a backlog makes it."""
        self._backlog_s = MEMORY * self._backlog_s + self.seconds(padded_tokens)
        self._ideal_s = MEMORY * self._ideal_s + sum(self._ideal(tokens, max_tokens) for tokens in costs)
        self._overhead = max(1.0, self._backlog_s / self._ideal_s) if self._ideal_s else 1.0

    def doubt(self) -> None:
        """Believe less. Without this one absurd observation could refuse all work, and so never be corrected."""
        self._seconds *= DOUBT
        self._tokens_seconds *= DOUBT
        self._fit()

    def _ideal(self, tokens: int, max_tokens: int) -> float:
        return self.per_token_s * tokens + self.fixed_s * min(1.0, tokens / max_tokens)

    def _fit(self) -> None:
        weight = self._weight + ANCHOR
        spread = weight * self._tokens_tokens - self._tokens**2
        if spread <= 0:
            return
        per_token = (weight * self._tokens_seconds - self._tokens * self._seconds) / spread
        fixed = (self._seconds - per_token * self._tokens) / weight
        if fixed < 0:
            fixed, per_token = 0.0, self._tokens_seconds / self._tokens_tokens
        elif per_token < 0:
            fixed, per_token = self._seconds / self._weight, 0.0
        self.fixed_s, self.per_token_s = fixed, per_token

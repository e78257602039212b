"""Which of the waiting entries make the next batch.

The head, which has the earliest deadline, always goes. The rest of the batch is taken from a window behind it, by
length: padding short texts to a long one is work for nothing, and where it would cost more than a batch of its own
it is left for later. The window ends where somebody passed over could suffer for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

from chassis.backlog import Entry, Work
from chassis.cost_model import CostModel

MAX_WINDOW = 1024
"""Entries looked at. Bounds the time on the event loop (about a millisecond)."""

FREE_PADDING = 1 / 8
"""Share of a batch that may be padding whatever the cost model says of fixed costs."""


@dataclass(frozen=True)
class Selection(Generic[Work]):
    """The next batch, head first, and what was found beside it."""

    chosen: list[Entry[Work]]
    passed_over: list[Entry[Work]]
    """Left behind although something ordered after them was chosen."""
    lost: list[Entry[Work]]
    """Cancelled, or hopeless: they would be late even if they ran alone and now."""


def select(
    backlog: Iterable[Entry[Work]],
    cost_model: CostModel,
    *,
    now: float,
    starts_at: float,
    max_tokens: int,
    max_skips: int,
    pads: bool = True,
) -> Selection[Work]:
    """A batch out of `backlog`, which is in deadline order, to start at `starts_at` (clock seconds).

    Chooses nothing only if all of it is lost. Where the model does not pad, lengths do not matter: the first go.
    """
    max_window_tokens = max_tokens * max(1, max_skips // 2)  # so that few are passed over max_skips times
    window, lost = _look_ahead(backlog, cost_model, now, starts_at, max_window_tokens)
    if pads and window:
        chosen = _choose_alike(window, cost_model, max_tokens, max_skips)
    else:
        chosen = _choose_first(window, max_tokens)
    last = max((entry.rank for entry in chosen), default=None)
    is_chosen = set(chosen)
    passed_over = [entry for entry in window if last and entry.rank < last and entry not in is_chosen]
    return Selection(chosen, passed_over, lost)


def _look_ahead(
    backlog: Iterable[Entry[Work]], cost_model: CostModel, now: float, starts_at: float, max_window_tokens: int
) -> tuple[list[Entry[Work]], list[Entry[Work]]]:
    """The window: as many as could all be done by the head's deadline, so that neither the head nor anyone
    passed over is late for the others."""
    window: list[Entry[Work]] = []
    lost: list[Entry[Work]] = []
    done_at, tokens = starts_at + cost_model.fixed_s, 0
    for entry in backlog:
        if entry.future.done() or now + cost_model.seconds(entry.cost) > entry.deadline:
            lost.append(entry)
            continue
        done_at += entry.seconds
        tokens += entry.cost
        if window and (done_at > window[0].deadline or tokens > max_window_tokens):
            break
        window.append(entry)
        if len(window) == MAX_WINDOW:
            break
    return window, lost


def _choose_first(window: list[Entry[Work]], max_tokens: int) -> list[Entry[Work]]:
    """The head, and those behind it while their sum ≤ `max_tokens`."""
    sums = itertools.accumulate(entry.cost for entry in window)
    return window[: max(1, sum(tokens <= max_tokens for tokens in sums))]


def _choose_alike(
    window: list[Entry[Work]], cost_model: CostModel, max_tokens: int, max_skips: int
) -> list[Entry[Work]]:
    """The head, those that nobody may pass any more, and those nearest to the head in length, while
    n × longest ≤ `max_tokens` and padding pays."""
    head, *others = window
    chosen, longest, tokens = [head], head.cost, head.cost
    for position, entry in enumerate(others):
        if entry.skips < max_skips:
            continue
        if (len(chosen) + 1) * max(longest, entry.cost) > max_tokens:
            others = others[:position]
            break
        chosen.append(entry)
        longest, tokens = max(longest, entry.cost), tokens + entry.cost
    for entry in sorted(others, key=lambda entry: abs(entry.cost - head.cost)):
        if entry.skips >= max_skips:
            continue
        longer = max(longest, entry.cost)
        padded_tokens = (len(chosen) + 1) * longer
        padding_s = cost_model.per_token_s * (padded_tokens - tokens - entry.cost)
        free_s = cost_model.per_token_s * padded_tokens * FREE_PADDING
        if padded_tokens <= max_tokens and padding_s <= max(cost_model.fixed_s, free_s):
            chosen.append(entry)
            longest, tokens = longer, tokens + entry.cost
    return chosen

"""What a benchmark found: numbers over repetitions, printed as one JSON line each."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.rig import Rig


@dataclass(frozen=True)
class Spread:
    """A number over repetitions."""

    median: float
    min: float
    max: float


def spread(values: Sequence[float], digits: int = 3) -> Spread:
    """Median, least and most."""
    return Spread(*(round(one, digits) for one in (statistics.median(values), min(values), max(values))))


@dataclass(frozen=True)
class Figure:
    """One benchmark's outcome. `ratio` is what is promised; `target` the bound, `at least` or `at most`."""

    benchmark: str
    ratio: Spread
    target: float
    is_floor: bool
    """True when the ratio must be at least the target, False when at most."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool:
        return self.ratio.median >= self.target if self.is_floor else self.ratio.median <= self.target

    def line(self, rig: Rig) -> str:
        """As JSON, with the rig."""
        details = {name: asdict(one) if isinstance(one, Spread) else one for name, one in self.details.items()}
        return json.dumps(
            {
                "benchmark": self.benchmark,
                "ratio": asdict(self.ratio),
                "target": f"{'>=' if self.is_floor else '<='} {self.target:g}",
                "is_met": self.is_met,
                **details,
                "rig": asdict(rig),
            }
        )

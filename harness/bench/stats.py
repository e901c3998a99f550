"""Quantiles of a sample of failures, with bootstrap intervals over the failures.

Failures are the independent observations, not requests: a thousand requests of one failover are one
observation. A quantile is given only where the sample is large enough: at least TAIL_MIN
observations lie beyond it. Intervals are of the percentile bootstrap (Efron 1979), at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

TAIL_MIN: Final = 10
RESAMPLES: Final = 2_000
QUANTILES: Final = (50, 90, 99)


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """A quantile with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A sample: `count` observations, of which `missing` had no value (service did not return).

    `quantiles` by percent, without those for which the sample is too small. A quantile that falls
    among the missing ones is infinite.
    """

    count: int
    missing: int
    least: float | None
    most: float | None
    quantiles: dict[int, Quantile]

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "missing": self.missing,
            "min": self.least,
            "max": self.most,
            "quantiles": {f"p{q}": asdict(value) for q, value in self.quantiles.items()},
        }


def summarise(values: Sequence[float | None], *, seed: int = 0) -> Summary:
    """The summary of a sample; None is an observation without a value."""
    known = sorted(v for v in values if v is not None)
    filled = sorted(math.inf if v is None else v for v in values)
    random = Random(f"{seed}:bootstrap")
    quantiles = {
        percent: Quantile(value=quantile(filled, percent), low=interval[0], high=interval[1])
        for percent in QUANTILES
        if carries(len(filled), percent)
        for interval in [bootstrap(filled, percent, random)]
    }
    return Summary(
        count=len(filled),
        missing=len(filled) - len(known),
        least=known[0] if known else None,
        most=known[-1] if known and len(known) == len(filled) else None,
        quantiles=quantiles,
    )


def carries(count: int, percent: int) -> bool:
    """Whether a sample of this size is large enough for this quantile; the median always is."""
    return count > 0 and (percent == 50 or count * (100 - percent) >= 100 * TAIL_MIN)


def quantile(ordered: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest observations."""
    at = (len(ordered) - 1) * percent / 100
    low, high = math.floor(at), math.ceil(at)
    if low == high or ordered[low] == ordered[high]:
        return ordered[low]
    if math.isinf(ordered[high]):
        return math.inf
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def bootstrap(ordered: Sequence[float], percent: float, random: Random) -> tuple[float, float]:
    """The 95 % interval of a quantile."""
    size = len(ordered)
    found = sorted(
        quantile(sorted(ordered[random.randrange(size)] for _ in range(size)), percent)
        for _ in range(RESAMPLES)
    )
    return found[round(0.025 * (RESAMPLES - 1))], found[round(0.975 * (RESAMPLES - 1))]

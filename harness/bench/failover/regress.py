"""Comparison with an earlier result, by intervals: for nightly use.

A median has regressed when its whole interval is above the allowed increase of the whole earlier
one: noise in either does not make a regression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from harness.bench.failover.result import FailoverResult
from harness.errors import UsageError


class Regression(NamedTuple):
    """One cell that became slower."""

    target: str
    failure: str
    before_ms: float
    now_ms: float
    sentence: str


def regressions(
    result: FailoverResult, baseline: dict[str, Any], allowed: float
) -> list[Regression]:
    """The cells whose median window is more than `allowed` (0.2 is 20 %) longer than in the
    baseline, a document of `FailoverResult.to_json`. Raises UsageError for another document."""
    try:
        earlier = {
            (cell["target"], cell["failure"], cell.get("point", "")): cell["window_ms"][
                "quantiles"
            ].get("p50")
            for cell in baseline["cells"]
        }
    except (TypeError, KeyError, AttributeError):
        raise UsageError(
            "the baseline is not a result of failover", remedy="name an earlier failover.json"
        ) from None
    found = []
    for key, cell in result.cells.items():
        before, now = earlier.get(key), cell.summary().quantiles.get(50)
        if before and now is not None:
            interval = {"value": now.value, "low": now.low, "high": now.high}
            seen_ms = cell.in_time_us / 1000
            if sentence := longer(cell.name, before, interval, allowed, seen_ms=seen_ms):
                earlier_ms = _limits(before)[0]
                found.append(Regression(cell.target, cell.failure, earlier_ms, now.value, sentence))
    return found


def longer(
    name: str,
    before: Mapping[str, float | None],
    now: Mapping[str, float | None],
    allowed: float,
    *,
    seen_ms: float = 0.0,
) -> str | None:
    """Whether a median with its interval (value, low, high, in milliseconds; None: service did not
    return) is more than `allowed` longer than an earlier one: the sentence that says so. A window
    shorter than `seen_ms` is recorded as 0, and may have been as long as that."""
    (value, low, high), (earlier, least, most) = _limits(now), _limits(before)
    words = partial(_ms, seen_ms=seen_ms)
    is_longer = low > max(most, seen_ms) * (1 + allowed)
    if not is_longer and not (math.isinf(value) and math.isfinite(earlier)):
        return None
    return (
        f"{name}: the median window is {words(value)} ({words(low)} to {words(high)}), in the "
        f"baseline {words(earlier)} ({words(least)} to {words(most)}): more than {allowed:.0%} "
        "longer"
    )


def _limits(interval: Mapping[str, float | None]) -> tuple[float, float, float]:
    def of(name: str) -> float:
        value = interval.get(name)
        return math.inf if value is None else float(value)

    return of("value"), of("low"), of("high")


def _ms(value: float, *, seen_ms: float) -> str:
    if not value and seen_ms:
        return f"less than {seen_ms:.0f} ms"
    return "never" if math.isinf(value) else f"{value:.0f} ms"

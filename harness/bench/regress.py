"""Comparison with an earlier result, by intervals: for nightly use.

A median has regressed when the whole of its interval lies above what is allowed of the whole of the
earlier one: noise in either does not make a regression.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from harness.bench.failover import FailoverResult
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
    except (TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"the baseline is no result of failover: {error!r}") from None
    found = []
    for key, cell in result.cells.items():
        before = earlier.get(key)
        now = cell.summary().quantiles.get(50)
        if not before or now is None:
            continue
        limit_ms = float(before["high"]) * (1 + allowed)
        if now.low > limit_ms or (math.isinf(now.value) and math.isfinite(before["value"])):
            sentence = (
                f"{cell.name}: the median window is {now.value:.0f} ms ({now.low:.0f} to "
                f"{now.high:.0f}), in the baseline {before['value']:.0f} ms ({before['low']:.0f} "
                f"to {before['high']:.0f}): more than {allowed:.0%} longer"
            )
            found.append(
                Regression(cell.target, cell.failure, before["value"], now.value, sentence)
            )
    return found

"""Comparison with an earlier result, by intervals: for nightly use.

A median has regressed when its whole interval is above the allowed increase of the whole earlier
one: noise in either does not make a regression.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from harness.bench.failover.plan import HEALTHY, FailoverPlan
from harness.bench.failover.result import FORMAT, PARAMETERS, Cell, FailoverResult
from harness.errors import UsageError
from histories.errors import in_words

CellKey: TypeAlias = tuple[str, str, str]
"""Target, failure, and the value of the swept setting."""
Interval: TypeAlias = Mapping[str, float | None]
"""A median: value, low, high, in milliseconds; None: service did not return."""
LIMITS: Final = ("value", "low", "high")


@dataclass(frozen=True)
class Baseline:
    """The medians of an earlier result, and the parameters it was measured with."""

    medians: Mapping[CellKey, Interval]
    parameters: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """From a `failover.json`. Raises UsageError."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{path} cannot be read: {in_words(error)}") from None
        return cls.of(document)

    @classmethod
    def of(cls, document: Any) -> Baseline:
        """From a document of `FailoverResult.to_json`. Raises UsageError for another one."""
        try:
            if document["format"] != FORMAT:
                raise UsageError(f"the baseline has format {document['format']!r}, not {FORMAT}")
            medians = {
                (cell["target"], cell["failure"], cell["point"]): _interval(median)
                for cell in document["cells"]
                if (median := cell["window_ms"]["quantiles"].get("p50")) is not None
            }
            return cls(medians, {name: document[name] for name in PARAMETERS})
        except (TypeError, KeyError, AttributeError, ValueError):
            raise UsageError(
                "the baseline is not a result of failover", remedy="name an earlier failover.json"
            ) from None

    def require_comparable(self, plan: FailoverPlan) -> None:
        """Raises UsageError where the plan has other parameters, or no cell of the baseline."""
        now = FailoverResult(plan=plan).to_json()
        for name, value in self.parameters.items():
            if now[name] != value:
                raise UsageError(
                    f"the baseline was measured with {name} {value}, not {now[name]}",
                    remedy="measure with the same parameters",
                )
        planned = {(b.target, b.failure, b.point) for b in plan.blocks() if b.failure != HEALTHY}
        if not planned & self.medians.keys():
            raise UsageError("the baseline has a median of none of these targets and failures")

    def missing(self, result: FailoverResult) -> list[Cell]:
        """The cells of a result that cannot be compared: the baseline has no median of them."""
        return [
            cell
            for key, cell in result.cells.items()
            if cell.failure != HEALTHY and key not in self.medians
        ]


class Regression(NamedTuple):
    """One cell that became slower."""

    target: str
    failure: str
    before_ms: float
    now_ms: float
    sentence: str


def regressions(result: FailoverResult, baseline: Baseline, allowed: float) -> list[Regression]:
    """The cells whose median window is more than `allowed` (0.2 is 20 %) longer than in the
    baseline."""
    found = []
    for key, cell in result.cells.items():
        before, now = baseline.medians.get(key), cell.summary().quantiles.get(50)
        if before is not None and now is not None:
            interval = {"value": now.value, "low": now.low, "high": now.high}
            seen_ms = cell.in_time_us / 1000
            if sentence := longer(cell.name, before, interval, allowed, seen_ms=seen_ms):
                earlier_ms = _limits(before)[0]
                found.append(Regression(cell.target, cell.failure, earlier_ms, now.value, sentence))
    return found


def longer(
    name: str, before: Interval, now: Interval, allowed: float, *, seen_ms: float = 0.0
) -> str | None:
    """Whether a median is more than `allowed` longer than an earlier one: the sentence that says
    so. A window shorter than `seen_ms` is recorded as 0, and may have been as long as that."""
    (value, low, high), (earlier, least, most) = _limits(now), _limits(before)
    words = partial(_ms, seen_ms=seen_ms)
    is_longer = low > max(most, seen_ms) * (1 + allowed)
    if not is_longer and not (math.isinf(value) and math.isfinite(earlier)):
        return None

    def interval(middle: float, lower: float, upper: float) -> str:
        limits = "" if math.isinf(lower) else f" ({words(lower)} to {words(upper)})"
        return words(middle) + limits

    return (
        f"{name}: the median window is {interval(value, low, high)}, in the baseline "
        f"{interval(earlier, least, most)}: more than {allowed:.0%} longer"
    )


def _interval(median: Mapping[str, Any]) -> Interval:
    """Raises ValueError, TypeError or KeyError."""
    found = {name: None if median[name] is None else float(median[name]) for name in LIMITS}
    if any(value is not None and not 0 <= value < math.inf for value in found.values()):
        raise ValueError(median)
    return found


def _limits(interval: Interval) -> tuple[float, float, float]:
    def of(name: str) -> float:
        value = interval.get(name)
        return math.inf if value is None else float(value)

    return of("value"), of("low"), of("high")


def _ms(value: float, *, seen_ms: float) -> str:
    if not value and seen_ms:
        return f"less than {seen_ms:.0f} ms"
    return "never" if math.isinf(value) else f"{value:.0f} ms"

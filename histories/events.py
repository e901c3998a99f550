"""An event of a history: an invocation by a process, or its completion.

`ok` happened; `fail` did not happen (for a compare-and-set with error "mismatch": it happened and
did not match); `info` may or may not have happened, now or at any later time, and its process
number is never used again. Faults are in the same history as process `nemesis`, type `info`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

Json: TypeAlias = Any
NEMESIS: Final = "nemesis"
TYPES: Final = ("invoke", "ok", "fail", "info")


class Event(NamedTuple):
    """One event. `time` is nanoseconds of a monotonic clock, from the start of the run.

    `key` is None if the workload has a single object. `node` is the node that answered, if known.
    `error` is the reason of `fail` and `info`. `observed` is the value that a mismatching
    compare-and-set saw, if `has_observed`. `extra` holds further JSON fields (a fault's evidence).
    """

    index: int  # type: ignore[assignment]  # a field, not tuple.index
    time: int
    process: int | str
    type: str
    f: str
    key: str | None = None
    value: Json = None
    node: int | None = None
    error: str | None = None
    observed: Json = None
    has_observed: bool = False
    extra: dict[str, Json] | None = None

    def to_json(self) -> dict[str, Json]:
        """The event as one JSON object; empty fields are left out."""
        line: dict[str, Json] = {
            "index": self.index,
            "time": self.time,
            "process": self.process,
            "type": self.type,
            "f": self.f,
        }
        if self.key is not None:
            line["key"] = self.key
        line["value"] = self.value
        if self.node is not None:
            line["node"] = self.node
        if self.error is not None:
            line["error"] = self.error
        if self.has_observed:
            line["observed"] = self.observed
        if self.extra:
            line.update(self.extra)
        return line

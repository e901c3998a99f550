"""The verdict of a checker: valid, invalid or unknown, for the whole and each partition, and why.

`unknown` is never a pass: it exits with 2. A whole is invalid as soon as one partition is, and
unknown only where none is invalid and one is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from histories.events import Json
from histories.operations import Operation

EXIT_CODES: Final = {"valid": 0, "invalid": 1, "unknown": 2}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Why a partition is not linearizable.

    `anomaly` is a short name for tables ("stale-read"), `sentence` describes it, and `operations`
    are the part of the history that no order explains. `could` has, for reads among them, what they
    could have returned. `minimal`: none of the operations can be left out.
    """

    anomaly: str
    sentence: str
    operations: tuple[Operation, ...] = ()
    could: tuple[str, ...] = ()
    minimal: bool = False

    def to_json(self) -> dict[str, Json]:
        return {
            "anomaly": self.anomaly,
            "sentence": self.sentence,
            "operations": [op.to_json() for op in self.operations],
            "could": list(self.could),
            "minimal": self.minimal,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Evidence:
        return cls(
            anomaly=data["anomaly"],
            sentence=data["sentence"],
            operations=tuple(Operation.from_json(o, i) for i, o in enumerate(data["operations"])),
            could=tuple(data["could"]),
            minimal=data["minimal"],
        )


@dataclass(frozen=True, kw_only=True)
class PartitionVerdict:
    """One key. `method` is "zones", "search" or the name of another monitor. `judged` is how many
    operations had been judged when it ended; `linearization`, for valid and where asked for, the
    positions of the invocations in the order of their linearization points. `weaker`: for an
    invalid one, the weaker levels that it meets, and the session guarantees that it breaks."""

    key: str | None
    outcome: str
    operations: int
    method: str
    judged: int
    evidence: Evidence | None = None
    linearization: tuple[int, ...] | None = None
    reason: str | None = None
    weaker: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        data: dict[str, Json] = {
            "key": self.key,
            "verdict": self.outcome,
            "operations": self.operations,
            "method": self.method,
            "judged": self.judged,
        }
        if self.reason is not None:
            data["reason"] = self.reason
        if self.evidence is not None:
            data["evidence"] = self.evidence.to_json()
        if self.weaker:
            data["weaker"] = list(self.weaker)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PartitionVerdict:
        evidence = data.get("evidence")
        return cls(
            key=data["key"],
            outcome=data["verdict"],
            operations=data["operations"],
            method=data["method"],
            judged=data["judged"],
            evidence=None if evidence is None else Evidence.from_json(evidence),
            reason=data.get("reason"),
            weaker=tuple(data.get("weaker", ())),
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a history. `to_json` leaves linearizations out: they are as long as it is.
    `answered` is how many operations were answered, None where that is not known. `reason`: why the
    whole is unknown although each part is decided. `seconds` is the whole time, `check_seconds` the
    time after the history had been read."""

    outcome: str
    model: str
    operations: int
    partitions: tuple[PartitionVerdict, ...] = ()
    notes: tuple[str, ...] = ()
    checker: str = "reference"
    answered: int | None = field(default=None, compare=False)
    reason: str | None = None
    seconds: float = field(default=0.0, compare=False)
    check_seconds: float = field(default=0.0, compare=False)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    @property
    def evidence(self) -> Evidence | None:
        """The evidence of the first invalid partition."""
        return next((p.evidence for p in self.partitions if p.evidence is not None), None)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, for people."""
        if self.outcome == "valid":
            return _VALID.get(self.operations) or (
                f"all {self.operations} operations can be put into one order per key"
            )
        if self.outcome == "invalid":
            evidence = self.evidence
            return evidence.sentence if evidence else "no order explains the history"
        if self.reason is not None:
            return self.reason
        undecided = next(p for p in self.partitions if p.outcome == "unknown")
        where = "" if undecided.key is None else f"key {undecided.key}: "
        return (
            f"{where}undecided after {undecided.judged} of {counted(undecided.operations)}: "
            f"{undecided.reason}"
        )

    def to_json(self) -> dict[str, Json]:
        return {
            "verdict": self.outcome,
            "sentence": self.sentence,
            "model": self.model,
            "operations": self.operations,
            "checker": self.checker,
            "seconds": round(self.seconds, 6),
            "notes": list(self.notes),
            "partitions": [p.to_json() for p in self.partitions],
            **({} if self.reason is None else {"reason": self.reason}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        return cls(
            outcome=data["verdict"],
            model=data["model"],
            operations=data["operations"],
            partitions=tuple(PartitionVerdict.from_json(p) for p in data["partitions"]),
            notes=tuple(data["notes"]),
            checker=data["checker"],
            seconds=data["seconds"],
            reason=data.get("reason"),
        )


_VALID: Final = {
    0: "there is no operation that could contradict another",
    1: "the only operation can be put into an order",
}


def counted(count: int, one: str = "operation") -> str:
    """A number of things in words: "1 operation", "2 operations"."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def joined(outcomes: Iterable[str]) -> str:
    """The outcome of a whole from the outcomes of its parts."""
    found = set(outcomes)
    if "invalid" in found:
        return "invalid"
    return "unknown" if "unknown" in found else "valid"

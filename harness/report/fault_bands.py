"""The faults of a run as bands over time: nodes, links, start and end.

A fault has four times: its injection was requested, and verified; its healing was requested, and
verified. So a page can distinguish the uncertain edges from the certain middle. Times are
microseconds from the run's start; None if the run ended before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from faults.description import FaultError
from faults.kinds import fault_from_json
from harness.report.fault_evidence import evidence_words
from histories.events import NEMESIS, Event, Json

EFFECTS: Final = {
    "kill": "down",
    "power": "down",
    "stop": "down",
    "amnesia": "down",
    "pause": "paused",
    "partition": "cut",
    "clock": "clock",
    "drift": "clock",
    "monotonic": "clock",
    "strobe": "clock",
    "slow-cpu": "cpu",
    "memory": "memory",
    "slow-disk": "disk",
    "disk-stall": "disk",
    "disk-full": "disk",
    "disk-damage": "down",
}
"""The effect of a kind of fault on a node or a link, as it is drawn."""
LINK_KINDS: Final = frozenset(("loss", "delay", "duplicate", "reorder", "corrupt", "rate"))


@dataclass(kw_only=True)
class FaultBand:
    """One fault. `links` are directed, (source, target); `strikes` is False for a fault that was
    carried out but affected nothing."""

    id: str
    kind: str
    what: str
    effect: str
    nodes: tuple[int, ...]
    links: tuple[tuple[int, int], ...]
    asked_us: int
    proven_us: int | None = None
    heal_asked_us: int | None = None
    healed_us: int | None = None
    moments_us: dict[str, int] = field(default_factory=dict)
    heal_moments_us: dict[str, int] = field(default_factory=dict)
    verified: bool | None = None
    heal_verified: bool | None = None
    strikes: bool = True
    problem: str = ""
    parameters: dict[str, Json] = field(default_factory=dict)
    evidence: Json = None
    heal_evidence: Json = None

    def seen(self) -> list[str]:
        """What proved it, in words."""
        return evidence_words(self.evidence)

    def seen_healed(self) -> list[str]:
        """What proved that it was over."""
        return evidence_words(self.heal_evidence)

    def to_json(self) -> dict[str, Json]:
        fields: dict[str, Json] = {n: getattr(self, n) for n in self.__dataclass_fields__}
        return fields | {"seen": self.seen(), "seen_healed": self.seen_healed()}


def fault_bands(events: Iterable[Event], nodes: Sequence[int]) -> list[FaultBand]:
    """The faults of a history in the order of their requests."""
    bands: dict[str, FaultBand] = {}
    for event in events:
        if event.process != NEMESIS or event.f not in ("inject", "heal"):
            continue
        if not isinstance(event.value, dict):
            continue
        identity = str(event.value.get("id"))
        at_us = event.time // 1000
        if event.type == "invoke" and event.f == "inject":
            bands[identity] = _band(identity, event.value, nodes, at_us)
        elif identity in bands and event.type == "invoke":
            bands[identity].heal_asked_us = at_us
        elif identity in bands:
            _report(bands[identity], event.f, event.extra or {}, at_us)
    return list(bands.values())


def _band(identity: str, value: dict[str, Any], nodes: Sequence[int], at_us: int) -> FaultBand:
    kind = str(value.get("kind"))
    try:
        fault: Any = fault_from_json(value)
        what = fault.describe()
    except (FaultError, ValueError, TypeError, KeyError):
        fault, what = None, f"{kind} (of a kind that this version does not know)"
    links = _links(fault, nodes)
    own = value.get("nodes")
    effect = EFFECTS.get(kind) or ("links" if links or kind in LINK_KINDS else "other")
    return FaultBand(
        id=identity,
        kind=kind,
        what=what,
        effect=effect,
        nodes=tuple(n for n in own if isinstance(n, int)) if isinstance(own, list) else (),
        links=links,
        asked_us=at_us,
        parameters={k: v for k, v in value.items() if k not in ("id", "kind")},
    )


def _links(fault: Any, nodes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The directed links that a fault affects, as its own description computes them."""
    cut = getattr(fault, "cut", None)
    if cut:
        return tuple((a, b) for a, b in cut)
    covers = getattr(fault, "covers", None)
    if covers is None:
        return ()
    return tuple((a, b) for a in nodes for b in nodes if a != b and covers((a, b)))


def _report(band: FaultBand, what: str, report: dict[str, Any], at_us: int) -> None:
    moments = {
        str(name): ns // 1000
        for name, ns in (report.get("moments") or {}).items()
        if isinstance(ns, int)
    }
    verified = report.get("verified") is True
    proven_us = max(moments.values(), default=at_us)
    evidence = report.get("evidence")
    band.problem = str(report.get("problem") or band.problem)
    if what == "heal":
        band.healed_us, band.heal_moments_us, band.heal_verified = proven_us, moments, verified
        band.heal_evidence = evidence
        return
    band.proven_us, band.moments_us, band.verified = proven_us, moments, verified
    band.evidence = evidence
    if isinstance(evidence, dict) and "struck" in evidence:
        _aim(band, evidence)


def _aim(band: FaultBand, evidence: dict[str, Any]) -> None:
    """The node of a triggered fault, and its effect, are known only once it has fired."""
    band.strikes = bool(evidence["struck"])
    node, action = evidence.get("node"), str(evidence.get("action"))
    if not band.strikes or not isinstance(node, int):
        band.effect = "other"
        return
    band.nodes = (node,)
    band.effect = EFFECTS.get(action, "isolate" if action == "isolate" else "other")

"""Swarm testing: every seed draws its own kind of run, then runs it.

A mix in which everything happens a little hides what only shows when one thing happens a lot, or
when another does not happen at all (Groce et al., "Swarm Testing", ISSTA 2012). So a seed leaves
some faults out and weights the rest, and draws the size of the cluster, how many clients ask how
fast for how many keys, how quick links and disks are, and what is healed in the end. What the user
fixed stays fixed. The result is an ordinary configuration and an ordinary schedule: recorded, they
replay without this file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from faults.description import Fault
from faults.menu import Draw
from faults.planner import Schedule, plan
from faults.simulated import Aimed, Duplicate, Loss, Reorder
from harness.config import RunConfig
from node_image.mutants import MUTANTS, protocol_class

MS: Final = 1_000

KINDS: Final[dict[str, int]] = {
    "partition": 3,
    "kill": 3,
    "pause": 2,
    "clock": 1,
    "loss": 2,
    "delay": 2,
    "duplicate": 2,
    "reorder": 2,
    "power": 2,
    "slow-disk": 2,
    "drift": 1,
    "aimed": 4,
}
"""The default mix: how strongly each kind is wanted, before a seed leaves some out."""

STRIKES: Final = ("kill", "pause", "power", "aimed", "partition")
STORMS: Final = ("loss", "duplicate", "reorder")

LINKS: Final[tuple[dict[str, int], ...]] = (
    {"link_min_us": 100, "link_max_us": 400, "link_slow_percent": 0, "link_slow_us": 0},
    {"link_min_us": 150, "link_max_us": 650, "link_slow_percent": 1, "link_slow_us": 10 * MS},
    {"link_min_us": 200, "link_max_us": 5 * MS, "link_slow_percent": 3, "link_slow_us": 60 * MS},
    {"link_min_us": 8 * MS, "link_max_us": 40 * MS, "link_slow_percent": 1, "link_slow_us": 90_000},
)
"""A rack, a data centre, a troubled one, two continents."""

CARRIER_WEIGHT: Final = 8
AMBUSH_PERCENT: Final = 25
"""So many seeds have nothing but ambushes, and perhaps one kind of weather."""
READS: Final = ("log", "log", "log", "quorum", "lease")
"""How reads are answered, where the protocol has a choice."""

DISKS: Final[tuple[dict[str, int], ...]] = (
    {"fsync_min_us": 100, "fsync_max_us": 400},
    {"fsync_min_us": 300, "fsync_max_us": 1_500},
    {"fsync_min_us": 2 * MS, "fsync_max_us": 15 * MS},
)


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep runs. `fixed` are the fields of RunConfig that the user chose; the seed draws
    the others. Raises UsageError where no configuration can come of it."""

    protocol: str
    mutant: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse nonsense before the first seed."""
        RunConfig(**{**_base(self, 0), **self.fixed})


def draw(sweep: SweepPlan, seed: int) -> tuple[RunConfig, Schedule]:
    """The run that this seed stands for."""
    config = draw_config(sweep, seed)
    return config, draw_schedule(config)


def draw_config(sweep: SweepPlan, seed: int) -> RunConfig:
    needs = _needs(sweep.mutant)
    drawn = _base(sweep, seed) | _draw_load(seed) | _draw_world(seed)
    drawn |= _draw_cluster(sweep.protocol, seed, needs)
    if protocol_class(sweep.protocol).needs_everybody:
        drawn["heal"] = "all"
    drawn["cluster"] |= sweep.fixed.get("cluster", {})
    drawn["faults"] = _draw_kinds(seed, drawn["cluster"])
    return RunConfig(**{**drawn, **sweep.fixed, "cluster": drawn["cluster"]})


def _base(sweep: SweepPlan, seed: int) -> dict[str, Any]:
    return {
        "protocol": sweep.protocol,
        "mutant": sweep.mutant,
        "seed": seed,
        "on": "sim",
        "time_us": 10_000_000,
    }


def _needs(mutant: str | None) -> dict[str, Any]:
    return dict(MUTANTS[mutant].needs) if mutant in MUTANTS else {}


def _draw_load(seed: int) -> dict[str, Any]:
    draw = Draw(seed, "load")
    return {
        "concurrency": draw.pick([2, 3, 5, 5, 8, 16]),
        "rate": float(draw.pick([20, 50, 50, 100, 200, 400])),
        "keys": draw.pick([1, 2, 3, 5, 10]),
        "key_skew": draw.pick([0.0, 0.0, 1.0, 2.0]),
        "heal": draw.pick(["all", "quorum"]),
    }


def _draw_world(seed: int) -> dict[str, Any]:
    draw = Draw(seed, "world")
    world = dict(draw.pick(LINKS)) | draw.pick(DISKS)
    world["drift_ppm"] = draw.pick([0, 0, 50, 10_000])
    return {"world": world, "transport": draw.pick(["tcp", "udp"])}


def _draw_cluster(protocol: str, seed: int, needs: dict[str, Any]) -> dict[str, Any]:
    draw, modes = Draw(seed, "cluster"), protocol_class(protocol).read_modes
    nodes = draw.pick([3, 3, 5, 5, 5, 7])
    learners = needs.pop("learners", 0)
    cluster: dict[str, Any] = {
        "reads": draw.pick([m if m in modes else "log" for m in READS]),
        "snapshot_every": draw.pick([20, 100, 2_000]),
        "batch_max": draw.pick([1, 4, 64]),
        "pipeline_max": draw.pick([4, 16, 64]),
    }
    return {"nodes": nodes + learners, "learners": learners, "cluster": cluster | needs}


def _draw_kinds(seed: int, cluster: Mapping[str, Any]) -> tuple[str, ...]:
    """Each seed leaves out some kinds. A lease holds only while clocks keep to their bound, which
    drifting ones are not made to do here."""
    draw = Draw(seed, "kinds")
    possible = [k for k in KINDS if k != "drift" or cluster.get("reads") != "lease"]
    if draw.chance(AMBUSH_PERCENT):
        return ("aimed", *(draw.some(STORMS, 1) if draw.chance(50) else ()))
    return tuple(k for k in possible if draw.chance(45)) or (draw.pick(possible),)


def draw_schedule(config: RunConfig) -> Schedule:
    """The faults of a run in a sweep: dense, of any strength, aimed at the protocol's messages."""
    draw = Draw(config.seed, "swarm")
    messages = messages_of(config.protocol)
    strengths = {k: KINDS.get(k, 1) * draw.pick([1, 1, 3]) for k in config.faults}
    schedule = plan(
        strengths,
        config.seed,
        config.time_us,
        config.voter_ids(),
        allow_all=draw.chance(60),
        every_kind=False,
        gap_us=draw.pick([700 * MS, 1_500 * MS, 3_000 * MS]),
        messages=messages,
    )
    schedule = dataclasses.replace(schedule, faults=_themed(draw, schedule.faults, messages))
    storms = [_storm(draw, fault, config, messages) for fault in schedule.faults]
    faults = [*schedule.faults, *(storm for storm in storms if storm is not None)]
    faults.sort(key=lambda fault: (fault.start_us, fault.id))
    return dataclasses.replace(schedule, faults=tuple(faults))


def _themed(draw: Draw, faults: tuple[Fault, ...], messages: tuple[str, ...]) -> tuple[Fault, ...]:
    """In three seeds of four all ambushes are of one kind: the same message, the same blow, the
    same time to recover. A bug that takes one moment and a little luck gets many chances that way,
    where a mix would give it one in a hundred."""
    if not draw.chance(75) or not messages:
        return faults
    theme: dict[str, Any] = {
        "moment": "after-send",
        "message": draw.pick(messages),
        "action": draw.pick(["kill", "kill", "power", "isolate", "pause"]),
        "hold_us": draw.pick([0, 50, 50, 150, 400]) * MS,
    }
    return tuple(
        dataclasses.replace(fault, **theme, count=draw.between(1, 4))
        if isinstance(fault, Aimed)
        else fault
        for fault in faults
    )


def _storm(draw: Draw, fault: Fault, config: RunConfig, messages: tuple[str, ...]) -> Fault | None:
    """Bad weather around a strike: a node that dies while messages are lost or late leaves behind
    what it would not have left otherwise. Half of the strikes have some, of a kind that the seed
    has chosen anyway; then it blows everywhere, a moment before and a moment after."""
    kinds = [kind for kind in STORMS if kind in config.faults]
    if fault.kind not in STRIKES or not kinds or not draw.chance(50):
        return None
    start_us = max(0, fault.start_us - draw.pick([50, 200, 600]) * MS)
    end_us = min(fault.start_us + draw.pick([50, 200, 600]) * MS, config.time_us)
    common = {
        "id": f"{fault.id}-storm",
        "start_us": start_us,
        "duration_us": end_us - start_us,
        "nodes": config.node_ids(),
        "message": draw.pick(messages) if messages and draw.chance(60) else "",
    }
    percent = draw.pick([10, 30, 60])
    kind = draw.pick(kinds)
    if kind == "loss":
        return Loss(**common, percent=percent)
    if kind == "duplicate":
        return Duplicate(**common, percent=percent, spread_us=draw.pick([5, 100, 800]) * MS)
    return Reorder(**common, percent=percent, window_us=draw.pick([5, 100, 800]) * MS)


def messages_of(protocol: str) -> tuple[str, ...]:
    """The names of a protocol's message classes, for faults to be aimed at. Those that carry what
    clients ask stand in it several times: they are what most runs turn on."""
    names: list[str] = []
    for cls in protocol_class(protocol).messages:
        carries = any("Command" in str(hint) for hint in cls.__annotations__.values())
        names += [cls.__name__] * (CARRIER_WEIGHT if carries else 1)
    return tuple(names)

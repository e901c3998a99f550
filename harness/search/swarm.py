"""Swarm testing: every seed draws a complete configuration.

A uniform mix of all faults misses bugs that need one kind of fault often, or another not at all
(Groce et al., "Swarm Testing", ISSTA 2012). So a seed leaves out some kinds of faults and weights
the others, and draws the size of the cluster, the number of clients, rate and keys, the speed of
links and disks, and what is healed at the end. Options that the user fixed stay fixed. The result
is an ordinary configuration and schedule, which are replayed without this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from faults.description import Fault
from faults.generators import Draw
from faults.kinds import KINDS
from faults.planner import Schedule, plan
from harness.run.config import RunConfig
from harness.search.fault_patterns import (
    LINK_FAULTS,
    OUTAGES,
    alike,
    concurrent,
    extended,
    long_outage,
    of_message_classes,
    successive,
    voter_outage,
)
from harness.search.on_containers import on_containers
from harness.targets import target_named
from node_image.mutants import MUTANTS

MS: Final = 1_000

MIX: Final[dict[str, int]] = {
    name: kind.mix_weight for name, kind in KINDS.items() if kind.mix_weight
}
"""The default mix: the weight of each kind, before a seed leaves some out."""

LINKS: Final[tuple[dict[str, int], ...]] = (
    {"link_min_us": 100, "link_max_us": 400, "link_slow_percent": 0, "link_slow_us": 0},
    {"link_min_us": 150, "link_max_us": 650, "link_slow_percent": 1, "link_slow_us": 10 * MS},
    {"link_min_us": 200, "link_max_us": 5 * MS, "link_slow_percent": 3, "link_slow_us": 60 * MS},
    {"link_min_us": 8 * MS, "link_max_us": 40 * MS, "link_slow_percent": 1, "link_slow_us": 90_000},
)
"""A rack, a data centre, a data centre with occasional long delays, two continents."""

AIMED_ONLY_PERCENT: Final = 35
"""This share of the seeds has only aimed faults, and perhaps one or two kinds of link faults."""
SUCCESSIVE_PERCENT: Final = 50
"""In this share of those the next leader is hit in turn."""
MESSAGE_CLASSES_PERCENT: Final = 30
"""In this share of the other seeds some class of message is always late, lost or duplicated."""
READS: Final = ("log", "log", "log", "quorum", "lease")
"""Read modes, if the protocol has several."""

ELECTIONS: Final[tuple[dict[str, int], ...]] = (
    *({},) * 3,
    {"election_min_us": 300 * MS, "election_max_us": 1_500 * MS},
)
"""Election timeouts; with the wide range an old leader does not notice for a long time that another
was elected."""

CONTAINED_VOTERS: Final = (3, 3, 5)
"""The maximum in containers: five voters, each with an agent, are a heavy load for two
processors."""

LEARNERS: Final = (0, 0, 0, 1, 2)

OPERATION_TIMEOUTS_US: Final = (2_500 * MS, 2_500 * MS, 1_000 * MS, 400 * MS)
"""How long clients wait for an operation, retries included."""

BUSY_PERCENT: Final = 30
"""In this share of the seeds many clients send at once, on links and disks so slow that commands
queue, and are decided in batches."""
BUSY_DISKS: Final[tuple[dict[str, int], ...]] = (
    {"fsync_min_us": 2 * MS, "fsync_max_us": 15 * MS},
    {"fsync_min_us": 10 * MS, "fsync_max_us": 40 * MS},
)
COMPACTING_PERCENT: Final = 50
"""In this share of the seeds snapshots are frequent and logs short: a node that is down for a
second needs one."""
OUTAGE_PERCENT: Final = 50
"""In this share of the seeds (with suitable faults) a voter is down for a long time."""

DISKS: Final[tuple[dict[str, int], ...]] = (
    {"fsync_min_us": 100, "fsync_max_us": 400},
    {"fsync_min_us": 300, "fsync_max_us": 1_500},
    {"fsync_min_us": 2 * MS, "fsync_max_us": 15 * MS},
)


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep runs. `fixed` are the fields of RunConfig that the user chose; the seed draws
    the others. Raises UsageError if no configuration is possible."""

    protocol: str
    mutant: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    on: str = "sim"
    """The runtime."""

    def check(self) -> None:
        """Refuse invalid plans before the first seed."""
        RunConfig.of(**{**_base(self, 0), **self.fixed})


def draw(sweep: SweepPlan, seed: int) -> tuple[RunConfig, Schedule]:
    """The run that this seed determines."""
    config = draw_config(sweep, seed)
    schedule = draw_schedule(config)
    return (config, schedule) if sweep.on == "sim" else on_containers(config, schedule)


def draw_config(sweep: SweepPlan, seed: int) -> RunConfig:
    needs = _needs(sweep.mutant)
    drawn = _base(sweep, seed) | _draw_load(seed) | _draw_world(seed)
    drawn |= _draw_cluster(sweep, seed, needs)
    _make_busy(drawn, seed)
    _make_compacting(drawn, seed)
    drawn["settings"] |= sweep.fixed.get("settings", {})
    able = target_named(sweep.protocol).capabilities
    if able.needs_all_voters(drawn["settings"]):
        drawn["heal"] = "all"
    drawn["faults"] = _draw_kinds(seed, drawn["settings"])
    return RunConfig.of(**{**drawn, **sweep.fixed, "settings": drawn["settings"]})


def _base(sweep: SweepPlan, seed: int) -> dict[str, Any]:
    return {
        "target": sweep.protocol,
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
        "operation_timeout_us": Draw(seed, "patience").pick(OPERATION_TIMEOUTS_US),
    }


def _draw_world(seed: int) -> dict[str, Any]:
    draw = Draw(seed, "world")
    world = dict(draw.pick(LINKS)) | draw.pick(DISKS)
    world["drift_ppm"] = draw.pick([0, 0, 50, 10_000])
    return {"world": world, "transport": draw.pick(["tcp", "udp"])}


def _draw_cluster(sweep: SweepPlan, seed: int, needs: dict[str, Any]) -> dict[str, Any]:
    draw, able = Draw(seed, "cluster"), target_named(sweep.protocol).capabilities
    voters = draw.pick([3, 3, 5, 5, 5, 7])
    cluster: dict[str, Any] = {
        "reads": draw.pick([m if m in able.reads else "log" for m in READS]),
        "snapshot_every": draw.pick([20, 100, 2_000]),
        "batch_max": draw.pick([1, 4, 64]),
        "pipeline_max": draw.pick([4, 16, 64]),
    }
    cluster |= Draw(seed, "elections").pick(ELECTIONS)
    has_learners = able.learners and sweep.on == "sim"  # in containers only where a bug needs them
    drawn = Draw(seed, "learners").pick(LEARNERS) if has_learners else 0
    learners = needs.pop("learners", drawn)
    if "nodes" in sweep.fixed or "learners" in sweep.fixed:
        learners = sweep.fixed.get("learners", 0)
        voters = sweep.fixed.get("nodes", voters + learners) - learners
    elif able.sizes:
        voters = Draw(seed, "voters").pick(able.sizes)
    if sweep.on != "sim" and "nodes" not in sweep.fixed:
        voters = min(voters, Draw(seed, "contained").pick(CONTAINED_VOTERS))
    if able.draw_settings is not None:
        cluster |= able.draw_settings(Draw(seed, "quorums"), voters)
    return {"nodes": voters + learners, "learners": learners, "settings": cluster | needs}


def _make_busy(drawn: dict[str, Any], seed: int) -> None:
    """Make some seeds busy, so that batches form."""
    draw = Draw(seed, "busy")
    if draw.chance(BUSY_PERCENT):
        drawn["concurrency"] = draw.pick([16, 32, 48])
        drawn["rate"] = float(draw.pick([200, 300, 400]))
        drawn["world"] |= dict(draw.pick(LINKS[2:])) | draw.pick(BUSY_DISKS)
        drawn["settings"]["batch_max"] = draw.pick([4, 16, 64])


def _make_compacting(drawn: dict[str, Any], seed: int) -> None:
    """Make snapshots frequent in some seeds, so that restarted nodes need one."""
    draw = Draw(seed, "compacting")
    if draw.chance(COMPACTING_PERCENT):
        drawn["settings"]["snapshot_every"] = draw.pick([5, 10, 20])


def _draw_kinds(seed: int, cluster: Mapping[str, Any]) -> tuple[str, ...]:
    """Each seed leaves out some kinds. With leases there are no drift faults, since they would
    exceed the clock bound."""
    draw = Draw(seed, "kinds")
    possible = [k for k in MIX if k != "drift" or cluster.get("reads") != "lease"]
    if draw.chance(AIMED_ONLY_PERCENT):
        return ("aimed", *draw.some(LINK_FAULTS, draw.pick([0, 1, 2])))
    return tuple(k for k in possible if draw.chance(45)) or (draw.pick(possible),)


def draw_schedule(config: RunConfig) -> Schedule:
    """The faults of a run in a sweep: frequent, of any strength, aimed at the protocol's
    messages."""
    draw, messages = Draw(config.seed, "swarm"), config.system.capabilities.messages
    kinds = set(config.faults.kinds)
    aimed_only = "aimed" in kinds and kinds <= {"aimed", *LINK_FAULTS}
    if aimed_only and messages and draw.chance(SUCCESSIVE_PERCENT):
        faults = (
            *successive(draw, config, messages),
            *of_message_classes(draw, config, messages),
        )
    else:
        planned = alike(draw, _planned(draw, config, messages), messages)
        seconds = (concurrent(draw, fault, config, messages) for fault in planned)
        faults = (*planned, *(fault for fault in seconds if fault is not None))
        if draw.chance(MESSAGE_CLASSES_PERCENT):
            faults = (*faults, *of_message_classes(draw, config, messages))
    if "kill" in config.faults.kinds and config.cluster.learners:
        faults = (*faults, long_outage(draw, config))
    if config.heal == "quorum":
        faults = extended(draw, faults, config.time_us)
    faults = (*faults, *_outage(Draw(config.seed, "outage"), config))
    return Schedule(
        faults=tuple(sorted(faults, key=lambda fault: (fault.start_us, fault.id))),
        duration_us=config.time_us,
        seed=config.seed,
        nodes=config.cluster.voter_ids(),
    )


def _outage(draw: Draw, config: RunConfig) -> tuple[Fault, ...]:
    """In some seeds a voter is down for a long time, and has to catch up, if necessary by a
    snapshot."""
    kinds = [kind for kind in OUTAGES if kind in config.faults.kinds]
    if not kinds or not draw.chance(OUTAGE_PERCENT):
        return ()
    return (voter_outage(draw, config, draw.pick(kinds)),)


def _planned(draw: Draw, config: RunConfig, messages: tuple[str, ...]) -> tuple[Fault, ...]:
    strengths = {k: MIX.get(k, 1) * draw.pick([1, 1, 3]) for k in config.faults.kinds}
    return plan(
        strengths,
        config.seed,
        config.time_us,
        config.cluster.voter_ids(),
        allow_all=draw.chance(60),
        every_kind=False,
        gap_us=draw.pick([700 * MS, 1_500 * MS, 3_000 * MS]),
        messages=messages,
    ).faults

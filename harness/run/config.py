"""The complete configuration of a run: what `run.json` records and a replay needs.

Everything that influences a run is a field of one of these parts, with its unit at the end of its
name:

    RunConfig            the target, the seed, the runtime, the duration, the checks
      .cluster           ClusterSpec: nodes, learners, the target's settings, a planted bug
      .traffic           TrafficConfig: the workload, its rate, and the timeouts of clients
      .faults            FaultConfig: which kinds may be drawn, and how
      .world             the runtime's own settings (of the simulator; otherwise empty)

Field names are unique over all parts, so a configuration is created from flat options
(`RunConfig.of(target="raft", nodes=3, rate=50.0)`) and changed by them (`config.changed(nodes=5)`);
there, `faults` may be just the kinds.
Invalid configurations are refused before anything is started.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from faults.kinds import KINDS
from faults.shapes import DRAWN_SHAPES, SHAPES
from harness.errors import UnknownChoice, UsageError
from harness.run.field_types import check_types
from harness.run.limits import (
    CONCURRENCY_MAX,
    KEYS_MAX,
    NODES_MAX,
    RATE_MAX,
    RATE_MIN,
    TIME_MAX_US,
)
from harness.runtimes import RUNTIMES, check_world
from harness.targets import target_named
from harness.targets.interface import ClusterSpec, Target, check_capable
from harness.workloads import WORKLOADS

HEALS: Final = ("all", "quorum")
LIVENESS_ELECTIONS: Final = 5
"""A leader is missed for an election timeout, and an election may fail, more than once."""


@dataclass(frozen=True, kw_only=True)
class TrafficConfig:
    """The workload. `rate`: operations per second of all clients together; `concurrency`: clients
    that may wait for an answer at the same time; times are microseconds."""

    workload: str = "kv"
    concurrency: int = 10
    rate: float = 200.0
    keys: int = 5
    key_skew: float = 0.0
    """0: every key is used equally often; 1: the k-th key 1/k times as often as the first."""
    operation_timeout_us: int = 2_500_000
    attempt_timeout_us: int = 500_000
    only: tuple[int, ...] | None = None
    """After shrinking: only these of the operations that arrive during the chaos phase, numbered
    from 0, are sent. None: all."""


@dataclass(frozen=True, kw_only=True)
class FaultConfig:
    """The faults that the planner may draw."""

    kinds: tuple[str, ...] = ()
    allow_all: bool = False
    """Kills and pauses may affect the whole cluster at once."""
    shapes: tuple[str, ...] = DRAWN_SHAPES
    """The shapes of partitions that may be drawn."""
    fault_gap_us: int | None = None
    """The mean time from one fault to the next; None: the seed draws it."""
    schedule_file: str = ""
    """The file of a hand-written schedule; empty: the seed drew it."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The resolved configuration of one run. Times are microseconds.

    Raises UsageError (or UnknownChoice, which lists the choices).
    """

    target: str
    seed: int = 0
    on: str = "docker"
    time_us: int = 30_000_000
    liveness_timeout_us: int = 15_000_000
    check_limit_s: float = 60.0
    heal: str = "all"
    """After the chaos phase: heal "all", or only a "quorum"; the other nodes stay as they are."""
    finale: bool = True
    """Whether there is a final round. Without it liveness is not checked."""
    stop_at_first: bool = False
    """Whether the run ends at the first violation in the clients' history."""
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    traffic: TrafficConfig = field(default_factory=TrafficConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)
    world: dict[str, Any] = field(default_factory=dict)
    """The runtime's own settings, such as `harness.runtimes.sim.config`."""

    # ------------------------------------------------------------------ making and changing

    @classmethod
    def of(cls, **options: Any) -> RunConfig:
        """A configuration from flat options; those not given have their defaults."""
        return cls(**_grouped(options))

    def changed(self, **options: Any) -> RunConfig:
        """The same with these flat options changed."""
        changes = _grouped(options, self)
        return dataclasses.replace(self, **changes)

    def option(self, name: str) -> Any:
        """The value of one flat option."""
        return getattr(self if name in _OWN else getattr(self, _PART_OF[name]), name)

    def to_json(self) -> dict[str, Any]:
        """`config` of run.json: the parts as nested objects."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> RunConfig:
        """The inverse of `to_json`; also reads the flat form of folders of format 1. Raises
        UsageError for fields that this version does not know, and for anything that is not a
        configuration."""
        if not isinstance(data, dict):
            raise UsageError("the run's configuration must be an object")
        flat: dict[str, Any] = {}
        nested = _is_nested(data)
        for name, value in data.items():
            if not nested:
                flat[_OLD_NAMES.get(str(name)) or str(name)] = value
            elif name in _PARTS:
                if not isinstance(value, dict):
                    raise UsageError(f"{name} of the run's configuration must be an object")
                flat |= value
            else:
                flat[str(name)] = value
        tuples = ("kinds", "shapes", "only")
        flat |= {n: tuple(flat[n]) for n in tuples if isinstance(flat.get(n), list)}
        if "target" not in flat:
            raise UsageError("the run's configuration names no target")
        return cls.of(**flat)

    # ------------------------------------------------------------------ validation

    def __post_init__(self) -> None:
        for part in (self, self.cluster, self.traffic, self.faults):
            check_types(part)
        self._check_names()
        self._check_numbers()
        check_capable(
            self.system,
            self.cluster,
            workload=self.traffic.workload,
            runtime=self.on,
            faults=self.faults.kinds,
        )
        check_world(self.on, self.world)

    def _check_names(self) -> None:
        for what, name, choices in (
            ("workload", self.traffic.workload, tuple(WORKLOADS)),
            ("runtime", self.on, RUNTIMES),
            ("way to heal", self.heal, HEALS),
            *(("fault", kind, tuple(KINDS)) for kind in self.faults.kinds),
            *(("shape of partition", shape, SHAPES) for shape in self.faults.shapes),
        ):
            if name not in choices:
                raise UnknownChoice(what, name, choices)

    def _check_numbers(self) -> None:
        traffic, gap_us = self.traffic, self.faults.fault_gap_us
        for name, value, least, most in (
            ("nodes", self.cluster.nodes, 1, NODES_MAX),
            ("learners", self.cluster.learners, 0, NODES_MAX),
            ("time", self.time_us, 1, TIME_MAX_US),
            ("concurrency", traffic.concurrency, 1, CONCURRENCY_MAX),
            ("keys", traffic.keys, 1, KEYS_MAX),
            ("operation timeout", traffic.operation_timeout_us, 1, TIME_MAX_US),
            ("attempt timeout", traffic.attempt_timeout_us, 1, TIME_MAX_US),
            ("liveness timeout", self.liveness_timeout_us, 1, TIME_MAX_US),
            ("gap between faults", 1 if gap_us is None else gap_us, 1, TIME_MAX_US),
        ):
            if not least <= value <= most:
                raise UsageError(f"{name} must be {least} to {most}, not {value}")
        if self.cluster.learners >= self.cluster.nodes:
            raise UsageError(
                f"{self.cluster.learners} learners of {self.cluster.nodes} nodes leave none that "
                "votes",
                remedy="ask for fewer --learners or more --nodes",
            )
        if not (math.isfinite(traffic.key_skew) and 0 <= traffic.key_skew <= 10):
            raise UsageError(f"key skew must be 0 to 10, not {traffic.key_skew}")
        if not RATE_MIN <= traffic.rate <= RATE_MAX:
            raise UsageError(
                f"rate must be {RATE_MIN:g} to {RATE_MAX:g} operations a second, not {traffic.rate}"
            )

    # ------------------------------------------------------------------ derived values

    @property
    def system(self) -> Target:
        """The target that this run tests."""
        return target_named(self.target)

    @property
    def answer_within_us(self) -> int:
        """How long the cluster may take to answer after its start, and after healing: the liveness
        timeout, but at least `LIVENESS_ELECTIONS` of its longest election timeouts."""
        longest_us = self.system.capabilities.longest_election_us(self.cluster.settings)
        return max(self.liveness_timeout_us, LIVENESS_ELECTIONS * longest_us)

    def core(self) -> tuple[int, ...]:
        """The voters that are healed before the final round with `heal` "quorum": as many as the
        target needs to answer, drawn by the seed. Empty if everything is healed."""
        if self.heal == "all":
            return ()
        voters = list(self.cluster.voter_ids())
        size = self.system.quorum(self.cluster)
        random = Random(f"{self.seed}:heal")
        left = [voters.pop(random.randrange(0, len(voters))) for _ in range(len(voters) - size)]
        return tuple(n for n in self.cluster.voter_ids() if n not in left)

    def remarks(self) -> list[str]:
        """Remarks about allowed but unusual settings."""
        voters = len(self.cluster.voter_ids())
        if voters % 2 == 0:
            return [
                f"{voters} voters tolerate {(voters - 1) // 2} failures, "
                f"no more than {voters - 1} would"
            ]
        return []


# ------------------------------------------------------------------------------- flat options


def default_of(option: str) -> Any:
    """The default of a flat option, for help texts."""
    part = RunConfig if option in _OWN else _PARTS[_PART_OF[option]]
    return next(f.default for f in dataclasses.fields(part) if f.name == option)


_PARTS: Final[dict[str, type[Any]]] = {
    "cluster": ClusterSpec,
    "traffic": TrafficConfig,
    "faults": FaultConfig,
}
_PART_OF: Final = {f.name: part for part, cls in _PARTS.items() for f in dataclasses.fields(cls)}
_OWN: Final = {f.name for f in dataclasses.fields(RunConfig)} - set(_PARTS)
_OLD_NAMES: Final = {"protocol": "target", "faults": "kinds", "cluster": "settings"}
"""Fields of run.json of format 1, and their current names."""


def _is_nested(data: dict[str, Any]) -> bool:
    """Whether a recorded configuration has parts: format 2 and later."""
    return "traffic" in data


def _grouped(options: dict[str, Any], base: RunConfig | None = None) -> dict[str, Any]:
    """Flat options, sorted into the parts that they belong to. Raises UsageError."""
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        if name in _OWN or isinstance(value, _PARTS.get(name, ())):
            own[name] = value
        elif name == "faults":
            if not isinstance(value, list | tuple):
                raise UsageError(f"faults must be a list of kinds, not {value!r}")
            parts.setdefault("faults", {})["kinds"] = tuple(value)
        elif name in _PART_OF:
            parts.setdefault(_PART_OF[name], {})[name] = value
        else:
            known = ", ".join(sorted(_OWN | set(_PART_OF)))
            raise UsageError(f"a run has no option {name!r}", remedy=f"choose one of: {known}")
    for part, changes in parts.items():
        made = _PARTS[part](**changes) if base is None else None
        own[part] = made or dataclasses.replace(getattr(base, part), **changes)
    return own

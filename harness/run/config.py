"""One run, described completely: what `run.json` records and what a replay needs.

Everything that influences a run is a field here, with its unit last in its name. Nonsense is
refused at this door, before anything is started.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from random import Random
from typing import Any

from faults.kinds import KINDS
from faults.shapes import DRAWN_SHAPES, SHAPES
from harness.errors import UnknownChoice, UsageError
from harness.runtimes.sim.config import WorldConfig
from harness.workloads import WORKLOADS
from node_image.mutants import UnknownName, protocol_class
from node_image.protocols.interface import ClusterConfig
from node_image.protocols.quorums import from_options
from node_image.state_machine import KeyValue

RUNTIMES = ("docker", "sim")
TRANSPORTS = ("tcp", "udp")
HEALS = ("all", "quorum")
NODES_MAX = 64


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The resolved configuration of one run. Times are microseconds, `rate` is operations a second
    of all clients together, `concurrency` the number of clients that may wait at once.

    Raises UsageError (or UnknownChoice, which lists the choices).
    """

    protocol: str
    nodes: int = 5
    learners: int = 0
    workload: str = "kv"
    faults: tuple[str, ...] = ()
    time_us: int = 30_000_000
    concurrency: int = 10
    rate: float = 200.0
    seed: int = 0
    keys: int = 5
    mutant: str | None = None
    on: str = "docker"
    transport: str = "tcp"
    operation_timeout_us: int = 2_500_000
    attempt_timeout_us: int = 500_000
    liveness_timeout_us: int = 15_000_000
    check_limit_s: float = 60.0
    allow_all: bool = False
    """Kills and pauses may take the whole cluster at once."""
    shapes: tuple[str, ...] = DRAWN_SHAPES
    """The shapes of partitions that may be drawn."""
    fault_gap_us: int | None = None
    """The mean time from one fault to the next; None: the seed draws it."""
    cluster: dict[str, Any] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)
    """The simulator's settings, see `harness.runtimes.sim.config`; empty on other runtimes."""
    heal: str = "all"
    """After the chaos: "all" is healed, or only a "quorum", and the others stay as they are."""
    key_skew: float = 0.0
    """0: every key is asked for as often; 1: the k-th key 1/k times as often as the first."""
    only: tuple[int, ...] | None = None
    """Of the operations that arrive during the chaos, numbered from 0, only these are asked: what
    shrinking has left. None: all."""
    finale: bool = True
    """Whether there is a last round. Without it liveness is not judged."""
    stop_at_first: bool = False
    """Whether the run ends as soon as what clients saw is known to be impossible."""

    def __post_init__(self) -> None:
        self._check_names()
        self._check_numbers()
        self.cluster_config()
        WorldConfig.from_json(self.world)

    def _check_names(self) -> None:
        try:
            protocol_class(self.protocol, self.mutant)
        except UnknownName as error:
            raise UsageError(str(error)) from None
        for what, name, choices in (
            ("workload", self.workload, tuple(WORKLOADS)),
            ("runtime", self.on, RUNTIMES),
            ("transport", self.transport, TRANSPORTS),
            ("way to heal", self.heal, HEALS),
            *(("fault", kind, tuple(KINDS)) for kind in self.faults),
            *(("shape of partition", shape, SHAPES) for shape in self.shapes),
        ):
            if name not in choices:
                raise UnknownChoice(what, name, choices)

    def _check_numbers(self) -> None:
        for name, value, least in (
            ("nodes", self.nodes, 1),
            ("learners", self.learners, 0),
            ("time", self.time_us, 1),
            ("concurrency", self.concurrency, 1),
            ("keys", self.keys, 1),
            ("operation timeout", self.operation_timeout_us, 1),
            ("attempt timeout", self.attempt_timeout_us, 1),
            ("liveness timeout", self.liveness_timeout_us, 1),
        ):
            if value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        if self.nodes > NODES_MAX:
            raise UsageError(f"nodes must be at most {NODES_MAX}, not {self.nodes}")
        if self.learners >= self.nodes:
            raise UsageError(
                f"{self.learners} learners of {self.nodes} nodes leave none that votes",
                remedy="ask for fewer --learners or more --nodes",
            )
        if self.fault_gap_us is not None and self.fault_gap_us <= 0:
            raise UsageError(f"the gap between faults must be above 0, not {self.fault_gap_us} us")
        if not 0 <= self.key_skew <= 10:
            raise UsageError(f"key skew must be 0 to 10, not {self.key_skew}")
        if not self.rate > 0:
            raise UsageError(f"rate must be above 0 operations a second, not {self.rate}")

    def node_ids(self) -> tuple[int, ...]:
        return tuple(range(1, self.nodes + 1))

    def learner_ids(self) -> tuple[int, ...]:
        return self.node_ids()[self.nodes - self.learners :]

    def voter_ids(self) -> tuple[int, ...]:
        return self.node_ids()[: self.nodes - self.learners]

    def core(self) -> tuple[int, ...]:
        """The voters that a finale with `heal` "quorum" is left to: just enough, drawn by the
        seed; of a grid all. Empty where everything is healed."""
        if self.heal == "all":
            return ()
        voters, options = list(self.voter_ids()), self.cluster.get("options", {})
        quorums = from_options(self.cluster_config())
        size = max(len(voters) // 2 + 1, quorums.q1, quorums.q2)
        size = len(voters) if "grid_rows" in options else size
        random = Random(f"{self.seed}:heal")
        left = [voters.pop(random.randrange(0, len(voters))) for _ in range(len(voters) - size)]
        return tuple(n for n in self.voter_ids() if n not in left)

    def cluster_config(self) -> ClusterConfig:
        """What every node is told. Raises UsageError for settings that cannot work, also those that
        only the protocol itself can tell, such as quorums that do not meet."""
        try:
            cluster = ClusterConfig(
                nodes=self.node_ids(), learners=self.learner_ids(), **self.cluster
            )
            protocol = protocol_class(self.protocol, self.mutant)
            protocol(1, cluster, KeyValue(cluster.sessions_max), Random(0), lambda: 0)
        except (TypeError, ValueError) as error:
            raise UsageError(f"cluster settings: {error}") from None
        return cluster

    def remarks(self) -> list[str]:
        """What is allowed but worth a sentence before the run."""
        voters = self.nodes - self.learners
        if voters % 2 == 0:
            return [
                f"{voters} voters tolerate {(voters - 1) // 2} failures, "
                f"no more than {voters - 1} would"
            ]
        return []

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of `to_json`. Raises UsageError for fields this version does not know."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - known):
            raise UsageError(f"the run's configuration has unknown fields: {', '.join(unknown)}")
        try:
            tuples = {
                name: tuple(data[name])
                for name in ("faults", "shapes", "only")
                if data.get(name) is not None
            }
            return cls(**{**data, **tuples})
        except TypeError as error:
            raise UsageError(f"the run's configuration: {error}") from None

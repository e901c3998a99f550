"""The interface of a target: everything that a run needs to know about the system under test.

A target defines how its nodes are built and started, how a client talks to one of them, and what it
is capable of. Code outside of `harness/targets/` does not depend on specific targets, only on their
`Capabilities`.

    target.check(cluster)                  refuse a cluster that cannot work, in a sentence
    target.image(images)                   the nodes' image; built or pulled if necessary
    target.node(...)                       one node's container: command, environment, volume
    target.client(node, host, port)        a connection to one node, shared by all clients
    target.artifacts                       files that are copied out of each node at the end

Clients are asynchronous, and a `NodeClient` carries the operations of many of them at a time.
`docs/targets.md` shows how to add a target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from faults.generators import Draw
from harness.errors import UsageError


class Request(NamedTuple):
    """A client's request to a node. `client` and `seq` identify the operation: if the target has
    sessions, a retry has the same pair and takes effect once."""

    client: int
    seq: int
    f: str
    key: str
    value: Any


class Response(NamedTuple):
    """How one request to one node ended.

    `error` is None for success. "mismatch": applied, a compare-and-set that did not match, `value`
    is the value that it saw (None if the target does not report it). `definite`: this attempt
    certainly had no effect and will have none; an error that is not definite leaves that open.
    `leader`: the leader that this node knows, if any. `order`: the position of the operation in the
    system's log (a slot, a revision), if reported.
    """

    error: str | None
    value: Any = None
    leader: int | None = None
    definite: bool = False
    order: int | None = None


REFUSED = Response("refused", definite=True)
"""The request was not sent: no process listens."""
DISCONNECTED = Response("disconnected")
"""The connection broke while the request was in flight."""

Answered: TypeAlias = Callable[[Response], None]
LeaderTold: TypeAlias = Callable[[int, tuple[int, ...]], None]
"""Called with a leader and the term, or ballot, in which it leads."""


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """The cluster of a run. `settings` are the target's own (`--set NAME=VALUE`); the last
    `learners` of the `nodes` follow without a vote."""

    nodes: int = 5
    learners: int = 0
    mutant: str | None = None
    transport: str = "tcp"
    settings: dict[str, Any] = field(default_factory=dict)

    def node_ids(self) -> tuple[int, ...]:
        return tuple(range(1, self.nodes + 1))

    def learner_ids(self) -> tuple[int, ...]:
        return self.node_ids()[self.nodes - self.learners :]

    def voter_ids(self) -> tuple[int, ...]:
        return self.node_ids()[: self.nodes - self.learners]


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a target supports.

    sessions: a command repeated with the same client and seq takes effect once, so clients may
    retry writes. leader: one node at a time leads the others. decided_logs: `decided.jsonl` is
    among the artifacts, so that agreement can be judged; state_digests: so is `states.jsonl`, and
    replicas' states are compared. counters: `NodeStatus.raw["counters"]` counts messages and
    fsyncs. observes_mismatch: a failed compare-and-set reports the value that it saw. settings: the
    default of each, in words; described: what each does, in a few words. own_clock: a status
    carries the node's own wall clock. messages: names of message classes that faults may be aimed
    at, as often as they should be drawn. reads: values of the setting `reads`, the default first.
    timing: the settings for an election timeout drawn between this many microseconds and twice
    that, and the heartbeat a tenth of it; None if not supported. longest_election_us: the longest
    election timeout with these settings, 0 if there is none. sizes, draw_settings: numbers of
    voters, and settings for a number of voters, that a search draws in addition to those of every
    target. needs_all_voters: whether a cluster with these settings answers only while all of its
    voters do. transfer_leadership: creates the request for a leadership transfer, from a client,
    its seq and the successor; None if not supported. clock: "vdso" where the nodes read the time
    through the vDSO, so that an agent can change it; "syscall" where they ask the kernel itself.
    """

    workloads: tuple[str, ...] = ("kv",)
    reads: tuple[str, ...] = ("linearizable",)
    """Values of the setting `reads`, the default first."""
    sessions: bool = False
    """A command repeated with the same client and seq takes effect once, so clients may retry
    writes."""
    leader: bool = True
    """One node at a time leads the others."""
    learners: bool = False
    """Nodes may follow without a vote."""
    mutants: tuple[str, ...] = ()
    """The ids of its planted bugs."""
    transports: tuple[str, ...] = ("tcp",)
    settings: Mapping[str, str] = field(default_factory=dict)
    """The default of each setting, in words."""
    described: Mapping[str, str] = field(default_factory=dict)
    """What each setting does, in a few words."""
    decided_logs: bool = False
    """`decided.jsonl` is among the artifacts, so that agreement can be judged."""
    state_digests: bool = False
    """`states.jsonl` is among the artifacts, so that replicas' states can be compared."""
    counters: bool = False
    """`NodeStatus.raw["counters"]` counts messages and fsyncs."""
    observes_mismatch: bool = False
    """A failed compare-and-set reports the value that it saw."""
    own_clock: bool = False
    """A status carries the node's own wall clock."""
    simulated: bool = False
    """It also runs in the simulator."""
    messages: tuple[str, ...] = ()
    """Message classes that faults may be aimed at, each as often as it should be drawn."""
    clock: str = "vdso"
    """`vdso`: nodes read the time through the vDSO, so that an agent can change it. `syscall`: they
    ask the kernel."""
    timing: Callable[[int], dict[str, Any]] | None = None
    """The settings that make the election timeout at least so many microseconds (at most twice as
    long, drawn), and the heartbeat a tenth of it. None: not supported."""
    longest_election_us: Callable[[Mapping[str, Any]], int] = lambda _: 0
    """The longest election timeout with these settings; 0 if there is none."""
    transfer_leadership: Callable[[int, int, int], Request] | None = None
    """Creates the request for a leadership transfer from a client, its seq and the successor. None:
    not supported."""
    sizes: tuple[int, ...] = ()
    """Numbers of voters that a search draws in addition to those of every target."""
    draw_settings: Callable[[Draw, int], dict[str, Any]] | None = None
    """Settings that a search draws for so many voters."""
    needs_all_voters: Callable[[Mapping[str, Any]], bool] = lambda _: False
    """Whether a cluster with these settings answers only while all of its voters do."""


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node's container. `data` is where its volume is mounted: what is on it survives a kill
    and a restart of the node. `image`: replaces the target's image, for instance by another
    version; it is pulled if missing.

    Everything else that the node can see is read-only, unless `read_only` is False; `scratch` are
    folders of temporary files in memory, empty after every start. `memory` (bytes) and `pids`
    (processes and threads) limit the resources of a node that misbehaves.
    """

    command: tuple[str, ...]
    image: str | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    data: str = "/data"
    user: str | None = None
    read_only: bool = True
    scratch: tuple[str, ...] = ("/tmp", "/run")
    memory: int = 2 << 30
    pids: int = 2048


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """What a node says of itself. `term` orders leaders' claims (a ballot, a term); `wall_ns` and
    `monotonic_ns` are its clocks, both read at one moment."""

    node: int
    role: str
    term: tuple[int, ...] = ()
    wall_ns: int | None = None
    monotonic_ns: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


class NodeClient(Protocol):
    """A connection to one node; all of the run's clients share it. Made inside a running loop."""

    @property
    def is_open(self) -> bool: ...

    async def connect(self) -> bool:
        """Connect if need be. True once the node has answered on this connection."""
        ...

    def send(self, request: Request, answered: Answered) -> None:
        """Send a request; `answered` is called once, unless no answer ever comes. Never raises."""
        ...

    async def status(self, timeout_s: float) -> NodeStatus | None:
        """What the node says of itself; None where it does not answer in time."""
        ...

    async def close(self) -> None:
        """Nothing is under way any more; what waited for an answer gets none."""
        ...


@runtime_checkable
class WatchesLeader(Protocol):
    """What a `NodeClient` also is where its node says by itself who leads."""

    def watch_leader(self, told: LeaderTold) -> None:
        """Have `told` called whenever the node says so, on this connection and on later ones."""
        ...


class Images(Protocol):
    """What a target may ask of the engine. All raise EngineError."""

    def own(self) -> str:
        """The image of our own nodes and agents: Debian's Python on the ordinary base."""
        ...

    def build(self, repository: str, dockerfile: str, files: Mapping[str, bytes]) -> str:
        """Build an image from a Dockerfile and the files of its context, unless one of exactly
        these contents is there; its name."""
        ...

    def require(self, image: str) -> str:
        """An image by name: as it is here, else pulled."""
        ...


class Target(Protocol):
    """A system under test. `name` is what the command line calls it."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str:
        """One line for `antipaxos list targets`."""
        ...

    @property
    def client_port(self) -> int:
        """The port in the node's container at which clients are served."""
        ...

    @property
    def artifacts(self) -> Mapping[str, str]:
        """Paths in a node's container of files that are copied out at the end, and the suffix that
        each gets in the run's folder: {"/data/decided.jsonl": "decided.jsonl"}."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What `--set NAME=VALUE` gave, in the form in which it is recorded. Raises UsageError for
        a setting that this target does not have."""
        ...

    def check(self, cluster: ClusterSpec) -> None:
        """Raises UsageError for settings that this target does not have, or that cannot work."""
        ...

    def quorum(self, cluster: ClusterSpec) -> int:
        """How many voters must be up and connected for the cluster to answer."""
        ...

    def image(self, images: Images) -> str: ...

    def node(
        self, node: int, addresses: Mapping[int, str], cluster: ClusterSpec, seed: int
    ) -> NodeSpec:
        """How this node starts, and starts again. `addresses`: every node's, by number."""
        ...

    def client(self, node: int, host: str, port: int, cluster: ClusterSpec) -> NodeClient: ...


def majority(cluster: ClusterSpec) -> int:
    """The quorum of most systems."""
    return len(cluster.voter_ids()) // 2 + 1


CLOCK_FAULTS: Final = ("clock", "drift", "strobe", "monotonic")
"""Kinds of faults that change the clocks a node reads, in the vDSO of its process."""


def check_capable(
    target: Target,
    cluster: ClusterSpec,
    *,
    workload: str,
    runtime: str,
    faults: Sequence[str] = (),
) -> None:
    """Refuse what a target cannot do, whichever it is. Raises UsageError."""
    able, name = target.capabilities, target.name
    if runtime == "sim" and not able.simulated:
        raise UsageError(
            f"{name} cannot be simulated: it is not a protocol of ours",
            remedy=f"run it in containers: antipaxos run {name}, or failover with --on docker, "
            'or a suite with on = "docker"',
        )
    if cluster.mutant is not None and cluster.mutant not in able.mutants:
        choices = ", ".join(able.mutants)
        raise UsageError(
            f"no mutant of {name} {cluster.mutant!r}"
            if choices
            else f"{name} has no planted bugs: --mutant does not apply to it",
            remedy=f"choose one of: {choices}" if choices else "",
        )
    clocks = [kind for kind in faults if kind in CLOCK_FAULTS]
    if clocks and runtime != "sim" and able.clock == "syscall":
        raise UsageError(
            f"{name} asks the kernel itself for the time: "
            f"{', '.join(clocks)} faults cannot reach it",
            remedy="leave those kinds out of --faults",
        )
    if cluster.learners and not able.learners:
        raise UsageError(f"{name} has no learners: leave out --learners")
    if workload not in able.workloads:
        raise UsageError(
            f"{name} does not serve the workload {workload!r}",
            remedy=f"it serves: {', '.join(able.workloads)}",
        )
    if cluster.transport not in able.transports:
        raise UsageError(
            f"{name} does not support {cluster.transport!r} between its nodes",
            remedy=f"it supports: {', '.join(able.transports)}",
        )
    target.check(cluster)

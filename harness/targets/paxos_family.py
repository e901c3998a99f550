"""Our own protocols, each a target: the node image of `node_image/`, the same code that the
simulator runs.

    antipaxos run multi-paxos --set reads=quorum --set snapshot_every=500

Settings are the fields of `node_image.protocols.interface.ClusterConfig`. What a protocol has of
its own is among its `options`, and may be given by its name: `--set q2=2` for flexible-paxos.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar, Final, get_args, get_type_hints

from faults.generators import Draw
from harness.errors import UsageError
from harness.targets.interface import (
    Capabilities,
    ClusterSpec,
    Images,
    NodeSpec,
    Request,
    Target,
)
from harness.targets.json_lines import WatchingClient
from histories.errors import in_words
from node_image.mutants import IMPLEMENTATIONS, PROTOCOLS, protocol_class
from node_image.protocols.context import Context
from node_image.protocols.interface import DEFINITE_ERRORS, TRANSFER, ClusterConfig, Command
from node_image.protocols.quorums import from_options
from node_image.state_machine import KeyValue

CLIENT_PORT: Final = 7001
PEER_PORT: Final = 7000
DATA: Final = "/data"
CARRIER_WEIGHT: Final = 6
"""How much more often faults are aimed at messages that carry what clients ask."""
UNUSUAL: Final = ("TimeoutNow",)
"""Messages that only an administrator's request causes: no fault is aimed at them."""
SETTINGS: Final = tuple(
    f.name for f in dataclasses.fields(ClusterConfig) if f.name not in ("nodes", "learners")
)

SETTING_MAX: Final = 10**12

OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "basic-paxos": ("backoff",),
    "flexible-paxos": ("q1", "q2", "grid_rows", "thrifty"),
    "fast-paxos": ("fast",),
    "epaxos": ("fast_quorum",),
    "two-phase-commit": ("vote_timeout_us",),
}
"""Settings that only one protocol has."""
OF_LEASES: Final = ("lease_us", "clock_drift_max_us")
"""Settings without effect on a protocol that has no leases; they are accepted, but not listed."""

DEFAULTS: Final = {
    "backoff": "true",
    "q1": "a majority",
    "q2": "a majority",
    "grid_rows": "no grid",
    "thrifty": "false",
    "fast": "true",
    "fast_quorum": "the least",
    "vote_timeout_us": "election_max_us",
}
"""Of the settings that only one protocol has, in words."""
SUMMARIES: Final = {
    "basic-paxos": "Basic Paxos: each slot by itself, no leader",
    "multi-paxos": "Multi-Paxos: a leader proposes",
    "flexible-paxos": "Multi-Paxos with quorums of other sizes",
    "fast-paxos": "Fast Paxos: clients' nodes propose directly",
    "epaxos": "EPaxos: no leader, conflicts are ordered",
    "raft": "Raft: a leader replicates its log",
    "two-phase-commit": "two-phase commit, which blocks, as a contrast",
}
DESCRIBED: Final = {
    "backoff": "pause after a rejected ballot",
    "q1": "nodes in a quorum of Phase 1",
    "q2": "nodes in a quorum of Phase 2",
    "grid_rows": "rows of a grid of quorums",
    "thrifty": "send to a quorum only, not to all",
    "fast": "whether fast rounds may be opened",
    "fast_quorum": "nodes in a fast quorum",
    "vote_timeout_us": "how long votes are waited for",
    "heartbeat_us": "between heartbeats of a leader",
    "election_min_us": "shortest election timeout",
    "election_max_us": "longest election timeout",
    "election_floor_us": "least measured timeout; 0: off",
    "retry_us": "after which a message is sent again",
    "batch_max": "commands in one slot",
    "pipeline_max": "slots that are open at once",
    "pending_max": "commands that wait; more are refused",
    "snapshot_every": "slots between two snapshots",
    "sessions_max": "client sessions that are kept",
    "reads": "how a read is answered",
    "lease_us": "how long a lease of the leader holds",
    "clock_drift_max_us": "drift that leases allow for",
}
"""Every setting, in a few words. Names in `_us` are microseconds."""


class PaxosTarget:
    """One protocol of ours."""

    client_port: ClassVar[int] = CLIENT_PORT
    artifacts: ClassVar[Mapping[str, str]] = {
        f"{DATA}/{name}": name for name in ("decided.jsonl", "states.jsonl")
    }

    def __init__(self, name: str) -> None:
        self.name = name
        self.summary = SUMMARIES.get(name, name)

    @property
    def capabilities(self) -> Capabilities:
        protocol = PROTOCOLS[self.name]
        return Capabilities(
            workloads=("kv", "log"),
            reads=protocol.read_modes,
            sessions=True,
            leader=protocol.has_leader,
            learners=protocol.takes_learners,
            mutants=tuple(IMPLEMENTATIONS.get(self.name, {})),
            transports=("tcp", "udp"),
            settings=_defaults(self.name),
            described=DESCRIBED,
            decided_logs=True,
            state_digests=True,
            counters=True,
            observes_mismatch=True,
            own_clock=True,
            simulated=True,
            messages=messages_of(self.name),
            timing=_timing,
            longest_election_us=_longest_election_us,
            transfer_leadership=_transfer if protocol.transfers_leadership else None,
            sizes=SIZES.get(self.name, ()),
            draw_settings=DRAWN.get(self.name),
            needs_all_voters=self._needs_all_voters,
        )

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A setting of the protocol's own goes among its `options`."""
        settings = {name: value for name, value in given.items() if name in SETTINGS}
        options = {name: value for name, value in given.items() if name not in SETTINGS}
        if unknown := [name for name in options if name not in OPTIONS.get(self.name, ())]:
            raise _unknown_setting(self.name, unknown)
        if options:
            settings["options"] = {**settings.get("options", {}), **options}
        return settings

    def check(self, cluster: ClusterSpec) -> None:
        """Also what only the protocol itself can tell, such as quorums that do not meet."""
        config = cluster_config(self.name, cluster)
        protocol = protocol_class(self.name, cluster.mutant)
        _check_reads(self.name, config.reads, protocol.read_modes)
        try:
            protocol(Context(1, config, KeyValue(config.sessions_max), Random(0), lambda: 0))
        except (TypeError, ValueError) as error:
            raise UsageError(f"cluster settings: {error}") from None

    def quorum(self, cluster: ClusterSpec) -> int:
        voters, config = len(cluster.voter_ids()), cluster_config(self.name, cluster)
        if self._needs_all_voters(cluster.settings):
            return voters
        quorums = from_options(config)
        return max(voters // 2 + 1, quorums.q1, quorums.q2)

    def _needs_all_voters(self, settings: Mapping[str, Any]) -> bool:
        """Of a grid a whole row and a whole column are needed."""
        return PROTOCOLS[self.name].needs_all_nodes or "grid_rows" in settings.get("options", {})

    def image(self, images: Images) -> str:
        return images.own()

    def node(
        self, node: int, addresses: Mapping[int, str], cluster: ClusterSpec, seed: int
    ) -> NodeSpec:
        settings = {
            "protocol": self.name,
            "mutant": cluster.mutant,
            "node": node,
            "addresses": {str(n): [host, PEER_PORT] for n, host in addresses.items()},
            "client_port": CLIENT_PORT,
            "peer_port": PEER_PORT,
            "data": DATA,
            "transport": cluster.transport,
            "seed": seed,
            "cluster": {
                "nodes": list(cluster.node_ids()),
                "learners": list(cluster.learner_ids()),
                **cluster.settings,
            },
        }
        return NodeSpec(command=(json.dumps(settings, separators=(",", ":")),), data=DATA)

    def client(self, node: int, host: str, port: int, cluster: ClusterSpec) -> WatchingClient:
        return WatchingClient(node, host, port, DEFINITE_ERRORS)


def cluster_config(protocol: str, cluster: ClusterSpec) -> ClusterConfig:
    """The configuration of every node of this cluster. Raises UsageError."""
    settings: dict[str, Any] = cluster.settings
    options = settings.get("options", {})
    if not isinstance(options, dict):
        raise _no_object(protocol, options)
    unknown = sorted(set(settings) - set(SETTINGS))
    unknown += sorted(set(options) - set(OPTIONS.get(protocol, ())))
    if unknown:
        raise _unknown_setting(protocol, unknown)
    _check_numbers(settings)
    try:
        return ClusterConfig(nodes=cluster.node_ids(), learners=cluster.learner_ids(), **settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"cluster settings: {error}") from None


def _defaults(protocol: str) -> dict[str, str]:
    """Every setting of a protocol, and its default in words."""
    reads = PROTOCOLS[protocol].read_modes
    found = {name: DEFAULTS[name] for name in OPTIONS.get(protocol, ())}
    for field in dataclasses.fields(ClusterConfig):
        if field.name in _listed(protocol):
            found[field.name] = str(field.default)
    others = ", ".join(mode for mode in reads if mode != found["reads"])
    found["reads"] = f"{found['reads']} (or {others})" if others else found["reads"]
    return found


def _listed(protocol: str) -> tuple[str, ...]:
    """The settings of every protocol that have an effect on this one."""
    without = () if "lease" in PROTOCOLS[protocol].read_modes else OF_LEASES
    return tuple(name for name in SETTINGS if name not in ("options", *without))


def _no_object(protocol: str, options: Any) -> UsageError:
    """Options that are not an object; on the command line a text is JSON that could not be read."""
    own = OPTIONS.get(protocol, ())
    remedy = f"each can be given by its own name: --set {own[0]}=VALUE" if own else ""
    why = "it must be an object"
    if isinstance(options, str):
        try:
            json.loads(options)
        except ValueError as error:
            why = in_words(error)
    return UsageError(f"the setting options is {options!r}: {why}", remedy=remedy)


def _check_reads(protocol: str, reads: str, modes: tuple[str, ...]) -> None:
    if reads in modes:
        return
    able = [name for name, one in PROTOCOLS.items() if reads in one.read_modes]
    raise UsageError(
        f"{protocol} supports only reads={' or '.join(modes)}, not reads={reads!r}",
        remedy=f"reads={reads} is supported by {', '.join(able)}" if able else "",
    )


def _check_numbers(settings: Mapping[str, Any]) -> None:
    """Raises UsageError for a number that is none, or out of range."""
    for field in dataclasses.fields(ClusterConfig):
        value = settings.get(field.name, field.default)
        least = 0 if field.default == 0 or field.name == "clock_drift_max_us" else 1
        if isinstance(field.default, int) and (
            type(value) is not int or not least <= value <= SETTING_MAX
        ):
            raise UsageError(
                f"the setting {field.name} must be a whole number from {least} to "
                f"{SETTING_MAX:,}, not {value!r}"
            )


def _draw_quorums(draw: Draw, voters: int) -> dict[str, Any]:
    """Options of Flexible Paxos: majorities, any sizes that meet, or a grid; thrifty or not."""
    options: dict[str, Any] = {"thrifty": draw.chance(30)}
    rows = [rows for rows in range(2, voters) if voters % rows == 0]
    if rows and draw.chance(50):
        return options | {"grid_rows": draw.pick(rows)}
    if draw.chance(20):
        return options
    q2 = draw.between(1, voters)
    return options | {"q2": q2, "q1": draw.between(voters + 1 - q2, voters)}


def _transfer(client: int, seq: int, to: int) -> Request:
    return Request(client, seq, TRANSFER, "", to)


def _longest_election_us(settings: Mapping[str, Any]) -> int:
    return int(settings.get("election_max_us", ClusterConfig.election_max_us))


def _timing(election_us: int) -> dict[str, Any]:
    return {
        "heartbeat_us": max(1, election_us // 10),
        "election_min_us": election_us,
        "election_max_us": 2 * election_us,
        "election_floor_us": election_us * 2 // 5,
        "lease_us": election_us * 3 // 4,
        "clock_drift_max_us": election_us // 20,
    }


def _unknown_setting(protocol: str, names: list[str]) -> UsageError:
    known = (*OPTIONS.get(protocol, ()), *_listed(protocol))
    return UsageError(
        f"{protocol} has no setting {', '.join(map(repr, names))}",
        remedy=f"choose one of: {', '.join(known)}",
    )


def _drawn_quorums(draw: Draw, voters: int) -> dict[str, Any]:
    return {"options": _draw_quorums(draw, voters)}


SIZES: Final = {"flexible-paxos": (3, 4, 5, 5, 6, 7)}
"""Numbers of voters that a search draws, where they matter to the protocol."""
DRAWN: Final = {"flexible-paxos": _drawn_quorums}
"""Settings that a search draws, where a protocol has some of its own."""


@functools.cache
def messages_of(protocol: str) -> tuple[str, ...]:
    """The names of a protocol's message classes, for faults to be aimed at. Those that carry what
    clients ask stand in it several times: they are what most runs turn on."""
    names: list[str] = []
    for cls in protocol_class(protocol).messages:
        if cls.__name__ in UNUSUAL:
            continue
        names += [cls.__name__] * (CARRIER_WEIGHT if _carries(cls) else 1)
    return tuple(names)


def _carries(hint: Any) -> bool:
    """Whether a value of this type may hold a command, be it inside of a vote or a list."""
    if hint is Command or any(_carries(part) for part in get_args(hint)):
        return True
    is_record = isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")
    return is_record and any(_carries(part) for part in get_type_hints(hint).values())


TARGETS: Final[tuple[Target, ...]] = tuple(PaxosTarget(name) for name in PROTOCOLS)

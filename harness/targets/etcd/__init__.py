"""etcd, as Debian packages it (3.4), over gRPC.

    antipaxos run etcd --nodes 3 --faults partition,kill,pause,clock --set reads=serializable

reads         linearizable (the default), or serializable: answered by the node that is asked, from
              what it has applied; stale reads are then to be expected, and found
election_ms, heartbeat_ms, snapshot_count    as etcd's options of these names
image         another image than Debian's, such as another version; `etcd` must be in its path

etcd has no client sessions, so a write that may have had an effect is never sent again. A
compare-and-set is a transaction that compares the value (or, for null, that there is none) and
reads it where the comparison fails. Errors are taken as indefinite unless etcd certainly refused
before proposing; see https://etcd.io/docs/v3.4/learning/api/ and `api/v3rpc/rpctypes/error.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from harness.errors import UsageError
from harness.targets.etcd.client import EtcdClient
from harness.targets.interface import (
    Capabilities,
    ClusterSpec,
    Images,
    NodeSpec,
    Target,
    majority,
)

CLIENT_PORT: Final = 2379
PEER_PORT: Final = 2380
READS: Final = ("linearizable", "serializable")
NUMBERS: Final = {"election_ms": 1000, "heartbeat_ms": 100, "snapshot_count": 100_000}
"""etcd's own defaults."""
DOCKERFILE: Final = """FROM {base}
USER root
RUN apt-get update && apt-get install -y --no-install-recommends etcd-server && \\
    rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENTRYPOINT ["etcd"]
"""


def _longest_election_us(settings: Mapping[str, Any]) -> int:
    """etcd draws up to twice its timeout."""
    return 2_000 * int(settings.get("election_ms", NUMBERS["election_ms"]))


def _timing(election_us: int) -> dict[str, Any]:
    election_ms = max(10, election_us // 1000)
    return {"election_ms": election_ms, "heartbeat_ms": max(1, election_ms // 10)}


class Etcd:
    """A cluster of etcd nodes; keys hold JSON texts."""

    name: ClassVar[str] = "etcd"
    summary: ClassVar[str] = "etcd 3.4 (Raft, in Go), as Debian packages it"
    client_port: ClassVar[int] = CLIENT_PORT
    artifacts: ClassVar[Mapping[str, str]] = {}
    capabilities: ClassVar[Capabilities] = Capabilities(
        reads=READS,
        observes_mismatch=True,
        timing=_timing,
        longest_election_us=_longest_election_us,
        settings={
            "reads": f"{READS[0]} (or {READS[1]})",
            **{name: str(value) for name, value in NUMBERS.items()},
            "image": "ours with Debian's etcd-server",
        },
        described={
            "reads": "whether a read asks a quorum",
            "election_ms": "election timeout",
            "heartbeat_ms": "between heartbeats of a leader",
            "snapshot_count": "entries between two snapshots",
            "image": "an image with another version",
        },
    )

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = ("reads", *NUMBERS, "image")
        if unknown := [name for name in given if name not in known]:
            raise UsageError(
                f"etcd has no setting {', '.join(map(repr, unknown))}",
                remedy=f"choose one of: {', '.join(known)}",
            )
        return dict(given)

    def check(self, cluster: ClusterSpec) -> None:
        settings = self.settings(cluster.settings)
        if settings.get("reads", READS[0]) not in READS:
            raise UsageError(f"reads must be {' or '.join(READS)}, not {settings['reads']!r}")
        image = settings.get("image", "etcd")
        if not isinstance(image, str) or not image:
            raise UsageError(f"image must be the name of an image, not {image!r}")
        for name in NUMBERS:
            value = settings.get(name, 1)
            if type(value) is not int or value < 1:
                raise UsageError(f"{name} must be a whole number from 1, not {value!r}")
        numbers = NUMBERS | settings
        if numbers["election_ms"] < 5 * numbers["heartbeat_ms"]:
            raise UsageError(
                "etcd wants an election timeout of at least 5 heartbeats, not "
                f"{numbers['election_ms']} and {numbers['heartbeat_ms']} ms",
                remedy="raise election_ms or lower heartbeat_ms",
            )

    def quorum(self, cluster: ClusterSpec) -> int:
        return majority(cluster)

    def image(self, images: Images) -> str:
        return images.build("antipaxos/etcd", DOCKERFILE.format(base=images.own()), {})

    def node(
        self, node: int, addresses: Mapping[int, str], cluster: ClusterSpec, seed: int
    ) -> NodeSpec:
        host, numbers = addresses[node], NUMBERS | cluster.settings
        image = cluster.settings.get("image")
        members = ",".join(f"n{n}=http://{a}:{PEER_PORT}" for n, a in sorted(addresses.items()))
        return NodeSpec(
            image=image,
            entrypoint=("etcd",) if image else None,
            user="10001:10001",
            command=(
                f"--name=n{node}",
                "--data-dir=/data/etcd",
                f"--listen-client-urls=http://0.0.0.0:{CLIENT_PORT}",
                f"--advertise-client-urls=http://{host}:{CLIENT_PORT}",
                f"--listen-peer-urls=http://0.0.0.0:{PEER_PORT}",
                f"--initial-advertise-peer-urls=http://{host}:{PEER_PORT}",
                f"--initial-cluster={members}",
                "--initial-cluster-state=new",
                f"--heartbeat-interval={numbers['heartbeat_ms']}",
                f"--election-timeout={numbers['election_ms']}",
                f"--snapshot-count={numbers['snapshot_count']}",
                "--logger=zap",
            ),
        )

    def client(self, node: int, host: str, port: int, cluster: ClusterSpec) -> EtcdClient:
        serializable = cluster.settings.get("reads") == "serializable"
        return EtcdClient(node, host, port, serializable=serializable)


TARGETS: Final[tuple[Target, ...]] = (Etcd(),)

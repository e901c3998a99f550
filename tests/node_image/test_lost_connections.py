"""A leader whose connection is lost: who asks for votes then, who grants them, and who does not.

By hand for single nodes, and with real processes behind proxies whose connections are reset.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from node_image.protocols import multi_paxos_messages as m
from node_image.protocols import raft_messages as r
from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import SetTimer
from tests.node_image.processes import HOST, Cluster, until
from tests.node_image.test_election_timing import PROTOCOLS, Election

LEADER = 2


class Follower(Election):
    """Node 3 of five, which has just heard node 2 lead."""

    def __init__(self, protocol: str, node: int = 3) -> None:
        super().__init__(protocol, node=node, nodes=5)
        self.beat()

    def beat(self) -> None:
        if self.raft:
            self.driven.receive(LEADER, r.Append(1, 0, 0, (), 0, 1))
        else:
            self.driven.receive(LEADER, m.Heartbeat(Ballot(1, LEADER), 0, 0, 1))

    def lose(self, peer: int) -> list[int]:
        """The delays to which the election timer was set."""
        effects = self.driven.lose(peer)
        return [e.delay_us for e in effects if isinstance(e, SetTimer) and e.name == "election"]

    def asks_after(self, delay_us: int) -> bool:
        self.driven.wake("election", delay_us)
        return bool(self.driven.sent(r.PreVote if self.raft else m.Probe))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_followers_ask_for_votes_within_about_a_heartbeat_one_after_the_other(
    protocol: str,
) -> None:
    delays = []
    for node in (3, 4, 5, 1):
        follower = Follower(protocol, node)
        follower.driven.now += 1_000
        (delay_us,) = follower.lose(LEADER)
        delays.append(delay_us)
        assert follower.driven.status.leader is None
        assert follower.asks_after(delay_us)
    assert delays == sorted(delays)
    assert all(later - earlier >= 5_000 for earlier, later in itertools.pairwise(delays))
    assert delays[-1] <= follower.driven.config.heartbeat_us * 5 // 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_voter_that_still_hears_the_leader_refuses(protocol: str) -> None:
    voter = Follower(protocol)
    voter.driven.now += 1_000
    assert not voter.ask_first(2, sender=5)
    assert voter.lose(4) == [], "node 4 does not lead"
    assert not voter.ask_first(2, sender=5)
    voter.lose(LEADER)
    assert voter.ask_first(2, sender=5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leader_that_is_heard_again_ends_the_doubt(protocol: str) -> None:
    follower = Follower(protocol)
    (delay_us,) = follower.lose(LEADER)
    follower.beat()
    assert not follower.asks_after(delay_us)
    (rest,) = [e.delay_us for e in follower.driven.effects if isinstance(e, SetTimer)]
    assert rest > follower.driven.config.heartbeat_us, "it waits as it did before"
    assert not follower.ask_first(2, sender=5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leader_is_heard_at_once_on_a_new_connection(protocol: str) -> None:
    node = Election(protocol)
    driven = node.driven
    heartbeat: type[Any] = r.Append if node.raft else m.Heartbeat
    driven.reconnect(1)
    assert not driven.sent(heartbeat), "it does not lead"
    driven.protocol.context.out = []
    driven.protocol.leadership.begin(driven.now)
    driven.reconnect(1)
    assert driven.sent(heartbeat)


# ---------------------------------------------------------------------- real processes

SLOW = {"heartbeat_us": 200_000, "election_min_us": 4_000_000, "election_max_us": 8_000_000}


class Proxy:
    """Forwards TCP connections to a port, and resets them when told to."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server((HOST, 0))
        self.port = self._server.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((HOST, self._target))
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> int:
        """Break every connection that is there; how many."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def close(self) -> None:
        self._server.close()
        self.reset()


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_a_killed_leader_is_replaced_long_before_the_time_out(
    tmp_path: Path, protocol: str
) -> None:
    with Cluster(tmp_path, protocol=protocol, cluster=SLOW) as cluster:
        leader = cluster.leader()
        assert cluster.do(1, 1, "write", "x", 9)["error"] is None
        cluster.kill(leader)
        began = time.monotonic()
        assert cluster.leader() != leader
        assert time.monotonic() - began < 2, "the timeout is at least 4 s"
        assert cluster.do(1, 2, "read", "x")["value"] == 9


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_connections_that_are_reset_without_a_death_cost_no_election(
    tmp_path: Path, protocol: str
) -> None:
    """One link, and then all at once: every connection between the nodes goes through a proxy."""
    cluster = Cluster(tmp_path, protocol=protocol, cluster=SLOW)
    proxies: dict[tuple[int, int], Proxy] = {}
    for a in cluster.nodes:
        for b in cluster.nodes:
            if a != b:
                proxies[a, b] = Proxy(int(cluster.addresses[str(b)][1]))
    real = cluster.addresses

    def start(node: int) -> None:
        addresses = {
            str(n): real[str(n)] if n == node else [HOST, proxies[node, n].port]
            for n in cluster.nodes
        }
        cluster.start(node, addresses=addresses)

    try:
        for node in cluster.nodes:
            start(node)
        leader = cluster.leader()
        others = [n for n in cluster.nodes if n != leader]
        assert cluster.do(1, 1, "write", "x", 1)["error"] is None
        until(lambda: all(cluster.status(n)["leader"] == leader for n in others), "all follow")
        links = [[(leader, others[0])], [(others[1], leader)], list(proxies)]
        for number, broken in enumerate(links):
            before = {n: cluster.status(n)["counters"]["transport.connects"] for n in others}
            assert sum(proxies[link].reset() for link in broken) >= len(broken)
            time.sleep(1)
            assert cluster.do(1, 2 + number, "write", "x", number)["error"] is None
            if number == 2:
                after = {n: cluster.status(n)["counters"]["transport.connects"] for n in others}
                assert all(after[n] > before[n] for n in others), "they had to connect again"
        assert cluster.leader() == leader
        assert any("leader-lost" in cluster.events(n) for n in others)
        leading = sum(cluster.events(n).count("leading") for n in cluster.nodes)
        assert leading == 1
    finally:
        for proxy in proxies.values():
            proxy.close()
        cluster.__exit__()

"""Whole nodes, as processes on loopback: the behaviour seen by clients and operators."""

from __future__ import annotations

import json
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from node_image.server.wal import MAGIC
from tests.node_image.processes import Cluster, until

FAST = {"heartbeat_us": 40_000, "election_min_us": 200_000, "election_max_us": 400_000}


def caught_up(cluster: Cluster, node: int) -> bool:
    applied = {n: cluster.status(n)["applied"] for n in cluster.nodes}
    return applied[node] == max(applied.values())


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_killed_node_restarts_and_nothing_is_lost(tmp_path: Path, transport: str) -> None:
    with Cluster(tmp_path, transport=transport, cluster=FAST) as cluster:
        assert cluster.do(1, 1, "write", "x", 9)["error"] is None
        assert cluster.do(1, 2, "read", "x")["value"] == 9
        leader = cluster.leader()
        cluster.kill(leader)
        assert cluster.do(1, 3, "cas", "x", [9, 10])["error"] is None
        assert cluster.do(1, 4, "cas", "x", [9, 11]) | {"id": 0} == {
            "id": 0,
            "node": cluster.leader(),
            "error": "mismatch",
            "value": 10,
            "leader": cluster.leader(),
        }
        cluster.start(leader)
        until(lambda: caught_up(cluster, leader), "the killed node catches up")
        assert "recovered" in cluster.events(leader)
        for node in cluster.nodes:
            cluster.kill(node)
        for node in cluster.nodes:
            cluster.start(node)
        assert cluster.do(1, 5, "read", "x")["value"] == 10
        decided = {n: {d["slot"]: d["commands"] for d in cluster.decided(n)} for n in cluster.nodes}
    slots = set().union(*decided.values())
    assert all(len({str(d[s]) for d in decided.values() if s in d}) == 1 for s in slots)
    assert any([1, 1, "write", "x", 9] in commands for commands in decided[leader].values())


def test_snapshots_bound_the_disk_and_let_a_node_catch_up(tmp_path: Path) -> None:
    cluster_settings = {**FAST, "snapshot_every": 20}
    with Cluster(tmp_path, cluster=cluster_settings) as cluster:
        leader = cluster.leader()
        absent = next(n for n in cluster.nodes if n != leader)
        cluster.kill(absent)
        with cluster.connect(leader) as client:
            for seq in range(1, 101):
                request = {"id": seq, "client": 1, "seq": seq, "f": "append", "key": "x"}
                assert client.ask({**request, "value": seq})["error"] is None
        cluster.start(absent)
        until(lambda: caught_up(cluster, absent), "the absent node catches up")
        until(lambda: "snapshot-installed" in cluster.events(absent), "by a snapshot")
        assert cluster.do(1, 101, "read", "x")["value"] == list(range(1, 101))
        assert cluster.status(leader)["counters"]["snapshots"] >= 4
        held = [slot for slot, *_ in _decided(cluster, leader)]
        assert len(held) <= 40


def _decided(cluster: Cluster, node: int) -> list[Any]:
    with cluster.connect(node) as client:
        decided: list[Any] = client.ask({"id": 1, "f": "decided", "start": 0})["decided"]
        return decided


def test_the_client_port_follows_its_documentation(tmp_path: Path) -> None:
    with Cluster(tmp_path, cluster=FAST) as cluster:
        leader = cluster.leader()
        with cluster.connect(leader) as client:
            request = {"id": "mine", "client": 3, "seq": 5, "f": "write", "key": "k", "value": 1}
            assert client.ask(request) == {
                "id": "mine",
                "node": leader,
                "error": None,
                "value": None,
                "leader": leader,
            }
            assert client.ask({**request, "f": "increment"})["error"] == "unsupported"
            status = client.ask({"id": [1], "f": "status"})
            assert status["id"] == [1]
            assert (status["role"], status["leader"], status["node"]) == ("leader", leader, leader)
            assert status["applied"] == status["decided"] >= 1
            assert abs(status["wall_us"] - _wall_us()) < 3_600_000_000
            assert status["counters"]["sent.Accept"] >= 2
            assert status["counters"]["disk.syncs"] >= 1
            decided = client.ask({"id": 2, "f": "decided", "start": 0})
            assert decided["decided"][-1][2] == [[3, 5, "write", "k", 1]]
        follower = next(n for n in cluster.nodes if n != leader)
        until(lambda: cluster.status(follower)["leader"] == leader, "the follower knows")
        with cluster.connect(follower) as client:
            refused = client.ask({**request, "seq": 6})
            assert (refused["error"], refused["leader"]) == ("not-leader", leader)


def _wall_us() -> int:
    return time.time_ns() // 1_000


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"17",
        b"[]",
        b'{"id":7}',
        b'{"id":7,"client":1,"seq":1}',
        b'{"id":7,"client":0,"seq":1,"f":"read","key":"x"}',
        b'{"id":7,"client":1,"seq":"1","f":"read","key":"x"}',
        b'{"id":7,"client":1,"seq":true,"f":"read","key":"x"}',
        b'{"id":7,"client":1,"seq":1,"f":"read","key":9}',
        b'{"id":7,"client":1,"seq":1,"f":["read"],"key":"x"}',
        b'{"id":7,"f":"decided","start":"a"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_malformed_requests_are_answered(line: bytes, one_node: Cluster) -> None:
    with one_node.connect(1) as client:
        client.send(line + b"\n" + b'{"id":8,"f":"status"}\n')
        answer = client.read()
        assert answer["error"] == "bad-request"
        assert answer["detail"]
        assert answer["id"] == (7 if b'"id":7' in line else None)
        assert client.read()["id"] == 8, "and the connection stays open"


def test_an_endless_line_ends_only_the_connection(one_node: Cluster) -> None:
    with one_node.connect(1) as client:
        try:
            client.send(b"x" * 3_000_000)
            assert client.read()["error"] == "bad-request"
        except OSError:
            pass  # it closed the connection while we were still sending
    assert one_node.status(1)["role"] == "leader"


def test_requests_of_one_connection_are_pipelined_and_a_disconnect_is_harmless(
    one_node: Cluster,
) -> None:
    lines = [
        json.dumps({"id": i, "client": 50 + i, "seq": 1, "f": "append", "key": "p", "value": i})
        for i in range(100)
    ]
    data = ("\n".join(lines) + "\n").encode()
    with one_node.connect(1) as client:
        client.send(data)
        assert sorted(client.read()["id"] for _ in range(100)) == list(range(100))
    with one_node.connect(1) as client:
        client.send(data.replace(b'"p"', b'"q"').replace(b'"seq": 1', b'"seq": 2'))
    until(lambda: len(one_node.do(2, 1, "read", "q")["value"] or ()) == 100, "all were applied")


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Cluster(tmp_path_factory.mktemp("one"), 1, cluster=FAST) as cluster:
        cluster.leader()
        yield cluster


def test_sigterm_stops_cleanly(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1, cluster=FAST) as cluster:
        cluster.do(1, 1, "write", "x", 1)
        cluster.processes[1].send_signal(signal.SIGTERM)
        assert cluster.processes[1].wait(20) == 0
        events = cluster.events(1)
        assert events[0] == "started"
        assert events[-1] == "stopped"
        assert {"recovered", "ready", "election", "leading"} <= set(events)
        times = [line["time"] for line in cluster.log(1)]
        assert times == sorted(times)


def test_a_torn_tail_is_noted_and_a_damaged_log_is_refused(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1, cluster=FAST) as cluster:
        for seq in range(1, 6):
            cluster.do(1, seq, "write", "x", seq)
        cluster.kill(1)
        log = cluster.data(1) / "wal"
        whole = log.read_bytes()
        log.write_bytes(whole + b"torn")
        cluster.start(1)
        assert cluster.do(1, 6, "read", "x")["value"] == 5
        assert "torn-tail" in cluster.events(1)
        cluster.kill(1)
        damaged = bytearray(log.read_bytes())
        damaged[len(MAGIC) + 20] ^= 0xFF
        log.write_bytes(damaged)
        cluster.start(1)
        assert cluster.processes[1].wait(20) == 3
        assert "damaged log" in cluster.log_file(1).read_text().splitlines()[-1]


def test_a_full_disk_stops_the_node(tmp_path: Path) -> None:
    """The process may write files of at most 200 kB: pwrite fails, as on a full disk."""
    with Cluster(tmp_path, 1, cluster=FAST) as cluster:
        cluster.leader()
        process = cluster.processes[1]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
        with cluster.connect(1) as client:
            acknowledged = 0
            try:
                for seq in range(1, 1_000):
                    request = {"id": seq, "client": 1, "seq": seq, "f": "write", "key": "x"}
                    assert client.ask({**request, "value": "v" * 1_000})["error"] is None
                    acknowledged = seq
            except OSError:
                pass
        assert process.wait(20) == 4
        assert cluster.events(1)[-2:] == ["disk-error", "stopped"]
        assert 50 < acknowledged < 300
        cluster.start(1)
        assert cluster.do(2, 1, "read", "x")["value"] == "v" * 1_000
        decided = {tuple(c[:2]) for d in cluster.decided(1) for c in d["commands"]}
        assert {(1, seq) for seq in range(1, acknowledged + 1)} <= decided


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1, cluster=FAST) as cluster:
        cluster.leader()
        first = cluster.processes.pop(1)
        try:
            cluster.start(1, data=str(tmp_path / "other"))
            assert cluster.processes[1].wait(20) == 2
            assert "address already in use" in cluster.log_file(1).read_text().splitlines()[-1]
            cluster.start(1, client_port=0, peer_port=0)
            assert cluster.processes[1].wait(20) == 2
            assert "another node uses" in cluster.log_file(1).read_text().splitlines()[-1]
        finally:
            first.kill()
            first.wait()


@pytest.mark.parametrize("mutant", ["M5", "B6", "M3", "M8"])
def test_a_mutant_runs_as_a_node(tmp_path: Path, mutant: str) -> None:
    with Cluster(tmp_path, mutant=mutant, cluster=FAST) as cluster:
        assert cluster.do(1, 1, "write", "x", 1)["error"] is None
        assert cluster.do(1, 2, "read", "x")["value"] == 1
        assert all(cluster.log(n)[0]["mutant"] == mutant for n in cluster.nodes)


def test_clients_that_watch_are_told_who_leads(tmp_path: Path) -> None:
    """Once at the question, and again, by each node that finds out, without being asked."""
    with Cluster(tmp_path, count=3, cluster=FAST) as cluster:
        leader = cluster.leader()
        follower = next(n for n in cluster.nodes if n != leader)
        until(lambda: cluster.status(follower)["leader"] == leader, "it follows")
        with cluster.connect(follower) as client:
            first = client.ask({"id": 1, "f": "watch"})
            assert (first["id"], first["node"]) == (1, follower)
            ballot = first["ballot"]
            cluster.kill(first["leader"])
            told = client.read()
            assert "id" not in told and told["node"] == follower
            assert told["leader"] != first["leader"] and told["ballot"] > ballot
            assert client.ask({"id": 2, "f": "status"})["leader"] == told["leader"]

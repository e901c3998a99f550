"""A node's settings: parsed correctly, or refused in one sentence with the reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from node_image.server.node import main
from node_image.server.settings import BadSettings, parse_settings

GOOD: dict[str, Any] = {
    "protocol": "multi-paxos",
    "node": 2,
    "addresses": {"1": ["a", 7000], "2": ["b", 7000], "3": ["c", 7000]},
    "data": "/nowhere",
}


def parse(**changes: Any) -> Any:
    given = {**GOOD, **changes}
    return parse_settings(json.dumps({k: v for k, v in given.items() if v is not ...}))


def test_defaults() -> None:
    settings = parse()
    assert settings.cluster.nodes == (1, 2, 3)
    assert (settings.peer_port, settings.client_port, settings.transport) == (7000, 7001, "tcp")
    assert settings.mutant is None
    assert settings.addresses[3] == ("c", 7000)


def test_all_cluster_settings_are_parsed() -> None:
    cluster = parse(cluster={"learners": [3], "reads": "lease", "options": {"q1": 2}}).cluster
    assert cluster.learners == (3,)
    assert cluster.voters == (1, 2)
    assert (cluster.reads, cluster.options) == ("lease", {"q1": 2})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"protocol": "multipaxos"}, "no protocol 'multipaxos'; choose one of .*multi-paxos"),
        ({"mutant": "M99"}, "no mutant of multi-paxos 'M99'; choose one of .*M5"),
        ({"protocol": ...}, "the setting 'protocol' is missing"),
        ({"data": ...}, "the setting 'data' is missing"),
        ({"node": 4}, "node 4 has no address"),
        ({"node": "2"}, "node must be a whole number"),
        ({"addresses": {}}, "addresses must be an object"),
        ({"addresses": {"2": ["b"]}}, "addresses: "),
        ({"addresses": {"2": ["b", 99999]}}, "must be a port"),
        ({"transport": "carrier-pigeon"}, "transport must be tcp or udp"),
        ({"client_port": -1}, "client_port must be a port"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"colour": "red"}, "unknown setting 'colour'; the settings are protocol"),
        (
            {"cluster": {"heartbeat": 5}},
            "unknown cluster setting 'heartbeat'; the settings are nodes",
        ),
        ({"cluster": {"heartbeat_us": "5"}}, "heartbeat_us must be a whole number"),
        ({"cluster": {"heartbeat_us": 10**9}}, "need 0 < heartbeat_us"),
        ({"cluster": {"learners": [1, 2, 3]}}, "at least one node that votes"),
        ({"cluster": []}, "cluster must be a JSON object"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadSettings, match=why):
        parse(**changes)


@pytest.mark.parametrize("text", ["", "{", "[]", "17"])
def test_settings_that_are_not_an_object_are_refused(text: str) -> None:
    with pytest.raises(BadSettings):
        parse_settings(text)


@pytest.mark.parametrize(
    "arguments",
    [[], ["{"], ["/no/such/file"], ["a", "b"], [json.dumps({**GOOD, "node": 9})]],
)
def test_a_node_that_cannot_start_reports_it_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTIPAXOS_NODE", raising=False)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.startswith("antipaxos node: ")
    assert out == ""


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        ({"reads": "hope"}, "reads must be one of log, quorum, lease"),
        ({"reads": "lease", "lease_us": 1}, "lease_us must be more than clock_drift_max_us"),
        ({"options": {"q1": 1, "q2": 2}}, "Q1 [+] Q2 must be more than the 3 acceptors"),
    ],
)
def test_settings_that_the_protocol_refuses_are_refused_before_anything_starts(
    cluster: dict[str, Any], why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = {**GOOD, "protocol": "flexible-paxos", "data": str(tmp_path), "cluster": cluster}
    assert main([json.dumps(settings)]) == 2
    err = capsys.readouterr().err
    assert re.search(why, err)
    assert err.count("\n") == 1
    assert not (tmp_path / "wal").exists()

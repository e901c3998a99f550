"""The requirements on every target, and what each refuses, without starting anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.errors import HarnessError, UsageError
from harness.run.config import RunConfig
from harness.targets import settings_of, target_named, targets
from harness.targets.interface import ClusterSpec, Target, check_capable
from harness.workloads import WORKLOADS


@pytest.mark.parametrize("name", sorted(targets()))
def test_every_target_describes_itself(name: str) -> None:
    target = target_named(name)
    cluster = ClusterSpec(nodes=3)
    addresses = {n: f"10.0.0.{n}" for n in cluster.node_ids()}
    assert target.name == name and target.summary and "\n" not in target.summary
    assert 0 < target.client_port < 65536
    assert set(target.capabilities.workloads) <= set(WORKLOADS)
    assert 1 <= target.quorum(cluster) <= 3
    target.check(cluster)
    spec = target.node(2, addresses, cluster, seed=1)
    assert all(isinstance(word, str) for word in spec.command) and spec.data.startswith("/")
    assert any("10.0.0.3" in word for word in spec.command)
    with pytest.raises(UsageError, match="no_such_setting"):
        settings_of(name, {"no_such_setting": 1})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "nothing"}, "no target 'nothing'"),
        ({"target": "etcd", "mutant": "M5"}, "no planted bugs"),
        ({"target": "etcd", "on": "sim"}, "cannot be simulated"),
        ({"target": "etcd", "learners": 1}, "no learners"),
        ({"target": "etcd", "workload": "log"}, "does not serve the workload 'log'"),
        ({"target": "etcd", "transport": "udp"}, "does not support 'udp'"),
        ({"target": "etcd", "settings": {"reads": "any"}}, "linearizable or serializable"),
        ({"target": "etcd", "settings": {"election_ms": 200}}, "5 heartbeats"),
        ({"target": "etcd", "settings": {"image": 3}}, "image must be the name of an image, not 3"),
        ({"target": "multi-paxos", "settings": {"options": {"q1": 4}}}, "no setting 'q1'"),
        ({"target": "multi-paxos", "mutant": "X9"}, "X9"),
        ({"target": "two-phase-commit", "learners": 1}, "no learners"),
        ({"target": "/no/such/file.py"}, "no such file"),
    ],
)
def test_what_a_target_cannot_do_is_refused_with_a_message(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(HarnessError, match=words) as caught:
        RunConfig.of(**options)
    assert caught.value.exit_code >= 64


def test_clock_faults_are_refused_for_a_program_that_reads_the_kernels_clock() -> None:
    etcd = target_named("etcd")
    asking = replace(etcd.capabilities, clock="syscall")
    stubborn = SimpleNamespace(name="etcd", capabilities=asking, check=etcd.check)
    for kind in ("clock", "drift", "strobe", "monotonic"):
        with pytest.raises(UsageError, match=f"{kind} faults cannot reach it"):
            check_capable(
                cast(Target, stubborn),
                ClusterSpec(),
                workload="kv",
                runtime="docker",
                faults=(kind,),
            )


def test_a_setting_of_one_protocol_may_be_given_by_its_own_name() -> None:
    assert settings_of("flexible-paxos", {"q1": 4, "q2": 2, "reads": "log"}) == {
        "reads": "log",
        "options": {"q1": 4, "q2": 2},
    }
    with pytest.raises(UsageError, match="no setting 'q1'"):
        settings_of("raft", {"q1": 4})


def test_a_file_without_a_target_is_refused(tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.py", tmp_path / "broken.py"
    empty.write_text("")
    broken.write_text("raise RuntimeError('boom')")
    with pytest.raises(UsageError, match="must have a tuple TARGETS"):
        target_named(str(empty))
    with pytest.raises(UsageError, match="RuntimeError: boom"):
        target_named(str(broken))


@pytest.mark.parametrize(
    ("target", "settings", "within_s"),
    [
        ("raft", {}, 15),
        ("multi-paxos", {"election_min_us": 5_000_000, "election_max_us": 10_000_000}, 50),
        ("etcd", {}, 15),
        ("etcd", {"election_ms": 5_000, "heartbeat_ms": 500}, 50),
    ],
)
def test_slow_elections_have_longer_to_be_live(
    target: str, settings: dict[str, int], within_s: int
) -> None:
    config = RunConfig.of(target=target, settings=settings)
    assert config.answer_within_us == within_s * 1_000_000

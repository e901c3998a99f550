"""The requirements on every runtime. The tests are parametrised by the runtimes' factories."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.kinds.clock import ClockJump
from faults.kinds.kill import Kill
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from harness.run.config import RunConfig
from harness.runtimes.docker.runtime import DockerRuntime
from harness.runtimes.interface import FaultReport, Runtime, World
from harness.runtimes.sim.runtime import SimRuntime
from harness.targets.interface import Response
from histories.agreement import check_agreement, read_decided
from histories.replica_states import compare, read_states
from node_image.protocols.interface import Command
from tests.conformance.script import Ask, Heal, Inject, Script, ScriptedConductor, Sleep

MS = 1_000
NODES = (1, 2, 3)
PATIENCE = 60
"""How often a client tries all nodes before a test gives up on an answer."""

FACTORIES: dict[str, Callable[[RunConfig], Runtime]] = {
    "sim": SimRuntime,
    "docker": lambda config: DockerRuntime(config, f"conformance-{secrets.token_hex(3)}"),
}


@pytest.fixture(params=["sim", pytest.param("docker", marks=pytest.mark.docker)])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """A runtime with a ready cluster of three; closed in any case."""
    on = str(request.param)
    settings = {"snapshot_every": 4}
    config = RunConfig.of(target="multi-paxos", nodes=3, seed=5, on=on, settings=settings)
    made = FACTORIES[on](config)
    try:
        made.open()
        yield made
    finally:
        made.close()


def drive(runtime: Runtime, script: Callable[[World], Script]) -> ScriptedConductor:
    conductor = ScriptedConductor(script)
    runtime.drive(conductor)  # type: ignore[arg-type]
    assert conductor.done
    return conductor


class Client:
    """Tries the nodes in turn until one answers."""

    def __init__(self) -> None:
        self._seq = itertools.count(1)
        self._guess = 1

    def ask(
        self, f: str, key: str, value: Any = None, among: tuple[int, ...] = NODES
    ) -> Generator[Any, Any, Response]:
        command = Command(7, next(self._seq), f, key, value)
        for _ in range(PATIENCE):
            node = self._guess if self._guess in among else among[0]
            answer = yield Ask(node, command)
            if answer is not None and answer.error in (None, "mismatch"):
                return answer
            hint = answer.leader if answer is not None else None
            self._guess = hint if hint in among else among[(among.index(node) + 1) % len(among)]
            yield Sleep(50 * MS)
        raise AssertionError(f"none of {among} answered {command}")

    @property
    def leader(self) -> int:
        return self._guess


def times(identity: str) -> dict[str, Any]:
    return {"id": identity, "start_us": 0, "duration_us": 1}


def test_what_is_written_is_read_and_a_mismatch_says_what_it_saw(runtime: Runtime) -> None:
    seen: list[Response] = []

    def script(_: World) -> Script:
        client = Client()
        seen.append((yield from client.ask("write", "k", 5)))
        seen.append((yield from client.ask("read", "k")))
        seen.append((yield from client.ask("cas", "k", [4, 6])))
        seen.append((yield from client.ask("cas", "k", [5, 6])))
        seen.append((yield from client.ask("read", "k")))
        seen.append((yield from client.ask("read", "never-written")))

    conductor = drive(runtime, script)
    assert [(r.error, r.value) for r in seen] == [
        (None, None),
        (None, 5),
        ("mismatch", 5),
        (None, None),
        (None, 6),
        (None, None),
    ]
    calls = [told.about[0] for told in conductor.told if told.what == "answered"]
    assert len(calls) == len(set(calls)), "a call was answered twice"


def test_time_advances_and_wakes_come_at_the_requested_time_or_later(runtime: Runtime) -> None:
    woken: list[tuple[int, int]] = []

    def script(world: World) -> Script:
        for us in (1 * MS, 20 * MS, 100 * MS):
            before = yield Sleep(0)
            after = yield Sleep(us)
            woken.append((before + us, after))
        world.wake(1 << 60)  # far away; the next call replaces it
        yield Sleep(10 * MS)

    conductor = drive(runtime, script)
    assert all(late >= due for due, late in woken)
    moments = [told.now_us for told in conductor.told]
    assert moments == sorted(moments)


def test_the_leader_that_the_runtime_names_takes_commands(runtime: Runtime) -> None:
    def script(world: World) -> Script:
        client = Client()
        yield from client.ask("write", "k", 1)
        for _ in range(PATIENCE):
            leader = world.leader()
            if leader is not None:
                answer = yield Ask(leader, Command(8, 1, "write", "k", 2))
                if answer is not None and answer.error is None:
                    return
            yield Sleep(50 * MS)
        raise AssertionError("the runtime named no leader that accepts commands")

    drive(runtime, script)


def test_a_killed_node_refuses_and_restarts_with_its_data(runtime: Runtime) -> None:
    reports: list[FaultReport] = []

    def script(_: World) -> Script:
        client = Client()
        yield from client.ask("write", "k", 5)
        kill = Kill(**times("kill"), nodes=(client.leader,))
        reports.append((yield Inject(kill)))
        answer = yield Ask(client.leader, Command(9, 1, "read", "k", None))
        assert answer is None or answer.error in ("refused", "disconnected")
        others = tuple(n for n in NODES if n not in kill.nodes)
        read = yield from Client().ask("read", "k", among=others)
        assert read.value == 5
        reports.append((yield Heal(kill)))
        yield from _answers_at_all(kill.nodes[0])

    drive(runtime, script)
    _all_verified(reports)


def _answers_at_all(node: Any) -> Generator[Any, Any, None]:
    for seq in range(1, PATIENCE):
        answer = yield Ask(node, Command(10, seq, "read", "k", None))
        if answer is not None and answer.error not in ("refused", "disconnected"):
            return
        yield Sleep(50 * MS)
    raise AssertionError(f"n{node} does not answer")


def test_a_paused_node_does_not_answer_until_it_is_resumed(runtime: Runtime) -> None:
    reports: list[FaultReport] = []

    def script(_: World) -> Script:
        client = Client()
        yield from client.ask("write", "k", 5)
        pause = Pause(**times("pause"), nodes=(client.leader,))
        reports.append((yield Inject(pause)))
        answer = yield Ask(client.leader, Command(9, 1, "read", "k", None))
        assert answer is None
        reports.append((yield Heal(pause)))
        yield from _answers_at_all(pause.nodes[0])

    drive(runtime, script)
    _all_verified(reports)


def test_an_isolated_leader_acknowledges_nothing(runtime: Runtime) -> None:
    reports: list[FaultReport] = []

    def script(_: World) -> Script:
        client = Client()
        yield from client.ask("write", "k", 5)
        leader = client.leader
        cut = Partition(**times("cut"), nodes=(leader,), shape="isolate").resolve(leader, NODES)
        reports.append((yield Inject(cut)))
        answer = yield Ask(leader, Command(9, 1, "write", "k", 6))
        assert answer is None or answer.error is not None
        others = tuple(n for n in NODES if n != leader)
        read = yield from Client().ask("read", "k", among=others)
        assert read.value == 5
        reports.append((yield Heal(cut)))
        yield from client.ask("write", "k", 7)

    drive(runtime, script)
    _all_verified(reports)


def test_a_clock_that_jumps_is_corrected_again(runtime: Runtime) -> None:
    reports: list[FaultReport] = []

    def script(_: World) -> Script:
        jump = ClockJump(**times("jump"), nodes=(2,), offset_us=3_600_000 * MS)
        reports.append((yield Inject(jump)))
        yield from Client().ask("write", "k", 1)
        reports.append((yield Heal(jump)))

    drive(runtime, script)
    _all_verified(reports)
    assert all(set(report.moments_ns) == {2} for report in reports)


def test_what_the_nodes_decided_is_collected_and_agrees(runtime: Runtime, tmp_path: Path) -> None:
    def script(_: World) -> Script:
        client = Client()
        for value in range(1, 6):
            yield from client.ask("write", "k", value)
        yield Sleep(500 * MS)

    drive(runtime, script)
    runtime.collect(tmp_path)
    notes: list[str] = []
    decided = {n: list(read_decided(tmp_path / f"n{n}.decided.jsonl", notes)) for n in NODES}
    assert not notes and check_agreement(decided).outcome == "valid"
    written = {c[4] for log in decided.values() for d in log for c in d.commands if c[2] == "write"}
    assert written == {1, 2, 3, 4, 5}
    assert all((tmp_path / f"n{n}.log.jsonl").read_text().strip() for n in NODES)
    states = {n: list(read_states(tmp_path / f"n{n}.states.jsonl", notes)) for n in NODES}
    assert not notes and all(states.values()) and not compare(states).divergences


def test_closing_twice_is_safe_and_versions_are_strings(runtime: Runtime) -> None:
    assert all(isinstance(v, str) for v in runtime.versions().values())
    runtime.close()


def _all_verified(reports: list[FaultReport]) -> None:
    assert reports
    for report in reports:
        assert report.verified, report.problem

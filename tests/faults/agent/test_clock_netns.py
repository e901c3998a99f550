"""The clocks of real programs, jumped, drifted and healed: CPython, and C through its library."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.agent.processes import thread_states
from tests.faults.agent.pods import Agent, Beside, beside, compiled, lone_agent, until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the clock's code is x86-64"),
]

NS = 10**9
HOUR = 3600 * NS
SLACK = 60 * NS
"""The clocks of two processes are read one after the other, on a machine that may be busy."""

PYTHON = """
import sys, time
for line in sys.stdin:
    print(time.time_ns(), time.clock_gettime_ns(5), time.time_ns(),
          time.time_ns(), time.monotonic_ns(), flush=True)
"""


@pytest.fixture(scope="module")
def c_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled("clocks.c", tmp_path_factory.mktemp("c"), "-O2", "-pthread")


@pytest.fixture(params=["CPython", "C"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "CPython":
        return (sys.executable, "-c", PYTHON)
    return (request.getfixturevalue("c_program"),)


@pytest.fixture
def agent() -> Iterator[Agent]:
    with lone_agent() as agent:
        yield agent


def assert_off(node: Beside, offset_ns: int) -> None:
    """All clocks of the time of day are off by this; the monotonic one is correct."""
    *walls, monotonic = node.ask()
    for wall in walls:
        assert abs(wall - offset_ns - time.time_ns()) < SLACK, (walls, offset_ns)
    assert abs(monotonic - time.monotonic_ns()) < SLACK


def test_a_clock_jumps_and_is_corrected(agent: Agent, command: tuple[str, ...]) -> None:
    with beside(agent, *command) as node:
        assert_off(node, 0)
        for offset_ns in (HOUR, -HOUR, -HOUR + 1, 0, 30 * 365 * 24 * HOUR, 0, 0):
            answer = agent.do("clock", offset_ns=offset_ns)
            assert len(answer["pids"]) == 1
            assert answer["began_ns"] <= answer["done_ns"] <= time.monotonic_ns()
            assert_off(node, offset_ns)
            probe = agent.do("probe_clock")
            assert probe["offset_ns"] == offset_ns
            assert probe["patched"] == bool(offset_ns)
            (seen,) = probe["processes"]
            assert seen["offset_ns"] == offset_ns and seen["pid"] == answer["pids"][0]
            if offset_ns:
                assert seen["code_is_ours"]
                assert abs(seen["demonstrated_ns"] - offset_ns) < SLACK


def test_the_host_and_the_agent_keep_their_time(agent: Agent) -> None:
    with beside(agent, sys.executable, "-c", PYTHON):
        before = time.time_ns() - time.monotonic_ns()
        agent.do("clock", offset_ns=HOUR)
        assert abs(time.time_ns() - time.monotonic_ns() - before) < SLACK


def test_a_clock_drifts_from_the_time_of_the_request(agent: Agent) -> None:
    """At four times the speed. A line's readings may be some time apart on a busy machine."""
    with beside(agent, sys.executable, "-c", PYTHON) as node:
        agent.do("clock", offset_ns=HOUR, drift_ppm=1_000_000 * 3)
        assert_off(node, HOUR)
        wall, *_, monotonic = node.ask()
        until(lambda: time.monotonic_ns() > monotonic + NS // 5, "some time to pass")
        later, *_, monotonic_later = node.ask()
        passed = monotonic_later - monotonic
        assert 2 * passed < later - wall < 6 * passed
        agent.do("clock", offset_ns=0)
        assert_off(node, 0)


def test_a_monotonic_clock_jumps_ahead_alone_and_never_goes_back(
    agent: Agent, command: tuple[str, ...]
) -> None:
    with beside(agent, *command) as node:
        answer = agent.do("clock", offset_ns=0, monotonic_offset_ns=HOUR)
        assert answer["monotonic_ns"] == HOUR
        (seen,) = agent.do("probe_clock")["processes"]
        assert seen["monotonic_ns"] == HOUR and seen["offset_ns"] == 0
        assert abs(seen["demonstrated_monotonic_ns"] - HOUR) < SLACK
        before = node.ask()
        assert abs(before[0] - time.time_ns()) < SLACK
        assert abs(before[-1] - HOUR - time.monotonic_ns()) < SLACK
        agent.do("clock", offset_ns=HOUR)
        after = node.ask()
        assert abs(after[0] - HOUR - time.time_ns()) < SLACK
        assert after[-1] >= before[-1]
        agent.do("clock", offset_ns=0, monotonic_offset_ns=HOUR)
        assert agent.do("clock", offset_ns=0, monotonic_offset_ns=HOUR)["monotonic_ns"] == 2 * HOUR
        assert agent.do("heal")["problems"] == []
        assert abs(node.ask()[0] - time.time_ns()) < SLACK
        assert abs(node.ask()[-1] - 2 * HOUR - time.monotonic_ns()) < SLACK


def test_both_clocks_drift_and_may_keep_what_they_gained(agent: Agent) -> None:
    with beside(agent, sys.executable, "-c", PYTHON) as node:
        began = time.monotonic_ns()
        agent.do("clock", offset_ns=0, drift_ppm=9e6, monotonic_drift_ppm=9e6)
        until(lambda: time.monotonic_ns() > began + NS // 5, "some time to pass")
        answer = agent.do("clock", offset_ns=0, keep_gained=True)
        gained = answer["wall_ns"]
        assert gained > 9 * NS // 6
        assert abs(answer["monotonic_ns"] - gained) < NS // 50
        (seen,) = agent.do("probe_clock")["processes"]
        assert (seen["offset_ns"], seen["rate"]) == (gained, 0)
        assert node.ask()[-1] > time.monotonic_ns() + gained - NS
        assert agent.do("clock", offset_ns=HOUR, keep_gained=True)["wall_ns"] == gained + HOUR
        assert agent.do("clock", offset_ns=0)["wall_ns"] == 0


def test_a_strobe_alternates_and_ends(agent: Agent, command: tuple[str, ...]) -> None:
    with beside(agent, *command) as node:
        agent.do("clock", offset_ns=0, strobe_ns=HOUR, strobe_period_ms=20)
        until(lambda: off_by(node) > HOUR - SLACK, "the clock to be off")
        until(lambda: abs(off_by(node)) < SLACK, "it to be right")
        until(lambda: agent.do("probe_clock")["strobe_jumps"] > 6, "some jumps")
        agent.do("clock", offset_ns=0)
        assert_off(node, 0)
        assert not agent.do("probe_clock")["patched"]
        assert not agent.do("status")["clock_active"]


def test_new_programs_and_forks_get_the_false_time(agent: Agent) -> None:
    agent.do("clock", offset_ns=HOUR)
    number = agent.send("await_process", timeout_s=20)
    with beside(agent, sys.executable, "-c", PYTHON) as node:
        answer = agent.read()
        assert answer["id"] == number and answer["clock"]["offset_ns"] == HOUR
        assert answer["done_ns"] == answer["clock"]["done_ns"]
        assert_off(node, HOUR)
        agent.do("kill")
    with beside(agent, "sh", "-c", f"exec {sys.executable} -c '{PYTHON}'") as node:
        until(lambda: agent.do("probe_clock")["patched"] and off_by(node) > HOUR - SLACK, "again")
    with beside(agent, sys.executable, "-c", f"import os\nos.fork()\n{PYTHON}"):
        until(lambda: len(agent.do("probe_clock")["processes"]) >= 2, "the fork")
        until(lambda: agent.do("probe_clock")["patched"], "both patched")
        agent.do("clock", offset_ns=0)
        probe = agent.do("probe_clock")["processes"]
        assert [p["offset_ns"] for p in probe] == [0] * len(probe)
        assert not any(p["patched"] for p in probe)


FORKS = """
import os, sys, time
here, there = os.pipe(), os.pipe()
child = None
for line in sys.stdin:
    if child is None and (child := os.fork()) == 0:
        while os.read(here[0], 1):
            os.write(there[1], (" ".join(map(str, (
                time.time_ns(), time.clock_gettime_ns(5), time.time_ns(), time.time_ns(),
                time.monotonic_ns()))) + "\\n").encode())
    os.write(here[1], b".")
    print(os.read(there[0], 1000).decode(), end="", flush=True)
"""
"""Forks when it is first asked for the time; from then on the child answers."""


@pytest.mark.parametrize("between", [(), (-HOUR, 2 * HOUR)])
def test_a_fork_of_a_changed_process_is_changed_and_corrected(
    agent: Agent, between: tuple[int, ...]
) -> None:
    with beside(agent, sys.executable, "-c", FORKS) as node:
        agent.do("clock", offset_ns=HOUR)
        assert_off(node, HOUR)
        for offset_ns in between:
            agent.do("clock", offset_ns=offset_ns)
            assert_off(node, offset_ns)
        probe = agent.do("probe_clock")["processes"]
        assert [p["offset_ns"] for p in probe] == [between[-1] if between else HOUR] * 2
        assert all(p["native"] and p["code_is_ours"] for p in probe)
        agent.do("clock", offset_ns=0)
        assert_off(node, 0)
        assert not any(p["patched"] for p in agent.do("probe_clock")["processes"])


def off_by(node: Beside) -> int:
    return node.ask()[0] - time.time_ns()


def test_a_paused_node_stays_paused_and_wakes_with_the_false_time(agent: Agent) -> None:
    with beside(agent, sys.executable, "-c", PYTHON) as node:
        assert_off(node, 0)
        agent.do("pause")
        agent.do("clock", offset_ns=HOUR)
        assert set(thread_states(node.pid)) == {"T"}
        agent.do("resume")
        assert_off(node, HOUR)
        agent.do("pause")
        agent.do("clock", offset_ns=0)
        assert set(thread_states(node.pid)) == {"T"}
        agent.do("resume")
        assert_off(node, 0)


def test_the_clock_is_corrected_when_the_controller_dies() -> None:
    with lone_agent(linger_s=60) as agent, beside(agent, sys.executable, "-c", PYTHON) as node:
        agent.do("clock", offset_ns=HOUR)
        assert_off(node, HOUR)
        assert '"problems": []' in agent.hang_up()
        assert_off(node, 0)


def test_threads_that_read_continuously_see_the_true_or_the_false_time(
    agent: Agent, c_program: str
) -> None:
    """Jumped and healed, patched and restored, a hundred times while they read."""
    with beside(agent, c_program) as node:
        node.ask(str(HOUR))
        for _ in range(50):
            agent.do("clock", offset_ns=HOUR)
            agent.do("clock", offset_ns=HOUR + 1000)
            agent.do("clock", offset_ns=0)
        readings, wrong, backwards = (int(n) for n in node.say_nothing_more().split())
    assert readings > 1000
    assert (wrong, backwards) == (0, 0)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"offset_ns": "1h"}, {"offset_ns": 10**19}, {"offset_ns": 0, "drift_ppm": 10**8}],
)
def test_invalid_input_is_refused(agent: Agent, wrong: dict[str, object]) -> None:
    answer = agent.ask("clock", **wrong)
    assert answer["kind"] == "bad-request" and "give a number" in answer["remedy"]


def test_without_a_node_there_is_nothing_to_set(agent: Agent) -> None:
    assert agent.do("clock", offset_ns=HOUR)["pids"] == []
    assert agent.do("probe_clock") | {"done_ns": 0} == {
        "id": 2,
        "ok": True,
        "done_ns": 0,
        "offset_ns": HOUR,
        "patched": False,
        "processes": [],
        "strobe_jumps": 0,
    }
    assert agent.do("status")["clock_active"]


def test_a_program_may_have_a_name_that_begins_like_an_engines(
    agent: Agent, c_program: str, tmp_path: Path
) -> None:
    for name in ("exe", "crunchy"):
        program = shutil.copy(c_program, tmp_path / name)
        with beside(agent, str(program)) as node:
            (pid,) = agent.do("await_process", timeout_s=10)["pids"]
            agent.do("clock", offset_ns=HOUR)
            assert_off(node, HOUR)
            (seen,) = agent.do("probe_clock")["processes"]
            assert (seen["pid"], seen["offset_ns"]) == (pid, HOUR)
            agent.do("clock", offset_ns=0)


def test_a_process_in_another_time_namespace_is_told(agent: Agent) -> None:
    apart = ("unshare", "--time", "--monotonic", "86400", "--fork")
    try:
        subprocess.run([*apart, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no time namespaces here")
    with beside(agent, *apart, sys.executable, "-c", PYTHON) as node:
        node.ask()
        agent.do("clock", offset_ns=HOUR)
        seen = {p["own_time_namespace"] for p in agent.do("probe_clock")["processes"]}
        assert seen == {False, True}


@pytest.fixture
def fork_chains(tmp_path: Path) -> str:
    return compiled("fork_chains.c", tmp_path, "-O2")


def test_no_false_clock_escapes_healing_by_forking(agent: Agent, fork_chains: str) -> None:
    with beside(agent, fork_chains) as node:
        for _ in range(5):
            agent.do("clock", offset_ns=HOUR)
            until(lambda: node.ask() == [10], "all to have the false clock")
            agent.do("clock", offset_ns=0)
            assert node.ask() == [0]
            assert not any(p["patched"] for p in agent.do("probe_clock")["processes"])
        assert node.state() in ("S", "R")


FIRST_THREAD_ENDS = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static long long now(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static void *answer(void *unused) {
    char line[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin))
        printf("%lld %lld\\n", now(CLOCK_REALTIME), now(CLOCK_MONOTONIC));
    exit(0);
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, answer, NULL);
    pthread_exit(NULL);
}
"""


@pytest.fixture
def without_first_thread(agent: Agent, tmp_path: Path) -> Iterator[Beside]:
    """A program whose other thread goes on: /proc shows its process as a zombie."""
    source = tmp_path / "goes_on.c"
    source.write_text(FIRST_THREAD_ENDS)
    with beside(agent, compiled(source, tmp_path, "-pthread")) as node:
        until(lambda: node.state() == "Z", "the end of the first thread")
        yield node


def test_a_process_whose_first_thread_has_ended_is_one_of_the_nodes(
    agent: Agent, without_first_thread: Beside
) -> None:
    node = without_first_thread
    with beside(agent, sys.executable, "-c", PYTHON):
        assert len(agent.do("clock", offset_ns=HOUR)["pids"]) == 2
        assert_off(node, HOUR)
        probe = agent.do("probe_clock")
        assert probe["patched"] and [p["offset_ns"] for p in probe["processes"]] == [HOUR] * 2
        states = [p["threads"] for p in agent.do("pause")["processes"]]
        assert len(states) == 2 and "ZT" in states
        agent.do("resume")
        agent.do("clock", offset_ns=0)
        assert_off(node, 0)
        assert len(agent.do("kill")["pids"]) == 2
        assert agent.do("probe_process")["processes"] == []


WAITS = 'void _start(void) { for (;;) __asm__ volatile("int $0x80" : : "a"(29)); }'


@pytest.fixture
def program_of_32_bits(tmp_path: Path) -> str:
    program = str(tmp_path / "waits")
    command = ["gcc", "-m32", "-nostdlib", "-static", "-x", "c", "-o", program, "-"]
    try:
        subprocess.run(command, input=WAITS, text=True, capture_output=True, check=True)
        with subprocess.Popen([program]) as process:
            process.kill()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"programs of 32 bits are not made or not executed here: {error}")
    return program


def test_a_program_of_32_bits_is_among_the_processes_and_its_clock_is_right(
    agent: Agent, program_of_32_bits: str
) -> None:
    with beside(agent, program_of_32_bits), beside(agent, sys.executable, "-c", PYTHON) as node:
        agent.do("clock", offset_ns=HOUR)
        assert_off(node, HOUR)
        probe = agent.do("probe_clock")
        assert not probe["patched"]
        seen = {p["has_vdso"]: (p["patched"], p["offset_ns"]) for p in probe["processes"]}
        assert seen == {True: (True, HOUR), False: (False, 0)}

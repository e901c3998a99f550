"""Kill, pause and the end of an agent, with real processes in a PID namespace of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.agent import libc
from tests.faults.agent.pods import Agent, beside, compiled, lone_agent, until

pytestmark = pytest.mark.netns
WAIT_ALL = 0x4000_0000  # __WALL

ECHO = (sys.executable, "-u", "-c", "import sys\nfor line in sys.stdin: print(line.strip())")
FAMILY = (
    sys.executable,
    "-u",
    "-c",
    "import os, sys, threading, time\n"
    "pid = os.fork() and os.fork()\n"
    "threading.Thread(target=lambda: time.sleep(600), daemon=True).start()\n"
    "print(os.getpid(), flush=True) if pid else None\n"
    "time.sleep(600)",
)
FORKER = (
    sys.executable,
    "-c",
    "import os, time\n"
    "for _ in range(12):\n"
    "    if os.fork() == 0:\n"
    "        while True:\n"
    "            if os.fork(): os._exit(0)\n"
    "            time.sleep(0.001)\n"
    "time.sleep(600)",
)


@pytest.fixture
def agent() -> Iterator[Agent]:
    with lone_agent() as agent:
        yield agent


def test_the_agent_reports_its_capabilities(agent: Agent) -> None:
    hello = agent.hello
    assert hello["hello"] == 1 and hello["version"] == 1
    assert hello["machine"] == os.uname().machine and hello["kernel"] == os.uname().release
    assert hello["pid_namespace"] == str(Path(f"/proc/{agent.pid}/ns/pid").readlink())
    assert hello["monotonic_ns"] <= time.monotonic_ns()
    always = {"links", "shaping", "processes", "clock", "probes", "packets"}
    assert set(hello["can"]) == {*always, "disk"}
    assert all(hello["can"][name]["ok"] for name in always), hello["can"]
    disk = hello["can"][
        "disk"
    ]  # needs capabilities that the agent has only in runs with disk faults
    assert disk["ok"] or (disk["error"] and disk["remedy"])


def test_kill_leaves_no_process(agent: Agent) -> None:
    with beside(agent, *ECHO) as node, beside(agent, *FAMILY) as family:
        assert node.ask("5") == [5]
        until(lambda: len(agent.do("probe_process")["processes"]) == 4, "all four")
        answer = agent.do("kill")
        assert len(answer["pids"]) == 4
        assert answer["began_ns"] <= answer["done_ns"] <= answer["gone_ns"] <= time.monotonic_ns()
        assert node.state() in ("", "Z") and family.state() in ("", "Z")
        assert agent.do("probe_process")["processes"] == []
    assert agent.do("kill")["pids"] == []


def test_no_process_escapes_by_forking(agent: Agent) -> None:
    with beside(agent, *FORKER):
        until(lambda: len(agent.do("probe_process")["processes"]) > 8, "many forks")
        agent.do("kill")
        assert agent.do("probe_process")["processes"] == []


def threads_of(answer: dict[str, Any]) -> int:
    return sum(len(process["threads"]) for process in answer["processes"])


def test_pause_stops_every_thread_and_resume_continues_them(agent: Agent) -> None:
    with beside(agent, *ECHO) as node, beside(agent, *FAMILY):
        until(lambda: len(agent.do("probe_process")["processes"]) == 4, "all four")
        until(lambda: threads_of(agent.do("probe_process")) > 4, "another thread")
        answer = agent.do("pause")
        assert [set(p["threads"]) for p in answer["processes"]] == [{"T"}] * 4
        assert threads_of(answer) > 4
        assert agent.do("status")["paused"]
        heard: list[list[int]] = []
        asking = threading.Thread(target=lambda: heard.append(node.ask("6")))
        asking.start()
        asking.join(0.05)
        assert heard == []
        answer = agent.do("resume")
        assert all("T" not in p["threads"] for p in answer["processes"])
        asking.join(20)
        assert heard == [[6]]
        assert not agent.do("status")["paused"]
        agent.do("resume")


@pytest.fixture
def vforks(tmp_path: Path) -> str:
    return compiled("vforks.c", tmp_path, "-O0")


def test_a_process_that_waits_for_a_vfork_is_paused_with_its_child(
    agent: Agent, vforks: str
) -> None:
    with beside(agent, vforks) as node:
        assert node.ask() == [1]
        until(lambda: len(agent.do("probe_process")["processes"]) == 2, "the next child")
        answer = agent.do("pause")
        assert [p["threads"] for p in answer["processes"]] == ["D", "T"]
        assert answer["done_ns"] - answer["began_ns"] < 2 * 10**9
        agent.do("clock", offset_ns=3600 * 10**9)
        assert agent.do("probe_clock")["patched"]
        agent.do("clock", offset_ns=0)
        assert [p["threads"] for p in agent.do("probe_process")["processes"]] == ["D", "T"]
        agent.do("resume")
        assert node.ask() == [1]


STOPS_ITSELF = (
    sys.executable,
    "-c",
    "import os, signal, time\n"
    "if os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)\n"
    "time.sleep(600)",
)


def test_what_was_stopped_before_a_pause_stays_stopped(agent: Agent) -> None:
    def states() -> list[str]:
        return [p["threads"] for p in agent.do("probe_process")["processes"]]

    with beside(agent, *STOPS_ITSELF):
        until(lambda: states() == ["S", "T"], "the child has stopped itself")
        for _ in range(2):
            answer = agent.do("pause")
            agent.do("pause")
            assert [p["threads"] for p in answer["processes"]] == ["T", "T"]
            assert [p.get("stopped_before") for p in answer["processes"]] == [None, True]
            answer = agent.do("resume")
            assert [p["threads"] == "T" for p in answer["processes"]] == [False, True]
            assert [p.get("stopped_before") for p in answer["processes"]] == [None, True]
            until(lambda: states() == ["S", "T"], "the parent sleeps again")
        agent.do("kill")
    with beside(agent, *ECHO) as node:
        agent.do("pause")
        agent.do("resume")
        assert node.ask("3") == [3]


def test_a_pause_of_what_a_debugger_has_stopped_can_end(agent: Agent) -> None:
    program = "import sys, time\nfor line in sys.stdin: time.sleep(0.1)"
    with beside(agent, sys.executable, "-c", program) as node:
        until(lambda: node.state() == "S", "its start")
        libc.ptrace(libc.PTRACE_SEIZE, node.pid)
        libc.ptrace(libc.PTRACE_INTERRUPT, node.pid)
        until(lambda: node.state() == "t", "the debugger's stop")
        os.waitpid(node.pid, WAIT_ALL)
        assert [p["threads"] for p in agent.do("pause")["processes"]] == ["t"]
        (seen,) = agent.do("resume")["processes"]
        assert seen["threads"] == "t" and seen["stopped_before"]
        libc.ptrace(libc.PTRACE_DETACH, node.pid)
        until(lambda: node.state() in "SR", "it runs when the debugger lets it")


def test_what_is_paused_can_be_killed(agent: Agent) -> None:
    with beside(agent, *ECHO) as node:
        agent.do("pause")
        assert len(agent.do("kill")["pids"]) == 1
        assert node.state() in ("", "Z")
        assert not agent.do("status")["paused"]


def test_awaiting_a_node_sees_it_start_and_fails_without_one(agent: Agent) -> None:
    answer = agent.ask("await_process", timeout_s=0.02)
    assert not answer["ok"] and "no process of the node" in answer["error"]
    number = agent.send("await_process", timeout_s=20)
    with beside(agent, *ECHO) as node:
        answer = agent.read()
        assert answer["id"] == number and answer["ok"]
        assert answer["pids"] == [answer["pid"]]
        assert answer["done_ns"] <= time.monotonic_ns()
        started = answer["start_ns"]
        assert started <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert node.state() != ""


def test_a_wait_does_not_delay_a_kill(agent: Agent) -> None:
    waiting = agent.send("await_process", timeout_s=5)
    listening = agent.send("probe_links", peers={"2": "10.98.0.9"}, nonce=1, listen_ms=500)
    kill = agent.send("kill")
    answered = [agent.read()["id"] for _ in range(3)]
    assert answered[0] == kill and sorted(answered[1:]) == [waiting, listening]


def test_unknown_and_broken_requests_are_answered(agent: Agent) -> None:
    answer = agent.ask("explode")
    assert not answer["ok"] and "links" in answer["remedy"]
    assert agent.process.stdin is not None
    agent.process.stdin.write("not json\n\n[]\n")
    agent.process.stdin.flush()
    assert [agent.read()["ok"] for _ in range(2)] == [False, False]
    assert agent.do("status")["drop_to"] == []


def test_orphans_are_collected(agent: Agent) -> None:
    """The agent is their parent now: without it they would remain zombies."""
    orphan = (sys.executable, "-c", "import os, time\nif os.fork() == 0: time.sleep(600)")
    with beside(agent, *orphan):
        left = until(lambda: agent.do("probe_process")["processes"], "the orphan")
        agent.do("kill")
        until(lambda: _namespace_size(agent) == 1, f"{left} collected")


def _namespace_size(agent: Agent) -> int:
    """Processes in the agent's PID namespace, zombies of its own included."""
    own = agent.pid
    return 1 + len(Path(f"/proc/{own}/task/{own}/children").read_text().split())


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_the_end_of_the_agent_heals(how: str) -> None:
    with lone_agent() as agent, beside(agent, *ECHO) as node:
        agent.do("pause")
        until(lambda: node.state() == "T", "the pause")
        if how == "SIGTERM":
            os.kill(agent.pid, signal.SIGTERM)
        else:
            assert "controller is gone" in agent.hang_up()
        assert agent.process.wait(20) == 0, "it stays for its linger time, here 0 s"
    with lone_agent(linger_s=60) as agent, beside(agent, *ECHO) as node:
        agent.do("pause")
        assert '"problems": []' in agent.hang_up()
        assert node.ask("7") == [7]
        os.kill(agent.pid, signal.SIGTERM)
        assert agent.process.wait(20) == 0


def test_a_request_that_waits_for_its_time_has_no_effect_after_healing() -> None:
    with lone_agent(linger_s=60) as agent, beside(agent, *ECHO) as node:
        agent.send("pause", at_ns=time.monotonic_ns() + 2 * 10**9)
        agent.send("pause")
        assert '"problems": []' in agent.hang_up()
        assert node.ask("8") == [8]
        assert [agent.read()["kind"] for _ in range(2)] == ["failed", "failed"]
        assert node.ask("9") == [9]

"""What a target's own code raises, returns and does not return: sentences, and no verdict."""

from __future__ import annotations

import asyncio
import gc
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import HarnessError, TargetError, UsageError
from harness.run.config import RunConfig
from harness.run.node_findings import client_findings, node_findings
from harness.run.verdict import judge_folder
from harness.runtimes.docker.clients import Clients
from harness.targets import hang, settings_of, target_named
from harness.targets.guard import GuardedTarget, in_words
from harness.targets.guarded_client import (
    BAD_ANSWER,
    FAILED,
    ClientProblems,
    GuardedClient,
    invalid_reason,
)
from harness.targets.interface import ClusterSpec, NodeStatus, Request, Response
from histories.events import NEMESIS, Event
from tests.harness.faulty_targets import written
from tests.harness.scripted import play
from tests.harness.test_verdict import record

CLUSTER = ClusterSpec(nodes=3)
READ = Request(1, 1, "read", "k", None)
WRITE = Request(1, 2, "write", "k", 5)


@pytest.mark.parametrize(
    ("fault", "call", "words"),
    [
        ("start", lambda t: t.node(1, {}, CLUSTER, 0), r"node raised ZeroDivisionError.*line \d+"),
        ("node type", lambda t: t.node(1, {}, CLUSTER, 0), "node returned 'redis-server'"),
        ("client", lambda t: t.client(1, "h", 1, CLUSTER), "client raised IndexError"),
        ("client type", lambda t: t.client(1, "h", 1, CLUSTER), "has no attribute 'connect'"),
        ("quorum type", lambda t: t.quorum(CLUSTER), "quorum returned 'most'"),
        ("settings type", lambda t: t.settings({}), "settings returned"),
        ("exit", lambda t: t.check(CLUSTER), "check raised SystemExit"),
        ("image type", lambda t: t.image(SimpleNamespace(own=str)), "image returned None"),
    ],
)
def test_the_code_of_a_target_ends_in_a_sentence(
    tmp_path: Path, fault: str, call: Any, words: str
) -> None:
    path = written(tmp_path, fault)
    with pytest.raises(TargetError, match=words) as caught:
        call(target_named(str(path)))
    assert caught.value.exit_code == 70 and str(path) in caught.value.message
    assert "nothing about the cluster" in caught.value.remedy


def test_a_value_error_says_what_the_user_asked_wrongly(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no settings"):
        settings_of(str(written(tmp_path, "none")), {"x": 1})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("client_port = 'http'", "client_port is 'http'"),
        ("client_port = 70000", "from 1 to 65535"),
        ("artifacts = {'/data/x': '../../x'}", "plain file names"),
        ("artifacts = [1]", "artifacts"),
        ("name = property(lambda self: 1 / 0)", "name raised ZeroDivisionError"),
        ("capabilities = 5", "capabilities is 5"),
        ("capabilities = Capabilities(workloads='kv')", "must be a tuple"),
    ],
)
def test_what_a_target_says_of_itself_is_checked(tmp_path: Path, line: str, words: str) -> None:
    path = written(tmp_path, "none")
    path.write_text(
        path.read_text().replace("    CONNECT = SEND", f"    {line}\n    CONNECT = SEND")
    )
    with pytest.raises(HarnessError, match=words):
        target_named(str(path))


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "TARGETS = 5", "TARGETS = [1]"])
def test_a_file_that_does_odd_things_is_refused(tmp_path: Path, code: str) -> None:
    path = tmp_path / "odd.py"
    path.write_text(code)
    with pytest.raises(UsageError):
        target_named(str(path))


def test_code_that_does_not_return_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hang.HangGuard.__init__, "__kwdefaults__", {"hang_s": 0.5, "look_s": 0.1})
    target = target_named(str(written(tmp_path, "hang")))
    began = time.monotonic()
    with pytest.raises(
        TargetError, match=r"check did not return within 0.5 s \(line \d+, in check"
    ):
        target.check(CLUSTER)
    assert time.monotonic() - began < 10


def test_code_of_ours_that_takes_long_is_left_alone(tmp_path: Path) -> None:
    with hang.HangGuard(str(tmp_path / "x.py"), hang_s=0.05, look_s=0.02):
        time.sleep(0.3)


# ------------------------------------------------------------------------------- clients


def asked(tmp_path: Path, fault: str, request: Request = READ) -> tuple[list[Any], ClientProblems]:
    """What a guarded client of this faulty target answers to a request, and what was counted."""
    target = target_named(str(written(tmp_path, fault)))
    problems, answers = ClientProblems(), list[Any]()

    async def ask() -> None:
        client = GuardedClient(target.client(2, "h", 1, CLUSTER), 2, (1, 2, 3), problems)
        await client.connect()
        client.send(request, answers.append)
        await asyncio.sleep(0.05)
        await client.status(0.1)
        await client.close()

    asyncio.run(ask())
    return answers, problems


@pytest.mark.parametrize(
    ("fault", "answers", "kind", "words"),
    [
        ("connect", [Response(None)], "failures", "KeyError: 7"),
        ("send", [FAILED], "failures", r"LookupError: \x1b[2J"),
        ("wrong type", [FAILED], "failures", "it answered with (None, 1)"),
        ("unhashable error", [FAILED], "failures", "it answered with the error [1]"),
        ("unhashable value", [BAD_ANSWER], "answers", "a value of the type set"),
        ("not a number", [BAD_ANSWER], "answers", "the number nan"),
        (
            "no such leader",
            [Response("not-leader", definite=True)],
            "answers",
            "it says that 99 leads, which is not a node",
        ),
        ("status", [Response(None)], "failures", "AttributeError: 1"),
        ("status type", [Response(None)], "failures", "it gave the status {'role': 'leader'}"),
        ("status of another", [Response(None)], "failures", "it gave the status NodeStatus"),
    ],
)
def test_what_a_client_does_wrong_is_counted_and_the_operation_is_open(
    tmp_path: Path, fault: str, answers: list[Any], kind: str, words: str
) -> None:
    found, problems = asked(tmp_path, fault)
    assert found == answers
    [told] = problems.to_json()
    assert (told["node"], told["kind"], told["count"]) == (2, kind, 1)
    assert told["first"].startswith(words) and told["first"].isprintable()


@pytest.mark.parametrize("fault", ["none", "twice", "in a thread", "close"])
def test_an_answer_is_given_once_and_nothing_is_counted(tmp_path: Path, fault: str) -> None:
    found, problems = asked(tmp_path, fault, WRITE)
    assert found == [Response(None)] and not problems.to_json()


@pytest.mark.parametrize("fault", ["none", "send"])
def test_an_answer_never_comes_while_the_request_is_being_sent(tmp_path: Path, fault: str) -> None:
    target, answers = target_named(str(written(tmp_path, fault))), list[Any]()

    async def ask() -> None:
        client = GuardedClient(target.client(1, "h", 1, CLUSTER), 1, (1,), ClientProblems())
        client.send(READ, answers.append)
        assert not answers
        await asyncio.sleep(0)
        assert len(answers) == 1

    asyncio.run(ask())


def test_who_leads_is_told_where_a_node_of_the_run_is_named() -> None:
    class Watching:
        def watch_leader(self, told: Any) -> None:
            for leader, term in ((2, (5, 2)), (9, (6,)), ([2], (6,)), (2, "6"), (2, (-1,))):
                told(leader, term)

    async def check() -> None:
        problems, said = ClientProblems(), list[Any]()
        client = GuardedClient(Watching(), 1, (1, 2), problems)  # type: ignore[arg-type]
        client.watch_leader(lambda *what: said.append(what))
        assert not said
        await asyncio.sleep(0)
        assert said == [(2, (5, 2))] and problems.to_json()[0]["count"] == 4

    asyncio.run(check())


def test_what_is_right_is_handed_on_as_it_is(tmp_path: Path) -> None:
    async def check() -> None:
        client = GuardedClient(SimpleNamespace(), 1, (1, 2), ClientProblems())  # type: ignore[arg-type]
        for response in (
            Response(None, [1, {"a": (None, 2.5)}], 2, order=7),
            Response("mismatch", "x", definite=True),
        ):
            assert client.taken(response) is response
        assert client.taken(Response("\x1b[2J" * 100)).error == "\\x1b[2J" * 28 + "\\x1…"
        assert client.taken(Response(None, order=-1)).order is None

    asyncio.run(check())


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        [math.nan],
        {1: 2},
        {"a": {3}},
        deep(200),
        10**5000,
        b"x",
        object(),
        [0] * 1_000_001,
    ],
    ids=["inf", "nan", "names", "set", "deep", "digits", "bytes", "object", "long"],
)
def test_a_value_that_no_history_can_hold_is_none(value: Any) -> None:
    assert (words := invalid_reason(value)) and len(words) < 100


def test_a_status_has_the_form_that_others_rely_on() -> None:
    wild = NodeStatus(
        node=1,
        role="\x1b[31m" * 100,
        term=("a", 2),  # type: ignore[arg-type]
        wall_ns=10**400,
        monotonic_ns=1,
        raw={"x": math.nan},
    )

    async def status(_: float) -> Any:
        return wild

    async def ask() -> NodeStatus | None:
        inner: Any = SimpleNamespace(status=status)
        return await GuardedClient(inner, 1, (1,), ClientProblems()).status(1)

    found = asyncio.run(ask())
    assert found is not None and found.role.isprintable() and len(found.role) <= 40
    assert found.term == () and found.wall_ns is None and found.raw == {}


# ------------------------------------------------------------------------------- the loop


def on_a_loop(tmp_path: Path, fault: str, seconds: float) -> tuple[Clients, list[BaseException]]:
    """A run's clients of a faulty target, asked once, on a loop that goes on for `seconds`."""
    path = written(tmp_path, fault)
    loop = asyncio.new_event_loop()
    failures: list[BaseException] = []
    clients = Clients(RunConfig.of(target=str(path), nodes=3), loop, failures.append)

    async def drive() -> None:
        pods: Any = {n: SimpleNamespace(client_port=1) for n in (1, 2, 3)}
        clients.open(pods, lambda *_: None)
        clients.by_node[2].send(READ, lambda _: None)
        for _ in range(int(seconds / 0.01)):
            await asyncio.sleep(0.01)
            if failures:
                return

    try:
        clients.run(drive())
        gc.collect()
    finally:
        loop.close()
    return clients, failures


def test_a_task_of_a_client_that_breaks_is_counted_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clients, failures = on_a_loop(tmp_path, "task", 0.1)
    assert not failures and clients.finding() == {
        "role": "client",
        "problems": [
            {
                "node": 2,
                "kind": "failures",
                "count": 1,
                "first": clients.problems.first_failure(2),
            }
        ],
    }
    assert "a task of the library broke" in (clients.problems.first_failure(2) or "")
    assert capfd.readouterr().err == ""
    with pytest.raises(
        TargetError, match="the target's client of n2 raised an error: RuntimeError"
    ):
        clients.require(2)


def test_a_late_event_of_an_earlier_loop_says_nothing_about_this_runs_clients(
    tmp_path: Path,
) -> None:
    loop = asyncio.new_event_loop()
    failures: list[BaseException] = []
    config = RunConfig.of(target=str(written(tmp_path, "none")), nodes=1, faults=())
    clients = Clients(config, loop, failures.append)
    earlier = asyncio.new_event_loop()
    earlier.close()

    async def hears() -> None:
        loop.call_soon(earlier.call_soon, print)
        await asyncio.sleep(0.01)
        assert clients.finding() is None
        loop.call_soon(int, "no number")
        await asyncio.sleep(0.01)

    try:
        clients.run(hears())
    finally:
        loop.close()
    finding = clients.finding()
    assert finding is not None and not failures
    assert [p["count"] for p in finding["problems"]] == [1]


def test_a_task_of_a_client_cannot_end_the_program(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="its client raised SystemExit"):
        on_a_loop(tmp_path, "exit in a task", 5)


def test_a_task_of_a_client_that_spins_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hang.HangGuard.__init__, "__kwdefaults__", {"hang_s": 0.5, "look_s": 0.1})
    monkeypatch.setattr("harness.runtimes.docker.clients.LOOK_S", 0.1)
    _, failures = on_a_loop(tmp_path, "hang in a task", 20)
    assert isinstance(failures[0], TargetError)
    assert "did not return within 0.5 s" in failures[0].message and "in spin" in failures[0].message


def test_an_error_of_ours_is_not_taken_for_the_clients(tmp_path: Path) -> None:
    def breaks(_: Response) -> None:
        raise RuntimeError("ours")

    target, broke = target_named(str(written(tmp_path, "none"))), list[BaseException]()

    async def ask() -> None:
        problems = ClientProblems()
        inner = target.client(1, "h", 1, CLUSTER)
        client = GuardedClient(inner, 1, (1,), problems, broke=broke.append)
        client.send(READ, breaks)
        await asyncio.sleep(0)
        assert not problems.to_json()

    asyncio.run(ask())
    assert str(broke[0]) == "ours"


# ------------------------------------------------------------------------------- the verdict


def told(events: list[Event], *problems: dict[str, Any]) -> list[Event]:
    value = {"role": "client", "problems": list(problems)}
    last = events[-1]
    return [*events, Event(last.index + 1, last.time, NEMESIS, "info", "node", value=value)]


FAILURE = {"node": 2, "kind": "failures", "count": 17, "first": "KeyError: 7"}
ANSWER = {"node": 3, "kind": "answers", "count": 4, "first": "the number nan"}


def test_bad_answers_are_a_note_with_a_count(tmp_path: Path) -> None:
    verdict = judge_folder(record(tmp_path, told(play()[2], ANSWER)), time_limit_s=30)
    assert verdict.outcome == "valid"
    assert "n3 sent 4 invalid responses; the first: the number nan" in verdict.notes


def test_a_client_that_failed_itself_proves_nothing(tmp_path: Path) -> None:
    dead = play(lambda *_: None, liveness_timeout_us=5_000_000)[2]
    assert judge_folder(record(tmp_path, dead)).outcome == "invalid"
    verdict = judge_folder(record(tmp_path, told(dead, FAILURE)))
    assert verdict.outcome == "unknown" and verdict.liveness.outcome == "unknown"
    assert (
        "the target's client of n2 raised an error 17 times; the first: KeyError: 7"
        in verdict.reasons
    )
    alive = judge_folder(record(tmp_path, told(play()[2], FAILURE)), time_limit_s=30)
    assert alive.outcome == "unknown" and alive.linearizability.outcome == "valid"


@pytest.mark.parametrize("problems", [None, 5, [5, None], [{}], [{"node": [], "first": "\x1b[2J"}]])
def test_findings_of_a_folder_may_hold_anything(problems: Any) -> None:
    value = {"role": "client", "problems": problems}
    events = [
        Event(0, 0, NEMESIS, "info", "node", value=value),
        Event(1, 0, NEMESIS, "info", "node", value={"role": "node", "log": "\x1b[2J" * 10**6}),
        Event(2, 0, NEMESIS, "info", "node", value={"what": "ended", "exit_code": 10**400}),
        Event(3, 0, NEMESIS, "info", "node", value={"what": "ended", "log": "a\x1b[2J\nb"}),
    ]
    sentences = [f.sentence for f in client_findings(events)]
    sentences += [f.sentence for f in node_findings(events)]
    assert all(s.isprintable() and len(s) < 1_500 for s in sentences)


def test_an_error_whose_words_cannot_be_had_is_named_by_its_type() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert in_words(Rude()) == "Rude"


@pytest.mark.parametrize("fault", ["exit", "settings type"])
def test_the_command_ends_with_its_exit_code_and_without_a_traceback(
    tmp_path: Path, fault: str
) -> None:
    path = written(tmp_path, fault)
    command = [sys.executable, "-m", "antipaxos", "run", str(path), "--nodes", "3", "--time", "1s"]
    done = subprocess.run(
        [*command, "--store", str(tmp_path), "--on", "docker"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (64, 70), done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_guarded_target_is_found_by_its_file(tmp_path: Path) -> None:
    assert isinstance(target_named(str(written(tmp_path, "none"))), GuardedTarget)

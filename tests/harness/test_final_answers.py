"""The nodes at the end of a run in containers, without containers."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from harness.run.node_findings import NODE_FINDING, node_findings
from harness.runtimes.docker import final_answers
from harness.runtimes.docker.agents import Agent, AgentError
from harness.runtimes.docker.final_answers import (
    findings_at_end,
    findings_of_agents,
    nodes_without_answer,
    stopped,
    without_answer,
)
from histories.events import NEMESIS, Event


class Node:
    """Answers from the given attempt on."""

    def __init__(self, attempt: int) -> None:
        self.left = attempt

    async def connect(self) -> bool:
        self.left -= 1
        return self.left <= 0


def silent(nodes: dict[int, Node], timeout_s: float = 5.0, **how: Any) -> list[int]:
    options = {"is_running": lambda _: True, "is_over": lambda: False, **how}
    return asyncio.run(nodes_without_answer(nodes, timeout_s, **options))


def test_nodes_that_start_late_are_waited_for() -> None:
    nodes = {1: Node(1), 2: Node(4), 3: Node(3)}
    assert silent(nodes) == []
    assert all(node.left == 0 for node in nodes.values())


def test_nodes_that_run_and_never_answer_are_named() -> None:
    assert silent({1: Node(1), 2: Node(10**9), 3: Node(10**9)}, 0.2) == [2, 3]


def test_a_node_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(final_answers, "LOOK_EVERY_S", 0.0)
    begun = time.monotonic()
    assert silent({1: Node(10**9)}, 60.0, is_running=lambda _: False) == []
    assert time.monotonic() - begun < 30


def test_nothing_is_waited_for_once_the_run_is_over() -> None:
    assert silent({1: Node(10**9)}, 60.0, is_over=lambda: True) == []


class Said:
    """An agent with the answer, or the error, that it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def call(self, _: str) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def of_agents(*agents: Said) -> list[dict[str, Any]]:
    numbered = dict(enumerate(agents, 1))
    return asyncio.run(findings_of_agents(cast("dict[int, Agent]", numbered)))


@pytest.mark.parametrize(
    ("threads", "expected"),
    [(["T"], [1]), (["TTt", "T"], [1]), (["TS"], []), (["T", "S"], []), (["D"], []), ([], [])],
)
def test_a_node_is_stopped_where_all_its_threads_are(
    threads: list[str], expected: list[int]
) -> None:
    answer = {"processes": [{"threads": states} for states in threads]}
    assert of_agents(Said(answer), Said({"processes": []})) == [stopped(n) for n in expected]


@pytest.mark.parametrize("answer", [{}, {"processes": 5}, {"processes": [5, {"threads": 7}]}])
def test_an_answer_of_another_form_proves_nothing(answer: dict[str, Any]) -> None:
    assert of_agents(Said(answer)) == []


@pytest.mark.parametrize("error", [AgentError("its stream closed"), OSError("dead")])
def test_an_agent_that_does_not_answer_is_a_finding(error: Exception) -> None:
    """Its node may be stopped by a signal from outside, and nobody would know."""
    (found,) = of_agents(Said({"processes": [{"threads": "S"}]}), Said(error))
    event = Event(0, 7 * 10**9, NEMESIS, "info", NODE_FINDING, value=found)
    (finding,) = node_findings([event])
    assert finding.sentence == (
        f"the agent of n2 did not answer at the end of the run at 7.000 s; its last lines: {error}"
    )
    assert not finding.by_itself and not finding.explained


def test_silent_and_stopped_nodes_are_told_with_the_log_of_the_silent() -> None:
    agents = {n: Said({"processes": [{"threads": "T" if n == 2 else "S"}]}) for n in (1, 2, 3)}
    found = asyncio.run(
        findings_at_end(
            {1: Node(1), 2: Node(1), 3: Node(10**9)},
            cast("dict[int, Agent]", agents),
            0.2,
            is_running=lambda _: True,
            last_lines=lambda node: f"the log of n{node}",
            is_over=lambda: False,
        )
    )
    assert found == [without_answer(3, 0.2, "the log of n3"), stopped(2)]


def test_what_is_found_makes_the_run_unknown_and_not_invalid() -> None:
    def event(value: dict[str, Any]) -> Event:
        return Event(0, 7 * 10**9, NEMESIS, "info", NODE_FINDING, value=value)

    late, halted = node_findings(
        [event(without_answer(3, 15.0, "starting\nreading\n")), event(stopped(2))]
    )
    assert late.sentence == (
        "n3 did not answer within 15 s of the end of the run at 7.000 s; its last lines: "
        "starting | reading"
    )
    assert halted.sentence == "n2 was stopped by interference from outside at 7.000 s"
    assert not late.by_itself and not halted.by_itself

"""What links between agents do, and everything that could be left of it."""

from __future__ import annotations

import itertools
import subprocess
from typing import Any

from tests.faults.agent.pods import Agent

nonces = itertools.count(1)
SIDES = ("ingress", "egress")


def measured(agents: list[Agent], **how: Any) -> dict[tuple[int, int], Any]:
    """The effect of every directed link on 50 datagrams."""
    names = range(1, len(agents) + 1)
    asked = {"count": 50, "gap_us": 1000, "size": 64, **how}
    of = {"nonce": asked.pop("nonce", f"m{next(nonces)}"), "size": asked["size"]}
    listen_ms = asked.pop("listen_ms", 150)
    peers = [{str(n): agents[n - 1].address for n in names if n != own} for own in names]
    for agent, others in zip(agents, peers, strict=True):
        agent.send("measure_links", peers=others, sources={}, listen_ms=0, **of | asked)
    assert all(agent.read()["ok"] for agent in agents)
    for agent, others in zip(agents, peers, strict=True):
        agent.send("collect_links", sources=others, listen_ms=listen_ms, **of)
    answers = [agent.read() for agent in agents]
    assert all(answer["ok"] for answer in answers), answers
    return {(int(a), b): answers[b - 1]["links"][a] for b in names for a in answers[b - 1]["links"]}


def inside(agent: Agent, *command: str) -> str:
    """The output of a command in the agent's network namespace."""
    enter = ["nsenter", f"--net=/proc/{agent.pid}/ns/net", *command]
    return subprocess.run(enter, check=True, capture_output=True, text=True).stdout


def settings(agent: Agent) -> str:
    """Everything that could be left behind: links, qdiscs, filters."""
    shown = inside(agent, "ip", "-o", "link") + inside(agent, "tc", "qdisc")
    for side in SIDES:
        shown += inside(agent, "tc", "filter", "show", "dev", "eth0", side)
    return shown

"""Partial connectivity, as OmniPaxos names it (EuroSys 2023, section 2): while the links stay cut,
some node still reaches a majority. Whether service returns, within how many election timeouts.

Raft does not recover from `constrained` while the links stay cut, and cannot: the only node that a
majority can reach has a stale log, and nobody with a newer one may vote for it
(docs/protocols/raft.md).
"""

from __future__ import annotations

from typing import Any

import pytest

from faults.description import Fault
from faults.kinds.partition import Partition
from tests.sim.runs import SECOND, run

ELECTION_US = 800_000
"""The longest election timeout of the default configuration."""
HOLD_US = 6 * SECOND
SHAPES = ("quorum-loss", "constrained", "chained", "hub")
PROTOCOLS = ("multi-paxos", "flexible-paxos", "fast-paxos", "raft")
SERVED = 20
"""Service is back with so many answered operations: one may be lucky."""


def recovery_us(protocol: str, shape: str, seed: int) -> int | None:
    """From the cut to the answer with which service is back, if it came back while it lasted."""
    leader = _leader(protocol, seed)
    hub = leader % 5 + 1
    times: dict[str, Any] = {"id": "f", "start_us": 2 * SECOND, "duration_us": HOLD_US}
    struck: list[Fault] = [Partition(**times, nodes=(leader, hub), shape=shape)]
    if shape == "constrained":
        before = {"id": "before", "start_us": SECOND, "duration_us": SECOND}
        struck.insert(0, Partition(**before, nodes=(hub,), shape="isolate"))
    done = run(
        *struck, target=protocol, nodes=5, seed=seed, rate=100.0, concurrency=10, time_us=9 * SECOND
    )
    assert not done.symptoms, done.sentence
    moments = {
        what: next(
            e.time // 1000
            for e in done.events
            if e.f == what and e.type == "info" and e.value["id"] == "f"
        )
        for what in ("inject", "heal")
    }
    began, ended = moments["inject"], moments["heal"]
    invoked = {e.process: e.time // 1000 for e in done.events if e.type == "invoke"}
    answers = []
    for event in done.events:
        if event.type == "invoke":
            invoked[event.process] = event.time // 1000
        elif event.type == "ok" and began < invoked[event.process] < event.time // 1000 < ended:
            answers.append(event.time // 1000)
    return answers[SERVED] - began if len(answers) > SERVED else None


def _leader(protocol: str, seed: int) -> int:
    """The node that leads in the run of this seed, until a fault strikes."""
    quiet = run(target=protocol, nodes=5, seed=seed, rate=100.0, concurrency=10, time_us=SECOND)
    leader = quiet.runtime.world.leader()
    assert leader is not None
    return leader


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_service_returns_within_four_time_outs_while_the_links_stay_cut(
    protocol: str, shape: str, seed: int
) -> None:
    taken_us = recovery_us(protocol, shape, seed)
    if (protocol, shape) == ("raft", "constrained"):
        assert taken_us is None
    else:
        assert taken_us is not None and taken_us < 4 * ELECTION_US

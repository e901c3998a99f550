"""The log as a certificate: it may reject a valid run, but never accepts an invalid one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from harness.run.log_certificate import log_explains
from harness.run.simulation import SimulatedRun, simulate
from harness.search.swarm import SweepPlan, draw
from histories.agreement import check_agreement
from histories.checker import check
from histories.events import Event


def proves(run: SimulatedRun, events: list[Event] | None = None) -> bool:
    lives = {n: node.lives for n, node in run.runtime.world.nodes.items()}
    return log_explains(run.runtime.decided(), lives, run.events if events is None else events)


def some_run(seed: int, mutant: str | None = None) -> SimulatedRun:
    fixed: dict[str, Any] = {"time_us": 3_000_000, "rate": 60.0}
    if mutant is not None:
        fixed |= {"nodes": 3, "faults": ("partition", "power")}
    return simulate(*draw(SweepPlan(protocol="multi-paxos", mutant=mutant, fixed=fixed), seed))


@pytest.mark.parametrize("seed", range(10))
def test_it_proves_runs_of_the_correct_protocol(seed: int) -> None:
    assert proves(some_run(seed))


def _other_value(random: Random, event: Event) -> Event:
    return event._replace(value=random.randrange(1, 40))


def _unwritten(_: Random, event: Event) -> Event:
    return event._replace(value=10**9)


def _nothing(_: Random, event: Event) -> Event:
    return event._replace(value=None)


@pytest.mark.parametrize("change", [_other_value, _unwritten, _nothing])
def test_the_checker_confirms_what_it_proves_of_a_tampered_history(
    change: Callable[[Random, Event], Event],
) -> None:
    """Reads are changed to have returned another value; a proof must still be correct then."""
    random = Random(7)
    proven = refused = 0
    for seed in range(12):
        run = some_run(seed)
        reads = [i for i, e in enumerate(run.events) if e.type == "ok" and e.f == "read"]
        for i in random.sample(reads, min(5, len(reads))):
            events = list(run.events)
            events[i] = change(random, events[i])
            if proves(run, events):
                proven += 1
                assert check(events, model="kv", time_limit_s=30).outcome == "valid"
            else:
                refused += 1
    assert refused > 5


def test_reads_that_go_backwards_are_no_proof() -> None:
    run = some_run(3)
    oks = [i for i, e in enumerate(run.events) if e.type == "ok" and e.f == "read" and e.value]
    early, late = (
        oks[0],
        next(
            i
            for i in reversed(oks)
            if run.events[i].key == run.events[oks[0]].key
            and run.events[i].value != run.events[oks[0]].value
        ),
    )
    events = list(run.events)
    events[late] = events[late]._replace(value=events[early].value)
    assert not proves(run, events)
    assert check(events, model="kv", time_limit_s=30).outcome == "invalid"


@pytest.mark.parametrize("mutant", ["M3", "B6"])
def test_it_proves_nothing_about_replicas_that_disagree(mutant: str) -> None:
    disagreed = 0
    for seed in range(25):
        run = some_run(seed, mutant)
        if check_agreement(run.runtime.decided(), run.events).outcome == "invalid":
            disagreed += 1
            assert not proves(run)
    assert disagreed


def test_an_acknowledged_write_that_no_log_holds_is_no_proof() -> None:
    run = some_run(1)
    write = next(e for e in run.events if e.type == "ok" and e.f == "write")
    assert write.extra is not None
    name = (write.extra["client"], write.extra["seq"])
    for node in run.runtime.world.nodes.values():
        node.decided = [
            d._replace(commands=tuple(c for c in d.commands if (c.client, c.seq) != name))
            for d in node.decided
        ]
    assert not proves(run)


def test_a_definite_failure_that_was_decided_is_no_proof() -> None:
    run = some_run(1)
    events = [
        e._replace(type="fail", error="not-leader") if e.type == "ok" and e.f == "write" else e
        for e in run.events
    ]
    assert not proves(run, events)
    assert dataclasses.asdict(run.stats)["outcomes"]["ok"]

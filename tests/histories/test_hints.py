"""Where the system reports an order, it is tried first, and verified."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from histories.checker import check
from histories.checker.certificate import replay
from histories.checker.compiled import available
from histories.drains import drains_split
from histories.events import Event
from histories.formats import native
from histories.models import MODELS, model_named
from tests.histories.generating import history, linearizable, operations_of

both = pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not available(), reason="the kernel is not built here")
        ),
        False,
    ],
)


def crowded(clients: int = 60, rounds: int = 6, *, stale: bool = False) -> list[Event]:
    """Rounds in which all clients add to a counter, or read it, at once: which additions come
    before a read is a subset-sum problem, infeasible for a search. Every completion has its
    position; with `stale` one read returns another value."""
    draw, events, value, place = random.Random(9), [], 0, 0
    for _ in range(rounds):
        first = len(events)
        steps = [
            (c, "read" if c % 3 == 0 else "add", draw.randrange(1, 1 << 29)) for c in range(clients)
        ]
        for c, f, given in steps:
            argument = None if f == "read" else given
            events.append(Event(len(events), 0, c, "invoke", f, "k", argument))
        landed = draw.sample(steps, clients)
        done = []
        for c, f, given in landed:
            place += 1
            value += given if f == "add" else 0
            done.append((c, f, value if f == "read" else given, place))
        for c, f, answer, at in draw.sample(done, clients):
            said: Any = 99 if stale and f == "read" and at > place - 3 else answer
            events.append(Event(len(events), 0, c, "ok", f, "k", said, extra={"order": at}))
        assert len(events) == first + 2 * clients
    return events


@both
@pytest.mark.parametrize("as_file", [True, False])
def test_a_hint_decides_where_the_search_cannot(
    tmp_path: Path, as_file: bool, kernel: bool
) -> None:
    events = crowded()
    source: Any = events
    if as_file:
        source = tmp_path / "h.jsonl"
        native.write(source, events)
    verdict = check(source, model="counter", kernel=kernel, linearization=True, time_limit_s=60)
    assert (verdict.outcome, verdict.partitions[0].method) == ("valid", "hint")
    replay(
        model_named("counter"),
        operations_of("counter", events),
        verdict.partitions[0].linearization or (),
    )
    bare = [event._replace(extra=None) for event in events]
    assert check(bare, model="counter", kernel=kernel, time_limit_s=0.3).outcome == "unknown"


@both
def test_a_false_hint_does_not_hide_a_violation(kernel: bool) -> None:
    verdict = check(crowded(stale=True), model="counter", kernel=kernel, time_limit_s=1)
    assert verdict.outcome != "valid"


@both
@pytest.mark.parametrize("name", MODELS)
def test_hints_do_not_change_a_verdict(name: str, kernel: bool) -> None:
    model, by_hint = model_named(name), 0
    for seed in range(300):
        draw = random.Random(f"hints:{seed}")
        events = drains_split(history(name, seed, largest=6))[0]
        operations = operations_of(name, events)
        places = {op.call: draw.randrange(4) for op in operations}
        if draw.random() < 0.7:
            found = check(events, model=name, linearization=True, kernel=kernel)
            for part in found.partitions:
                places.update((call, n) for n, call in enumerate(part.linearization or ()))
        hinted = list(events)
        for op in operations:
            if op.outcome != "info":
                hinted[op.ret] = events[op.ret]._replace(extra={"order": places[op.call]})
        verdict = check(hinted, model=name, kernel=kernel)
        assert (verdict.outcome == "valid") == linearizable(model, operations), seed
        by_hint += any(part.method == "hint" for part in verdict.partitions)
    if name in ("counter", "string-map", "mutex", "fenced-lock"):
        assert by_hint > 30

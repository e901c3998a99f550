"""The monitors of queues and stacks: exact on arbitrary intervals, and fast where a search is not.

The histories here are not made by running an object: operations get random intervals, each on a
process of its own, so that everything overlaps with everything.
"""

from __future__ import annotations

import os
import random

import pytest

from histories.checker import check
from histories.checker.certificate import replay
from histories.checker.compiled import available
from histories.checker.evidence import fails_alone
from histories.events import Event
from histories.models import model_named
from histories.operations import pair
from tests.histories.generating import linearizable

COUNT = int(os.environ.get("ANTIPAXOS_DIFFERENTIAL", "2000"))
PUT = {"queue": "enqueue", "stack": "push"}
TAKE = {"queue": "dequeue", "stack": "pop"}

needs_kernel = pytest.mark.skipif(not available(), reason="the kernel is not built here")


def intervals(name: str, seed: int, *, doubt: float = 0.0) -> list[Event]:
    """A few elements put and mostly taken, and takes that find nothing, at random times that make
    valid histories likely. `doubt` is the share of operations with unknown outcome."""
    draw = random.Random(f"{name}:{seed}:{doubt}")
    spread = draw.choice([2.0, 6.0, 20.0])
    spans: list[tuple[float, float, str, object]] = []
    for element in range(draw.randint(1, 5)):
        put, staying = draw.uniform(0, 30), draw.uniform(0, 25)
        spans.append((put, put + draw.uniform(0, spread), PUT[name], element))
        if draw.random() < 0.8:
            take = put + staying
            spans.append((take, take + draw.uniform(0, spread), TAKE[name], element))
    for _ in range(draw.choice([0, 0, 1, 2])):
        at = draw.uniform(0, 50)
        spans.append((at, at + draw.uniform(0, 2 * spread), TAKE[name], None))
    moments: list[tuple[float, int, str, str, object]] = []
    for process, (call, ret, f, value) in enumerate(spans):
        unknown = draw.random() < doubt
        moments.append((call, process, "invoke", f, value if f == PUT[name] else None))
        moments.append((ret, process, "info" if unknown else "ok", f, None if unknown else value))
    moments.sort(key=lambda moment: moment[0])
    return [Event(i, i, p, kind, f, None, v) for i, (_, p, kind, f, v) in enumerate(moments)]


@needs_kernel
@pytest.mark.parametrize("name", ["stack", "queue"])
@pytest.mark.parametrize("doubt", [0.0, 0.25])
def test_the_monitors_are_exact(name: str, doubt: float) -> None:
    model = model_named(name)
    outcomes = {"valid": 0, "invalid": 0}
    by_search = 0
    for seed in range(COUNT // 2):
        events = intervals(name, seed, doubt=doubt)
        operations = pair(events)
        truth = "valid" if linearizable(model, operations) else "invalid"
        part = check(events, model=name, linearization=True).partitions[0]
        assert part.outcome == truth, seed
        if doubt == 0.0:
            assert part.method == name, seed
        by_search += part.method == "search"
        if truth == "valid":
            replay(model, operations, part.linearization or ())
        else:
            assert part.evidence is not None and part.evidence.minimal, seed
            assert fails_alone(model, part.evidence.operations, operations), seed
        if seed % 4 == 0:
            reference = check(events, model=name, kernel=False).partitions[0]
            assert reference.outcome == truth, seed
        outcomes[truth] += 1
    assert by_search <= COUNT // 8
    if COUNT >= 1000:
        assert min(outcomes.values()) > COUNT // 20, outcomes


def busy(name: str, operations: int, clients: int) -> list[Event]:
    """A history of a real object under many clients, too large for a search."""
    draw = random.Random(f"{name}:busy")
    events: list[Event] = []
    held: list[int] = []
    waiting: dict[int, tuple[str, int | None]] = {}
    begun = 0
    while begun < operations or waiting:
        process = draw.randrange(clients)
        if process in waiting:
            f, value = waiting.pop(process)
            events.append(Event(len(events), len(events), process, "ok", f, None, value))
        elif begun < operations:
            begun += 1
            puts = draw.random() < 0.55
            f = PUT[name] if puts else TAKE[name]
            events.append(
                Event(len(events), len(events), process, "invoke", f, None, begun if puts else None)
            )
            if puts:
                held.append(begun)
            taken = None if puts or not held else held.pop(-1 if name == "stack" else 0)
            waiting[process] = (f, begun if puts else taken)
    return events


@needs_kernel
@pytest.mark.parametrize("name", ["stack", "queue"])
def test_many_operations_of_many_clients_are_decided(name: str) -> None:
    events = busy(name, operations=20_000, clients=40)
    part = check(events, model=name, linearization=True).partitions[0]
    assert (part.outcome, part.method) == ("valid", name)
    replay(model_named(name), pair(events), part.linearization or ())
    took = [e for e in events if e.f == TAKE[name] and e.type == "ok" and e.value is not None]
    again = took[len(took) // 2]._replace(value=took[0].value)
    spoilt = [again if e.index == again.index else e for e in events]
    found = check(spoilt, model=name).partitions[0]
    assert found.outcome == "invalid"
    assert found.evidence is not None and found.evidence.anomaly == "taken-twice"

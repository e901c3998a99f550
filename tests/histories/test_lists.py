"""Longer lists than in the differential tests: the rule for lists compared with the search, and its
evidence, which names few operations and few elements, with the search of these alone."""

from __future__ import annotations

from random import Random

import pytest

from histories.checker import check
from histories.checker.compiled import available
from histories.checker.evidence import fails_alone
from histories.checker.reference_search import search
from histories.events import Event
from histories.models import model_named
from histories.operations import pair

pytestmark = pytest.mark.skipif(not available(), reason="the kernel is not built here")


def listed(random: Random, appends: int, clients: int) -> list[Event]:
    """Clients that append and read, each operation taking effect somewhere between its call and its
    return; now and then one gets no answer."""
    events: list[Event] = []
    state: list[int] = []
    busy: dict[int, tuple[str, int | None, list[int] | None]] = {}
    ids, appended = list(range(clients)), 0
    while appended < appends or busy:
        place = random.randrange(clients)
        process = ids[place]
        f, value, result = busy.get(process, ("", None, None))
        if not f and appended < appends:
            f = random.choice(["append", "read"])
            appended += f == "append"
            busy[process] = (f, appended if f == "append" else None, None)
            value, kind, shown = busy[process][1], "invoke", busy[process][1]
        elif not f:
            continue
        elif result is None:
            if f == "append" and value is not None:
                state.append(value)
            busy[process] = (f, value, list(state))
            continue
        else:
            kind = "ok" if random.random() < 0.95 else "info"
            shown = result if f == "read" else value  # type: ignore[assignment]
            del busy[process]
            if kind == "info":
                ids[place] = max(ids) + 1
        events.append(Event(len(events), len(events), process, kind, f, "x", shown))
    return events


def spoilt(random: Random, events: list[Event]) -> list[Event]:
    """The same with another result of one read, which may be wrong."""
    reads = [e for e in events if e.f == "read" and e.type == "ok" and len(e.value) > 1]
    if not reads:
        return events
    read = random.choice(reads)
    items = list(read.value)
    place = random.randrange(len(items) - 1)
    match random.randrange(5):
        case 0:
            del items[place]
        case 1:
            items.append(items[place])
        case 2:
            items[place], items[place + 1] = items[place + 1], items[place]
        case 3:
            items = items[:place]
        case _:
            items.append(random.choice([999, items[-1] + 1]))
    return [e._replace(value=items) if e is read else e for e in events]


@pytest.mark.parametrize("model", ["log", "kv"])
def test_the_rule_and_the_search_agree_and_the_evidence_fails_by_itself(model: str) -> None:
    judge, outcomes = model_named(model), {"valid": 0, "invalid": 0}
    for seed in range(600):
        random = Random(seed)
        events = listed(random, appends=14, clients=3)
        if seed % 2:
            events = spoilt(random, events)
        operations = pair(events)
        truth = search(judge, operations).outcome
        verdict = check(events, model=model)
        assert verdict.outcome == truth, seed
        outcomes[truth] += 1
        part = verdict.partitions[0]
        if truth == "invalid" and part.method == "log":
            assert part.evidence is not None
            assert len(part.evidence.operations) <= 10, seed
            assert fails_alone(judge, part.evidence.operations, operations), seed
    assert min(outcomes.values()) > 100

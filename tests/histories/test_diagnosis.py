"""The diagnosis besides the violation: weaker levels, parts, session guarantees."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from histories.checker import Verdict, check
from histories.checker.consistency_levels import is_sequential
from histories.models import ILLEGAL, MODELS, Model, model_named
from histories.operations import Operation
from tests.histories.generating import history, operations_of
from tests.histories.test_models import OK, events

SEQUENTIAL = "it is still sequentially consistent: each client could have seen one order of all"
NOT_SEQUENTIAL = "it is not even sequentially consistent"


def diagnosed(model: str, *steps: tuple[Any, ...], initial: Any = None) -> tuple[str, ...]:
    verdict: Verdict = check(events(*steps), model=model, initial=initial)
    assert verdict.outcome == "invalid"
    return verdict.partitions[0].weaker


CASES: list[tuple[str, Any, list[tuple[Any, ...]], list[str]]] = [
    # A value that was read before it was written: only real time forbids it.
    ("register", None, [(1, "read", None, 7), (2, "write", 7, OK)], [SEQUENTIAL]),
    ("set", None, [(1, "add", 1, OK), (2, "read", None, [])], [SEQUENTIAL]),
    ("set", None, [(1, "add", 1, OK), (1, "read", None, [])],
     [NOT_SEQUENTIAL, "read your writes broken: client 1 read"]),
    ("set", None, [(1, "add", 1, OK), (2, "read", None, [1]), (2, "read", None, [])],
     [NOT_SEQUENTIAL, "monotonic reads broken: client 2"]),
    ("set", None, [(1, "add", 1, OK), (1, "add", 2, OK), (2, "read", None, [2])],
     [NOT_SEQUENTIAL, "monotonic writes broken: client 2"]),
    ("set", None, [(1, "add", 1, OK), (2, "read", None, [1]), (2, "add", 2, OK),
                   (3, "read", None, [2])],
     [NOT_SEQUENTIAL, "writes follow reads broken: client 3"]),
    ("set", None, [(1, "add", 1, OK), (1, "contains", 1, False)],
     [NOT_SEQUENTIAL, "read your writes broken"]),
    ("log", None, [(1, "append", 1, OK), (1, "read", None, [])],
     [NOT_SEQUENTIAL, "read your writes broken"]),
    ("queue", None, [(1, "enqueue", 1, OK), (1, "dequeue", None, None)],
     [NOT_SEQUENTIAL, "read your writes broken"]),
    ("queue", None, [(1, "enqueue", 1, OK), (2, "dequeue", None, None)], [SEQUENTIAL]),
    ("queue", None, [(1, "enqueue", 1, OK), (1, "enqueue", 2, OK), (2, "dequeue", None, 2),
                     (2, "dequeue", None, 1)], [NOT_SEQUENTIAL, "monotonic writes broken"]),
    ("multi-register", None, [(0, "write", {"x": 1}, OK), (0, "write", {"y": 1}, OK),
                              (1, "invoke", "read", None), (1, "ok", "read", {"x": 5})],
     [NOT_SEQUENTIAL, "register x is not linearizable even by itself"]),
    ("bank", [10, 10], [(1, "transfer", {"from": 0, "to": 1, "amount": 3}, OK),
                        (2, "read", None, [10, 10])],
     [SEQUENTIAL, "account 0 is not linearizable even by itself"]),
    ("counter-range", None, [(1, "read", None, 7)], []),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_lines(number: int) -> None:
    model, initial, steps, expected = CASES[number]
    lines = diagnosed(model, *steps, initial=initial)
    assert len(lines) == len(expected), lines
    for line, begins in zip(lines, expected, strict=True):
        assert line.startswith(begins)


def test_registers_that_are_linearizable_separately_but_not_together() -> None:
    torn = [
        (0, "invoke", "write", {"x": 1, "y": 1}),
        (1, "read", None, {"x": 1, "y": None}),
        (0, "ok", "write", {"x": 1, "y": 1}),
    ]
    together = "each of its parts is linearizable by itself, but not all of them together"
    assert diagnosed("multi-register", *torn) == (NOT_SEQUENTIAL, together)


def sequential(model: Model, operations: list[Operation]) -> bool:
    """Try every order that keeps each client's own."""
    own = [
        [op for op in operations if op.process == process]
        for process in dict.fromkeys(op.process for op in operations)
    ]
    tried: set[tuple[Any, tuple[int, ...]]] = set()

    def possible(state: Any, done: tuple[int, ...]) -> bool:
        if (state, done) in tried:
            return False
        tried.add((state, done))
        rest = itertools.chain.from_iterable(ops[n:] for ops, n in zip(own, done, strict=True))
        if all(op.outcome == "info" for op in rest):
            return True
        for i, (ops, n) in enumerate(zip(own, done, strict=True)):
            if n < len(ops):
                after = model.step(state, ops[n])
                moved = (*done[:i], n + 1, *done[i + 1 :])
                if after is not ILLEGAL and possible(after, moved):
                    return True
        return False

    return possible(model.initial(), (0,) * len(own))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "counter-range"])
def test_the_diagnosis_of_sequential_consistency_is_correct(name: str) -> None:
    model = model_named(name)
    said = 0
    for seed in range(250):
        recorded = history(name, seed, largest=7)
        operations = operations_of(name, recorded)
        truth = sequential(model, operations)
        assert is_sequential(model, operations) in (truth, None), seed
        for part in check(recorded, model=name).partitions:
            if part.outcome == "invalid":
                said += 1
                assert part.weaker[0] in ((SEQUENTIAL if truth else NOT_SEQUENTIAL),), seed
    assert said

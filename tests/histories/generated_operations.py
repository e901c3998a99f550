"""Operations of each model, and the answers an object may give in a state (see `generating.py`).

`questions` gives operations to choose from; `answers` gives candidates, of which the model itself
decides which are correct. Wrong answers are other candidates, and values of other kinds.
"""

from __future__ import annotations

import random
from typing import Any

from histories.models import ILLEGAL, Model
from histories.operations import Operation, freeze, thaw

JUNK: list[Any] = [None, True, False, "x", -1, 1.5, [], [1], {"a": 1}, {"#set": [1]}]


def questions(name: str, draw: random.Random, value: int) -> list[tuple[str, Any]]:
    """(f, argument) for one model; `value` is new, or drawn from few."""
    account, other, n = draw.choice("ab"), draw.choice("abc"), draw.randint(1, 2)
    name_of = draw.choice("xy")
    asked: dict[str, list[tuple[str, Any]]] = {
        "bank": [
            ("transfer", {"from": account, "to": other, "amount": n}),
            ("transfer", {"from": account, "to": other, "amount": n}),
            ("deposit", {"account": account, "amount": n}),
            ("withdraw", {"account": account, "amount": n}),
            ("read", None),
            ("read", None),
            ("balance", account),
            ("total", None),
        ],
        "counter-range": [("read", None), ("add", draw.choice([1, 1, 2, -1])), ("inc", None)],
        "multi-register": [
            ("write", {name_of: value}),
            ("write", {"x": value, "y": value}),
            ("read", None),
            ("read", ["x", "y"]),
            ("txn", [["r", name_of, None], ["w", "x", value]]),
            ("txn", [["w", "x", value], ["r", "x", None], ["r", "y", None]]),
        ],
        "priority-queue": [
            ("insert", value),
            ("insert", draw.choice([value, [value % 3, value]])),
            ("delete-min", None),
            ("delete-min", None),
        ],
        "semaphore": [("acquire", n), ("acquire", None), ("release", None), ("release", n)],
        "unique-ids": [("generate", None)],
        "unordered-queue": [("enqueue", value), ("enqueue", value), ("dequeue", None)],
        "revision-kv": [
            ("put", value),
            ("get", None),
            ("get", None),
            ("delete", None),
            ("cas", [draw.randint(0, 6), value]),
        ],
        "watch": [
            ("put", value),
            ("put", value),
            ("delete", None),
            ("watch", draw.choice([None, 0, 2])),
            ("watch", None),
        ],
    }
    asked["unordered-queue"] += [("dequeue", None), ("drain", None)]
    locks = [("acquire", None), ("release", None)]
    if name in ("owned-mutex", "owned-fenced-lock", "reentrant-mutex", "reentrant-fenced-lock"):
        owner = draw.choice([None, None, {"client": "c"}])
        return [("acquire", owner), ("release", owner)]
    return asked.get(name, locks)


def candidates(name: str, state: Any, f: str, value: Any, draw: random.Random) -> list[Any]:
    """Answers of the right kind, some of which are right in this state."""
    found: list[Any] = []
    if name == "bank":
        held = dict(state.balances)
        found = {
            "read": [held, [1, 2], {"a": 3, "b": 1}, held | {"c": 1}],
            "balance": [held.get(str(value), 0), 1, 2],
            "total": [sum(held.values()), 3, 4],
        }.get(f, [value, None])
    elif name == "counter-range":
        found = [0, 1, 2, 3, 4, [0, 2], [1, 1]] if f == "read" else [value, None]
    elif name == "multi-register":
        found = _registers(thaw(tuple(sorted(state, key=repr))), f, value)
    elif name in ("priority-queue", "unordered-queue"):
        there = [thaw(v) for level in state for v, n in level.counts for _ in range(n)]
        if f == "drain":
            found = [there, there[1:], []]
        elif f in ("insert", "enqueue"):
            found = [value, None]
        else:
            found = [None, *there]
    elif name == "unique-ids":
        found = [draw.randrange(8), draw.randrange(8), draw.randrange(20)]
    elif name == "revision-kv":
        found = _revisions(state, f)
    elif name == "watch":
        found = _watched(state, f)
    elif "fenced" in name and f == "acquire":
        token = state.token if name == "reentrant-fenced-lock" else state[1]
        found = [False, token, token + 1, token + 2, {"fence": token + 1}]
    else:
        found = [None, None, False, True]
    return found


def _registers(held: Any, f: str, value: Any) -> list[Any]:
    registers = dict(held)
    if f == "write":
        return [value, None]
    if f == "read":
        both = [registers.get("x"), registers.get("y")]
        if value is not None:
            return [both, both[::-1], {"x": both[0]}]
        return [registers, {"x": both[0]}, {"x": 1}, {"y": both[1], "x": both[0]}]
    answers = []
    for stale in (False, False, True):
        now, answer = dict(registers), []
        for kind, register, given in value:
            if kind == "w":
                now[register] = given
                answer.append([kind, register, given])
            else:
                answer.append([kind, register, (registers if stale else now).get(register)])
        answers.append(answer)
    return answers


def _revisions(state: Any, f: str) -> list[Any]:
    if f == "get":
        return [
            None,
            [thaw(state.value), state.revision],
            {"value": thaw(state.value), "revision": state.revision + 1},
            [1, state.revision],
        ]
    return [None, state.revision + 1, {"revision": state.revision + 2}, state.revision]


def _watched(state: Any, f: str) -> list[Any]:
    events = [[revision, thaw(value)] for revision, _, value in state]
    if f == "watch":
        return [events, events[:-1], events[1:], [[r + 1, v] for r, v in events]]
    last = state[-1][0] if state else 0
    return [None, last + 1, last + 2, last]


def right_answer(
    model: Model, state: Any, f: str, value: Any, process: int, draw: random.Random
) -> tuple[Any, bool]:
    """An answer that the model accepts in this state, and whether there is one."""
    found = candidates(model.name, state, f, value, draw)
    draw.shuffle(found)
    for answer in found:
        if model.step(state, answering(f, value, answer, process)) is not ILLEGAL:
            return answer, True
    return None, False


def answering(f: str, value: Any, answer: Any, process: int, outcome: str = "ok") -> Operation:
    """An operation with this answer, at no particular time."""
    argument, result = freeze(value), freeze(answer)
    return Operation(0, process, f, None, argument, outcome, result, True, 0, 1, 0, 1)

"""Random small histories of every model, and a brute-force checker, simple enough to be trusted.

A history is made by running the model itself under a few clients, so that most are valid; noise in
the answers makes some of them invalid. Half of the histories write every value once, as the
monitors require; the others repeat values.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from histories.drains import QUEUES, drains_split
from histories.events import Event
from histories.models import ILLEGAL, MODELS, Model, model_named
from histories.operations import Operation, freeze, pair, thaw
from tests.histories.generated_operations import (
    JUNK,
    answering,
    candidates,
    questions,
    right_answer,
)


def operations_of(name: str, events: list[Event]) -> list[Operation]:
    """The operations of a history, as `check` makes them."""
    return pair(drains_split(events)[0] if name in QUEUES else events)


def in_range(operations: list[Operation]) -> bool:
    """The rule of counter-range, read by read."""
    for read in operations:
        if read.f != "read" or not read.seen:
            continue
        least = most = 0
        for op in operations:
            n = 0 if op.f == "read" else (1 if op.value is None else op.value)
            n = -n if op.f == "dec" else n
            surely, maybe = op.outcome == "ok" and op.ret < read.call, op.call < read.ret
            least += n if (surely if n > 0 else maybe) else 0
            most += n if (maybe if n > 0 else surely) else 0
        low, high = read.result if isinstance(read.result, tuple) else (read.result,) * 2
        if high < least or low > most:
            return False
    return True


def linearizable(model: Model, operations: list[Operation]) -> bool:
    """Try every order: take any operation that no other one must precede, then order the rest."""
    if model.name == "counter-range":
        return in_range(operations)
    n, tried = len(operations), set()

    def possible(state: Any, taken: int) -> bool:
        if (state, taken) in tried:
            return False
        tried.add((state, taken))
        rest = [i for i in range(n) if not taken >> i & 1]
        if all(operations[i].outcome == "info" for i in rest):
            return True
        first_return = min(operations[i].ret for i in rest)
        for i in rest:
            if operations[i].call < first_return:
                after = model.step(state, operations[i])
                if after is not ILLEGAL and possible(after, taken | 1 << i):
                    return True
        return False

    return possible(model.initial(), 0)


class _Client:
    def __init__(self, f: str, value: Any) -> None:
        self.f, self.value, self.applied, self.answer = f, value, False, None
        self.mismatch, self.process = False, 0


class Maker:
    """Makes one history from one seed."""

    def __init__(self, name: str, seed: str, *, keys: int = 1, junk: bool = False) -> None:
        self.draw = random.Random(f"{name}:{seed}")
        self.name, self.model = name, model_named(name)
        self.keys = [None] if keys == 1 else [f"k{i}" for i in range(keys)]
        self.states = {key: self.model.initial() for key in self.keys}
        self.unique = self.draw.random() < 0.5
        self.by_candidates = name in BY_CANDIDATES
        self.junk = junk
        self.drains = int(name == "queue" and self.draw.random() < 0.2)
        self.noise = self.draw.choice([0.0, 0.05, 0.3])
        self.number, self.seen = 0, [None]
        self.events: list[Event] = []

    def make(self, operations: int, clients: int) -> list[Event]:
        draw, idle, busy, begun = self.draw, list(range(clients)), {}, 0
        fresh = clients
        while busy or begun < operations:
            may_begin = begun < operations and idle
            if may_begin and (not busy or draw.random() < 0.5):
                process = idle.pop(draw.randrange(len(idle)))
                busy[process] = (draw.choice(self.keys), _Client(*self.begin()))
                key, client = busy[process]
                client.process = process
                self.event(process, "invoke", key, client.f, client.value)
                begun += 1
                continue
            process = draw.choice(sorted(busy))
            key, client = busy[process]
            if not client.applied and draw.random() < 0.7:
                self.apply(key, client)
            elif draw.random() < 0.04:
                break  # the run is cut off here
            else:
                del busy[process]
                if self.complete(process, key, client):
                    idle.append(process)
                else:
                    idle.append(fresh)
                    fresh += 1
        return self.events

    def event(self, process: int, kind: str, key: Any, f: str, value: Any, **more: Any) -> None:
        at = len(self.events)
        self.events.append(Event(at, at * 1000, process, kind, f, key, value, **more))

    def value(self) -> int:
        self.number += 1
        return self.number if self.unique else self.draw.randrange(3)

    def begin(self) -> tuple[str, Any]:
        choices: dict[str, list[tuple[str, Any]]] = {
            "register": [("read", None), ("write", self.value())],
            "cas-register": [
                ("read", None),
                ("write", self.value()),
                ("cas", [self.draw.choice(self.seen), self.value()]),
            ],
            "string-map": [
                ("get", None),
                ("get", None),
                ("append", f"a{self.value()}"),
                ("append", f"a{self.value()}"),
                ("put", "p"),
                ("delete", None),
            ],
            "counter": [("read", None), ("add", self.draw.choice([1, 1, 2, -1])), ("inc", None)],
            "set": [
                ("add", self.value()),
                ("remove", self.draw.randrange(4)),
                ("contains", self.draw.randrange(4)),
                ("read", None),
            ],
            "queue": [
                *[("enqueue", self.value())] * 4,
                *[("dequeue", None)] * 4,
                *[("drain", None)] * self.drains,
            ],
            "stack": [("push", self.value()), ("pop", None)],
            "log": [("append", self.value()), ("read", None)],
        }
        if self.name not in (*choices, "kv"):
            return self.draw.choice(questions(self.name, self.draw, self.value()))
        more = [("read", None), ("append", self.value()), ("delete", None)]
        choices["kv"] = [*choices["cas-register"], *more]
        if self.name == "kv" and self.unique:
            # A key is a register or a list: a key that is both is decided by the search only.
            choices["kv"] = choices["cas-register"]
        if self.name == "set" and self.unique and self.noise < 0.3:
            choices["set"] = [("add", self.value()), ("read", None)]
        return self.draw.choice(choices[self.name])

    def apply(self, key: Any, client: _Client) -> None:
        """Let the operation take effect now, and record what it will answer."""
        state = self.states[key]
        client.applied = True
        if self.by_candidates:
            self.apply_candidate(key, client)
            return
        client.answer, client.mismatch = _answer(self.name, state, client, self.draw)
        outcome = "mismatch" if client.mismatch else "ok"
        plain = Operation(
            0,
            0,
            client.f,
            key,
            freeze(client.value),
            outcome,
            freeze(client.answer),
            client.f not in ("append", "write", "put"),
            0,
            1,
            0,
            1,
        )
        after = self.model.step(state, plain)
        if after is ILLEGAL:  # a release of a free lock: it does not happen
            client.applied = False
        else:
            self.states[key] = after

    def apply_candidate(self, key: Any, client: _Client) -> None:
        """The same, with an answer that the model itself accepts."""
        f, value, state = client.f, client.value, self.states[key]
        client.answer, possible = right_answer(
            self.model, state, f, value, client.process, self.draw
        )
        if not possible:
            mismatch = answering(f, value, None, client.process, "mismatch")._replace(seen=False)
            client.mismatch = f == "cas" and self.model.step(state, mismatch) is not ILLEGAL
            client.applied = client.mismatch
            return
        plain = answering(f, value, client.answer, client.process)
        self.states[key] = self.model.step(state, plain)

    def complete(self, process: int, key: Any, client: _Client) -> bool:
        """Write the completion; False where the process ends with it."""
        f, value, draw = client.f, client.value, self.draw
        if draw.random() < 0.12:
            self.event(process, "info", key, f, value, error="timeout")
            return False
        lie = draw.random() < self.noise
        if not client.applied and not lie:
            self.event(process, "fail", key, f, value, error="refused")
        elif client.mismatch and not lie:
            known = draw.random() < 0.7
            saw = {"observed": client.answer, "has_observed": True} if known else {}
            self.event(process, "fail", key, f, value, error="mismatch", **saw)
        elif self.by_candidates:
            self.complete_candidate(process, key, client, lie)
        elif f == "cas":
            self.event(process, "ok", key, f, value)
        elif self.name == "log" and f == "append" and draw.random() < 0.3:
            offset = client.answer if client.applied else 0
            told = {"observed": offset, "has_observed": True}
            self.event(process, "ok", key, f, value, **told)
        else:
            answer = client.answer if client.applied else self.anything(f)
            answer = self.wrong(f, answer) if lie else answer
            self.seen.append(answer if f == "read" and not isinstance(answer, list) else value)
            self.seen = [v for v in self.seen if not isinstance(v, list)][-4:] or [None]
            self.event(process, "ok", key, f, answer)
        return True

    def complete_candidate(self, process: int, key: Any, client: _Client, lie: bool) -> None:
        f, value, answer = client.f, client.value, client.answer
        if lie or not client.applied:
            found = candidates(self.name, self.states[key], f, value, self.draw)
            answer = self.draw.choice(found)
            if self.is_junk():
                answer = self.draw.choice(JUNK)
        self.event(process, "ok", key, f, answer)

    def anything(self, f: str) -> Any:
        if f == "delete" or self.name == "string-map":
            return None
        if f in ("contains", "add", "remove") and self.name == "set":
            return self.draw.random() < 0.5
        if f == "drain":
            return [self.draw.randrange(3)]
        if self.name == "counter":
            return 0
        return [] if self.name in ("set", "log") and f == "read" else self.draw.randrange(3)

    def wrong(self, f: str, answer: Any) -> Any:
        if self.is_junk():
            return self.draw.choice(JUNK)
        if (self.name == "set" and f in ("add", "remove")) or f == "delete":
            return self.draw.random() < 0.5
        return self.nearly(answer)

    def is_junk(self) -> bool:
        return self.junk and self.draw.random() < 0.05

    def nearly(self, answer: Any) -> Any:
        if answer == []:
            return [self.draw.randrange(3)]
        if isinstance(answer, bool):
            return not answer
        if isinstance(answer, list) and answer:
            return self.draw.choice([answer[:-1], answer[::-1], [*answer, 99]])
        if isinstance(answer, str):
            return answer[:-2]
        if isinstance(answer, int):
            return max(0, answer + self.draw.choice([-2, -1, 1]))
        numbers = self.name in ("set", "log", "counter", "string-map")
        return answer if numbers else self.draw.choice([1, 2, None])


BY_CANDIDATES = frozenset(MODELS) - {
    "register",
    "cas-register",
    "kv",
    "string-map",
    "counter",
    "set",
    "queue",
    "stack",
    "log",
}


def _answer(name: str, state: Any, client: _Client, draw: random.Random) -> tuple[Any, bool]:
    """The object's answer in this state, and whether a cas did not match."""
    f, value = client.f, client.value
    answers: dict[str, Callable[[], Any]] = {
        "cas": lambda: thaw(state),
        "read": lambda: sorted(state) if name == "set" else thaw(state),
        "get": lambda: state,
        "contains": lambda: value in state,
        "add": lambda: draw.choice([value, None, value not in state]) if name == "set" else value,
        "remove": lambda: draw.choice([value, None, value in state]),
        "delete": lambda: draw.choice([None, state is not None, int(state is not None)]),
        "drain": lambda: thaw(state),
        "dequeue": lambda: state[0] if state else None,
        "pop": lambda: state[-1] if state else None,
        "append": lambda: len(state) if name == "log" else value,
    }
    answer = answers.get(f, lambda: value)()
    return answer, f == "cas" and state != freeze(value[0])


def history(
    name: str, seed: int | str, *, keys: int = 1, largest: int = 9, junk: bool = False
) -> list[Event]:
    """One random history of a model; the same for the same arguments. With `junk` some answers are
    of a wrong kind."""
    maker = Maker(name, f"{seed}:{keys}", keys=keys, junk=junk)
    return maker.make(maker.draw.randint(2, largest), maker.draw.randint(2, 5))

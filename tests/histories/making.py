"""Random small histories of every model, and a judge that is too simple to be wrong.

A history is made by running the model itself under a few clients, so that most are valid; noise in
the answers makes some of them invalid. Half of the histories write every value once, which is what
the monitors are for; the others repeat values.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from histories.events import Event
from histories.models import ILLEGAL, Model, model_named
from histories.operations import Operation, freeze, thaw


def linearizable(model: Model, operations: list[Operation]) -> bool:
    """Try every order: take any operation that no other one must precede; go on with the rest."""
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
        self.mismatch = False


class Maker:
    """Makes one history from one seed."""

    def __init__(self, name: str, seed: str, *, keys: int = 1) -> None:
        self.draw = random.Random(f"{name}:{seed}")
        self.name, self.model = name, model_named(name)
        self.keys = [None] if keys == 1 else [f"k{i}" for i in range(keys)]
        self.states = {key: self.model.initial() for key in self.keys}
        self.unique = self.draw.random() < 0.5
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
            "string-map": [("get", None), ("append", f"a{self.value()}"), ("put", "p")],
            "counter": [("read", None), ("add", self.draw.choice([1, 1, 2, -1])), ("inc", None)],
            "set": [
                ("add", self.value()),
                ("remove", self.draw.randrange(4)),
                ("contains", self.draw.randrange(4)),
                ("read", None),
            ],
            "queue": [("enqueue", self.value()), ("dequeue", None)],
            "stack": [("push", self.value()), ("pop", None)],
            "mutex": [("acquire", None), ("release", None)],
            "fenced-lock": [("acquire", None), ("release", None)],
            "log": [("append", self.value()), ("read", None)],
        }
        choices["kv"] = [*choices["cas-register"], ("read", None), ("append", self.value())]
        if self.name == "kv" and self.unique:
            # A key is a register or a list: both is what the search alone decides.
            choices["kv"] = choices["cas-register"]
        if self.name == "set" and self.unique and self.noise < 0.3:
            choices["set"] = [("add", self.value()), ("read", None)]
        return self.draw.choice(choices[self.name])

    def apply(self, key: Any, client: _Client) -> None:
        """Let the operation take effect now, and note what it will answer."""
        state = self.states[key]
        client.applied = True
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
        if after is ILLEGAL:  # a release of what nobody holds: it does not happen
            client.applied = False
        else:
            self.states[key] = after

    def complete(self, process: int, key: Any, client: _Client) -> bool:
        """Write the completion; False where the process is gone with it."""
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
        elif f == "cas":
            self.event(process, "ok", key, f, value)
        elif self.name == "log" and f == "append" and draw.random() < 0.3:
            told = {"observed": client.answer, "has_observed": True}
            self.event(process, "ok", key, f, value, **told)
        else:
            answer = client.answer if client.applied else self.anything(f)
            answer = self.wrong(f, answer) if lie else answer
            self.seen.append(answer if f == "read" and not isinstance(answer, list) else value)
            self.seen = [v for v in self.seen if not isinstance(v, list)][-4:] or [None]
            self.event(process, "ok", key, f, answer)
        return True

    def anything(self, f: str) -> Any:
        if self.name == "counter":
            return 0
        return [] if self.name in ("set", "log") and f == "read" else self.draw.randrange(3)

    def wrong(self, f: str, answer: Any) -> Any:
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


def _answer(name: str, state: Any, client: _Client, draw: random.Random) -> tuple[Any, bool]:
    """What the object answers in this state, and whether a cas did not match."""
    f, value = client.f, client.value
    answers: dict[str, Callable[[], Any]] = {
        "cas": lambda: thaw(state),
        "read": lambda: sorted(state) if name == "set" else thaw(state),
        "get": lambda: state,
        "contains": lambda: value in state,
        "dequeue": lambda: state[0] if state else None,
        "pop": lambda: state[-1] if state else None,
        "acquire": lambda: state[1] + draw.choice([1, 2]) if name == "fenced-lock" else None,
        "append": lambda: len(state) if name == "log" else value,
    }
    answer = answers.get(f, lambda: value)()
    return answer, f == "cas" and state != freeze(value[0])


def history(name: str, seed: int | str, *, keys: int = 1, largest: int = 9) -> list[Event]:
    """One random history of a model; the same for the same arguments."""
    maker = Maker(name, f"{seed}:{keys}", keys=keys)
    return maker.make(maker.draw.randint(2, largest), maker.draw.randint(2, 5))

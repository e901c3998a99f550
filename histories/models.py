"""The models: what a single copy of the object, used by one client at a time, would do.

A model says in which state an object begins, and what one operation makes of a state: the next
state, or ILLEGAL where the object could not have answered so. States and values are hashable
(`operations.freeze`). Every model is partitioned by key: the operations on one key are one object.

    register       read, write
    cas-register   read, write, cas [expected, new]
    kv             as cas-register, and append (to null or a list); the key-value map of our nodes
    string-map     get, put, append on texts; a missing key reads as ""
    counter        read, add n (also inc, dec)
    set            add v, remove v, contains v -> true or false, read -> every element
    queue          enqueue v, dequeue -> v, or null from an empty queue
    stack          push v, pop -> v, or null from an empty stack
    mutex          acquire, release
    fenced-lock    acquire -> token, release: tokens rise from holder to holder
    log            append v (with `observed`: its offset), read -> every element in order

A model of your own is a class with the same four members; see `Model`. It runs through the same
search, in Python. Operations whose outcome is `info` have no result: any answer is possible, so a
step constrains only what the state requires. An operation that cannot take effect in a state
(a compare-and-set with unknown outcome that does not match) leaves the state as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from histories.errors import BadInitial, UnknownModel, UnknownOperation
from histories.events import Json
from histories.operations import Bool, Operation, elements_of, freeze, thaw

State: TypeAlias = Hashable


class _Illegal:
    def __repr__(self) -> str:
        return "ILLEGAL"


ILLEGAL: Final = _Illegal()
"""What `step` returns where the object could not have answered as the operation says."""


class Model(Protocol):
    """What the checker needs of a model. `reads` names the operations that never change a state:
    they may be ordered greedily and dropped where their outcome is unknown."""

    @property
    def name(self) -> str: ...

    @property
    def operations(self) -> frozenset[str]: ...

    @property
    def reads(self) -> frozenset[str]: ...

    def initial(self) -> State: ...

    def step(self, state: Any, operation: Operation) -> Any: ...


class Register:
    """Read, write and compare-and-set one value; `initial` is what it holds at first."""

    name = "cas-register"
    operations: frozenset[str] = frozenset(("read", "write", "cas"))
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = freeze(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        f, value = operation.f, operation.value
        if f == "read":
            return state if not operation.seen or operation.result == state else ILLEGAL
        if f == "write":
            return value
        return step_cas(state, operation)


def step_cas(state: Any, operation: Operation) -> Any:
    """Compare-and-set: ok matched, mismatch did not (and may say what it saw), info may have."""
    expected, new = operation.value
    if operation.outcome == "mismatch":
        if operation.seen and operation.result != state:
            return ILLEGAL
        return ILLEGAL if expected == state else state
    if expected == state:
        return new
    return ILLEGAL if operation.outcome == "ok" else state


class PlainRegister(Register):
    name = "register"
    operations = frozenset(("read", "write"))


class KeyValue(Register):
    """The key-value map of our nodes, one key of it."""

    name = "kv"
    operations = frozenset(("read", "write", "cas", "append"))

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f != "append":
            return super().step(state, operation)
        held = elements_of(state)
        if held is None:
            return ILLEGAL if operation.outcome == "ok" else state
        return (*held, operation.value)


class StringMap:
    """Texts that grow: get, put, append."""

    name = "string-map"
    operations: ClassVar[frozenset[str]] = frozenset(("get", "put", "append", "read", "write"))
    reads: ClassVar[frozenset[str]] = frozenset(("get", "read"))

    def __init__(self, initial: Json = None) -> None:
        self._initial: str = "" if initial is None else initial

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f in self.reads:
            result = "" if operation.result is None else operation.result
            return state if not operation.seen or result == state else ILLEGAL
        return f"{state}{operation.value}" if operation.f == "append" else operation.value


class Counter:
    """add n (inc is add 1, dec is add -1), read."""

    name = "counter"
    operations: ClassVar[frozenset[str]] = frozenset(("add", "inc", "dec", "read"))
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = 0 if initial is None else int(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "read":
            return state if not operation.seen or operation.result == state else ILLEGAL
        amount = 1 if operation.value is None else operation.value
        return state - amount if operation.f == "dec" else state + amount


class Set:
    """add v, remove v, contains v, read. A removal of what is not there changes nothing."""

    name = "set"
    operations: ClassVar[frozenset[str]] = frozenset(("add", "remove", "contains", "read"))
    reads: ClassVar[frozenset[str]] = frozenset(("contains", "read"))

    def __init__(self, initial: Json = None) -> None:
        self._initial = frozenset(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        f, value = operation.f, operation.value
        if f == "add":
            return state | {value}
        if f == "remove":
            return state - {value}
        if not operation.seen:
            return state
        if f == "contains":
            return state if (operation.result is Bool.TRUE) == (value in state) else ILLEGAL
        result = elements_of(operation.result)
        if result is None or len(result) != len(state):
            return ILLEGAL
        return state if frozenset(result) == state else ILLEGAL


class Queue:
    """First in, first out. A dequeue that returned null found the queue empty."""

    name = "queue"
    operations: frozenset[str] = frozenset(("enqueue", "dequeue"))
    reads: ClassVar[frozenset[str]] = frozenset()
    puts: str = "enqueue"
    end: int = 0

    def __init__(self, initial: Json = None) -> None:
        self._initial = tuple(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == self.puts:
            return (*state, operation.value)
        if not operation.seen:
            return self._rest(state)
        if not state:
            return state if operation.result is None else ILLEGAL
        return self._rest(state) if state[self.end] == operation.result else ILLEGAL

    def _rest(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        return state[1:]


class Stack(Queue):
    """Last in, first out."""

    name = "stack"
    operations = frozenset(("push", "pop"))
    puts = "push"
    end = -1

    def _rest(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        return state[:-1]


class Mutex:
    """acquire, release: held by at most one at a time."""

    name = "mutex"
    operations: ClassVar[frozenset[str]] = frozenset(("acquire", "release"))
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = bool(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        wanted = operation.f == "acquire"
        if state == wanted:
            return state if operation.outcome == "info" else ILLEGAL
        return wanted


class FencedLock:
    """A lock that hands out tokens, each higher than all before it. The state is (held, token):
    the least that the highest token so far can be; an acquire of unknown outcome got a higher one
    than all before it, nobody knows which."""

    name = "fenced-lock"
    operations: ClassVar[frozenset[str]] = frozenset(("acquire", "release"))
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = (False, -1 if initial is None else int(initial))

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        held, token = state
        if operation.f == "release":
            if held:
                return (False, token)
            return state if operation.outcome == "info" else ILLEGAL
        if held:
            return state if operation.outcome == "info" else ILLEGAL
        if not operation.seen:
            return (True, token + 1)
        result = operation.result
        return (True, result) if isinstance(result, int) and result > token else ILLEGAL


class Log:
    """append v, read. An append that says its offset (`observed`) landed exactly there."""

    name = "log"
    operations: ClassVar[frozenset[str]] = frozenset(("append", "read"))
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = tuple(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "append":
            if operation.observed and operation.result != len(state):
                return ILLEGAL
            return (*state, operation.value)
        same = not operation.seen or elements_of(operation.result) == state
        return state if same else ILLEGAL


MODELS: Final[dict[str, Callable[..., Model]]] = {
    "register": PlainRegister,
    "cas-register": Register,
    "kv": KeyValue,
    "string-map": StringMap,
    "counter": Counter,
    "set": Set,
    "queue": Queue,
    "stack": Stack,
    "mutex": Mutex,
    "fenced-lock": FencedLock,
    "log": Log,
}
"""Every model that has a name."""


def validate(model: Model, operations: Iterable[Operation]) -> None:
    """Refuse operations that the model does not have, or whose values it cannot have.

    Raises UnknownOperation, naming the event.
    """
    known, name = model.operations, model.name
    texts, numbers = name == "string-map", name == "counter"
    for op in operations:
        if op.f not in known:
            choices = ", ".join(sorted(known))
            raise UnknownOperation(
                f"the model {name} has no operation {op.f!r}; it has {choices}", line=op.call + 1
            )
        wrong = None
        if op.f == "cas" and not (isinstance(op.value, tuple) and len(op.value) == 2):
            wrong = "a cas needs the value [expected, new]"
        elif texts and op.f not in model.reads and not isinstance(op.value, str):
            wrong = f"the value of {op.f} must be a text"
        elif numbers and not _is_number(op):
            wrong = f"the value of {op.f} must be a whole number"
        if wrong:
            raise UnknownOperation(f"{wrong}, not {thaw(op.value)!r}", line=op.call + 1)


def _is_number(op: Operation) -> bool:
    if op.f == "read":
        return not op.seen or isinstance(op.result, int)
    return isinstance(op.value, int) or (op.value is None and op.f != "add")


def model_named(name: str, initial: Json = None) -> Model:
    """The model of that name, beginning with `initial` (null: its usual beginning).

    Raises UnknownModel, with the choices, and BadInitial where the model cannot begin with that.
    """
    if name not in MODELS:
        raise UnknownModel(f"no model {name!r}; there are {', '.join(MODELS)}")
    begins, what = _BEGINNINGS.get(name, (object, ""))
    held = freeze(initial)
    if held is not None and (not isinstance(held, begins) or _is_object(held, begins)):
        raise BadInitial(f"the model {name} begins with {what}, not with {json.dumps(initial)}")
    return MODELS[name](thaw(held))


_BEGINNINGS: Final[dict[str, tuple[type, str]]] = {
    "string-map": (str, "a text"),
    "counter": (int, "a whole number"),
    "set": (tuple, "a list"),
    "queue": (tuple, "a list"),
    "stack": (tuple, "a list"),
    "mutex": (Bool, "true (held) or false"),
    "fenced-lock": (int, "a whole number, the highest token so far"),
    "log": (tuple, "a list"),
}
"""What an initial value must be once it is frozen, and in words."""


def _is_object(held: State, begins: type) -> bool:
    """Whether it is a JSON object where a list is wanted: both are frozen as tuples."""
    return begins is tuple and elements_of(held) is None

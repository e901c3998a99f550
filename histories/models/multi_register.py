"""multi-register: registers, several read or written at once.

Several are read or written atomically.

    write {register: value, …}
    read  -> {register: value, …}; asked for by null, by the same map, or by a list of names, which
          may then be answered by the list of their values
    txn [[f, register, value], …] -> the same with what its reads returned; f: r, read, w or write

A register holds null at first; `initial` is a map. This is Knossos' multi-register, and the only
transactions that are judged: each takes effect atomically, and sees what it wrote itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from histories.events import Json
from histories.models.interface import (
    ANY,
    ILLEGAL,
    Kind,
    Part,
    Signature,
    State,
    is_list,
    is_map,
)
from histories.models.register import Register
from histories.operations import Operation, freeze, members_of

READS: Final = frozenset(("r", ":r", "read", ":read"))
WRITES: Final = frozenset(("w", ":w", "write", ":write"))


def _name(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) else None


def _is_txn(value: Any) -> bool:
    return is_list(value) and all(
        is_list(op) and len(op) == 3 and op[0] in READS | WRITES and _name(op[1]) is not None
        for op in value
    )


TXN: Final = Kind(
    "a list of reads and writes [f, register, value] (transactions of anything else, such as "
    "appends to lists, are for Elle)",
    _is_txn,
)
ASKED: Final = Kind(
    "null, a map, or a list of names",
    lambda v: v is None or is_map(v) or (is_list(v) and all(_name(k) is not None for k in v)),
)
ANSWER: Final = Kind("a map, or a list", lambda v: is_map(v) or is_list(v))
MAP: Final = Kind("a map", is_map)


class MultiRegister:
    """The state is the (register, value) that are not null."""

    name = "multi-register"
    begins = MAP
    operations: ClassVar[Mapping[str, Signature]] = {
        "read": Signature(ASKED, ANSWER),
        "write": Signature(MAP, ANY),
        "txn": Signature(TXN, TXN),
    }
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = _held(members_of(freeze(initial)) or {})

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        held = dict(state)
        if operation.f == "write":
            return _held(held | (members_of(operation.value) or {}))
        if operation.f == "txn":
            return _txn(held, operation)
        if not operation.seen:
            return state
        seen = _answered(operation)
        if seen is None or any(held.get(name) != value for name, value in seen.items()):
            return ILLEGAL
        return state

    def parts(self, operations: Sequence[Operation]) -> Iterator[Part]:
        """Each register by itself: its name, its model, and its reads and writes."""
        names: dict[str, None] = {}
        for op in operations:
            names.update(dict.fromkeys(name for name, _, _ in _single(op)))
        initial = dict(self._initial)
        for name in names:
            own = []
            for op in operations:
                for register, f, value in _single(op):
                    if register == name:
                        given, answer = (value, None) if f == "write" else (None, value)
                        seen = op.seen or f == "write"
                        own.append(op._replace(f=f, value=given, result=answer, seen=seen))
                        break
            numbered = [op._replace(id=number) for number, op in enumerate(own)]
            yield f"register {name}", _Single(initial.get(name)), numbered


class _Single(Register):
    """One register; it begins with a frozen value."""

    def __init__(self, initial: Any) -> None:
        super().__init__()
        self._initial = initial


def _single(op: Operation) -> list[tuple[str, str, Any]]:
    """(register, read or write, value) of an operation: the last write of each, else the first
    read; nothing of reads that were not answered."""
    if op.f == "write":
        return [(name, "write", value) for name, value in (members_of(op.value) or {}).items()]
    if op.f == "read":
        answered = (_answered(op) if op.seen else None) or {}
        return [(name, "read", value) for name, value in answered.items()]
    found: dict[str, tuple[str, Any]] = {}
    for f, register, value in op.result if op.seen else op.value:
        name = str(_name(register))
        if f in WRITES:
            found[name] = ("write", value)
        elif op.seen:
            found.setdefault(name, ("read", value))
    return [(name, *what) for name, what in found.items()]


def _held(registers: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset((name, value) for name, value in registers.items() if value is not None)


def _answered(operation: Operation) -> dict[str, Any] | None:
    """What a read saw, by register; None where the answer does not fit the request."""
    asked, answer = operation.value, operation.result
    if (members := members_of(answer)) is not None:
        return members
    if not is_list(asked) or len(asked) != len(answer):
        return None
    return {str(_name(name)): value for name, value in zip(asked, answer, strict=True)}


def _txn(held: dict[str, Any], operation: Operation) -> Any:
    answers = operation.result if operation.seen else operation.value
    if len(answers) != len(operation.value):
        return ILLEGAL
    for (f, register, value), (_, _, answer) in zip(operation.value, answers, strict=True):
        name = str(_name(register))
        if f in WRITES:
            held[name] = value
        elif operation.seen and held.get(name) != answer:
            return ILLEGAL
    return _held(held)


MODEL = MultiRegister

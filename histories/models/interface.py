"""The interface of models: the sequential behaviour of one object, and its operations' values.

A model says in which state an object begins, and what one operation makes of a state: the next
state, or ILLEGAL where the object could not have answered so. States and values are hashable
(`operations.freeze`).

Operations whose outcome is `info` have no result: any answer is possible, so a step constrains only
what the state requires. An operation that cannot take effect in a state (a compare-and-set with
unknown outcome that does not match) leaves the state as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from histories.operations import Bool, Operation, elements_of, members_of

State: TypeAlias = Hashable


class _Illegal:
    def __repr__(self) -> str:
        return "ILLEGAL"


ILLEGAL: Final = _Illegal()
"""What `step` returns where the object could not have given this answer."""


class Model(Protocol):
    """What the checker needs of a model. `reads` names the operations that never change a state:
    they may be ordered greedily and dropped where their outcome is unknown. `operations` names all
    of them; where it is a mapping, its values are `Signature`s, and histories are validated.

    A model whose steps depend on an operation's process has a true attribute `by_process`; one with
    a rule of its own has `decide` (see `Decider`), and one whose object consists of several has
    `parts(operations)`: the name, the model and the operations of each."""

    @property
    def name(self) -> str: ...

    @property
    def operations(self) -> Collection[str]: ...

    @property
    def reads(self) -> frozenset[str]: ...

    def initial(self) -> State: ...

    def step(self, state: Any, operation: Operation) -> Any: ...


Part: TypeAlias = tuple[str, Model, list[Operation]]
"""One part of an object that consists of several: its name, its model, its operations."""


class Decision(NamedTuple):
    """The result of a model's own rule: the ids of all operations that constrain, in an order that
    explains them, or the `part` that no order explains. `bounds`: the range that its last read may
    be in."""

    order: tuple[int, ...] | None
    part: tuple[Operation, ...] = ()
    bounds: tuple[int, int] | None = None


class Decider(Protocol):
    """A model with a rule that needs no search."""

    def decide(self, operations: Sequence[Operation]) -> Decision | None:
        """The verdict on one partition; None where the rule cannot tell."""
        ...


class Kind(NamedTuple):
    """A kind of value: what it is called in messages, and whether a frozen value is of it."""

    text: str
    holds: Callable[[Any], bool]


class Signature(NamedTuple):
    """What an operation is invoked with, and what it may answer when it is `ok`. `told` is what a
    completion's `observed` may be, where the model looks at it."""

    argument: Kind
    answer: Kind
    told: Kind | None = None

    def refuses(self, op: Operation) -> tuple[str, bool] | None:
        """What is wrong with the operation's values, and whether the fault is in the answer."""
        if not self.argument.holds(op.value):
            return f"the value of {op.f} must be {self.argument.text}", False
        if op.outcome != "ok" or not op.seen:
            return None
        kind = self.told if op.observed and self.told is not None else self.answer
        if kind is ECHO_OR_FLAG and op.result == op.value:
            return None
        if not kind.holds(op.result):
            return f"what {op.f} answers must be {kind.text}", True
        return None


def is_number(value: Any) -> bool:
    return value.__class__ is int


def is_string(value: Any) -> bool:
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    return isinstance(value, Bool)


def is_list(value: Any) -> bool:
    return isinstance(value, tuple) and elements_of(value) is not None


def is_pair(value: Any) -> bool:
    return is_list(value) and len(value) == 2


def is_map(value: Any) -> bool:
    return members_of(value) is not None


ANY: Final = Kind("anything", lambda _: True)
NUMBER: Final = Kind("a whole number", is_number)
NUMBER_OR_NULL: Final = Kind("a whole number or null", lambda v: v is None or is_number(v))
STRING: Final = Kind("a string", is_string)
STRING_OR_NULL: Final = Kind("a string or null", lambda v: v is None or is_string(v))
FLAG: Final = Kind("true or false", is_flag)
FLAG_OR_NULL: Final = Kind("true, false or null", lambda v: v is None or is_flag(v))
ECHO_OR_FLAG: Final = Kind("true, false, null or the value that was given", FLAG_OR_NULL.holds)
LIST: Final = Kind("a list", is_list)
LIST_OR_NULL: Final = Kind("a list or null", lambda v: elements_of(v) is not None)
PAIR: Final = Kind("[expected, new]", is_pair)

READ: Final = Signature(ANY, ANY)
WRITE: Final = Signature(ANY, ANY)
CAS: Final = Signature(PAIR, ANY)

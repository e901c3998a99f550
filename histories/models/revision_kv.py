"""revision-kv: one key with a revision per change, as in etcd.

    put v -> the revision (a whole number, or {"revision": n}), or null
    get -> null where the key is not there, else [value, revision], or {"value": v, "revision": n}
           (also mod_revision), or null
    cas [expected revision, new value] -> as put; revision 0 means that the key is not there. One
           that fails as a "mismatch" may say in `observed` what a get would have
    delete -> as put; what is not there has no new revision

Every change has a higher revision than all earlier ones of this key: other keys take some in
between. `initial` is what a get would answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, Kind, Signature, State, is_number, is_pair
from histories.operations import Operation, freeze, members_of

NAMES: Final = ("revision", ":revision", "mod_revision", ":mod_revision", ":mod-revision")


class _Seen(NamedTuple):
    value: Any
    revision: int


def _revision(value: Any) -> int | None:
    members = members_of(value)
    if members is not None:
        value = next((members[name] for name in NAMES if name in members), None)
    return value if is_number(value) else None


def _seen(value: Any) -> _Seen | None:
    """A value with its revision, as a get shows it."""
    if (members := members_of(value)) is not None:
        revision = _revision(value)
        shown = members.get("value", members.get(":value"))
        return None if revision is None else _Seen(shown, revision)
    if is_pair(value) and is_number(value[1]):
        return _Seen(value[0], value[1])
    return None


REVISION: Final = Kind(
    'a revision (a whole number, or {"revision": n}), or null',
    lambda v: v is None or _revision(v) is not None,
)
SEEN: Final = Kind(
    'null, [value, revision], or {"value": v, "revision": n}',
    lambda v: v is None or _seen(v) is not None,
)
CHANGE: Final = Kind(
    "[expected revision, new value]", lambda v: is_pair(v) and is_number(v[0]) and v[0] >= 0
)


class _Key(NamedTuple):
    """`value` is None where the key is not there. `revision` is of its last change, or, where that
    is not `known`, the least that it can be."""

    there: bool
    value: Any
    revision: int
    known: bool


class RevisionKeyValue:
    name = "revision-kv"
    begins = SEEN
    operations: ClassVar[Mapping[str, Signature]] = {
        "put": Signature(ANY, REVISION),
        "get": Signature(ANY, SEEN),
        "cas": Signature(CHANGE, REVISION),
        "delete": Signature(ANY, REVISION),
    }
    # A get may be the first to show the revision of a change.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        seen = _seen(freeze(initial))
        self._initial = _Key(False, None, 0, True) if seen is None else _Key(True, *seen, True)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        match operation.f:
            case "get":
                return _got(state, operation.result) if operation.seen else state
            case "put":
                return _changed(state, True, operation.value, operation)
            case "delete":
                if state.there:
                    return _changed(state, False, None, operation)
                return state
        return _cas(state, operation)


def _got(state: _Key, result: Any) -> Any:
    seen = _seen(result)
    if seen is None:
        return ILLEGAL if state.there else state
    if not state.there or seen.value != state.value:
        return ILLEGAL
    return _known(state, seen.revision)


def _known(state: _Key, revision: int) -> Any:
    """The state now that its revision was seen."""
    fits = revision == state.revision if state.known else revision >= state.revision
    return state._replace(revision=revision, known=True) if fits else ILLEGAL


def _changed(state: _Key, there: bool, value: Any, operation: Operation) -> Any:
    revision = _revision(operation.result) if operation.seen else None
    if revision is None:
        return _Key(there, value, state.revision + 1, False)
    return _Key(there, value, revision, True) if revision > state.revision else ILLEGAL


def _cas(state: _Key, operation: Operation) -> Any:
    expected, new = operation.value
    if operation.outcome == "mismatch":
        return _mismatched(state, operation)
    matched: Any = state if state.there == (expected > 0) else ILLEGAL
    if state.there and expected > 0:
        matched = _known(state, expected)
    if matched is not ILLEGAL:
        return _changed(matched, True, new, operation)
    return ILLEGAL if operation.outcome == "ok" else state


def _mismatched(state: _Key, operation: Operation) -> Any:
    expected = operation.value[0]
    seen: Any = _got(state, operation.result) if operation.seen else state
    if seen is ILLEGAL:
        return ILLEGAL
    state = seen
    if not state.there:
        return ILLEGAL if expected == 0 else state
    return ILLEGAL if state.known and expected == state.revision else state


MODEL = RevisionKeyValue

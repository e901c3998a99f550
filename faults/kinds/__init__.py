"""The registry of fault kinds: every module of this package that defines `KIND` is in it.

KINDS                   all kinds by name, in their order
kinds_of(runtime)       the names of those that a runtime supports
fault_from_json(data)   the inverse of `Fault.to_json`
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, Final

from faults.description import LEADER, BadFault, Fault, written
from faults.kind import FaultKind

SHOWN: Final = 200
"""How many characters of a wrong value an error shows."""


def _discover() -> dict[str, FaultKind]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    kinds: list[FaultKind] = [module.KIND for module in modules]
    kinds.sort(key=lambda kind: kind.order)
    return {kind.name: kind for kind in kinds}


KINDS: Final[dict[str, FaultKind]] = _discover()


def kinds_of(runtime: str) -> tuple[str, ...]:
    """The kinds that this runtime supports."""
    return tuple(name for name, kind in KINDS.items() if runtime in kind.runtimes)


def fault_from_json(data: dict[str, Any]) -> Fault:
    """The inverse of `Fault.to_json`.

    Raises BadFault for an unknown kind, a missing or an unknown field, and for nodes or links that
    are none.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadFault(f"no fault kind {kind!r}; choose one of {', '.join(KINDS)}")
    found = {name: _frozen(value) for name, value in fields.items()}
    identity = found.get("id")
    if "id" in found and not isinstance(identity, str):
        raise BadFault(f"the id of a fault is {written(identity)[:SHOWN]}, not a text")
    for name, (is_right, words) in _LISTS.items():
        if name in found and not is_right(found[name]):
            raise BadFault(f"{identity}: {name} is {written(found[name])[:SHOWN]}; {words}")
    try:
        return KINDS[kind].fault(**found)
    except TypeError as error:
        raise BadFault(f"fault {identity}: {error}") from None


def _are_nodes(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(n) is int or n == LEADER for n in value)


def _are_links(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_link(link) for link in value)


def _is_link(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(end) is int for end in value)


_NODES: Final = (_are_nodes, f'give a list of numbers or "{LEADER}"')
_LINKS: Final = (_are_links, "give a list of pairs of numbers")
_LISTS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "nodes": _NODES,
    "release": _NODES,
    "links": _LINKS,
    "cut": _LINKS,
}
"""The fields that are lists: what each may be, in code and in words."""


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value

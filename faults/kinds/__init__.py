"""The registry of fault kinds: every module of this package that defines `KIND` is in it.

KINDS                   all kinds by name, in their order
kinds_of(runtime)       the names of those that a runtime supports
fault_from_json(data)   the inverse of `Fault.to_json`
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Final

from faults.description import BadFault, Fault
from faults.kind import FaultKind


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

    Raises BadFault for an unknown kind, a missing or an unknown field.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadFault(f"no fault kind {kind!r}; choose one of {', '.join(KINDS)}")
    try:
        return KINDS[kind].fault(**{name: _frozen(value) for name, value in fields.items()})
    except TypeError as error:
        raise BadFault(f"fault {fields.get('id')}: {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value

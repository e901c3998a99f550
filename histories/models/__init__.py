"""The models: what a single copy of the object, used by one client at a time, would do.

One model per file, found by its name: `cas-register` is `cas_register.py`, and its `MODEL` is the
model's class. The page docs/checker.md lists them all. The operations on one key are one object; a
model that spans keys (bank, multi-register) has histories without keys.

A model of your own is a class with the members of `Model`. It runs through the same search, in
Python.
"""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, Final

from histories.errors import BadInitial, UnknownModel, UnknownOperation
from histories.events import Json
from histories.models.interface import (
    ILLEGAL,
    Decider,
    Decision,
    Model,
    Signature,
    State,
)
from histories.operations import Operation, freeze, thaw

__all__ = [
    "ILLEGAL",
    "MODELS",
    "Decider",
    "Decision",
    "Model",
    "Signature",
    "State",
    "model_class",
    "model_named",
    "validate",
]

_FIRST: Final = ("register", "cas-register", "kv", "string-map")


def _names() -> tuple[str, ...]:
    files = {module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)}
    found = {name for name in files if not name.startswith("-")} - {"interface"}
    return (*_FIRST, *sorted(found.difference(_FIRST)))


MODELS: Final = _names()
"""The name of every model."""


@functools.cache
def model_class(name: str) -> Any:
    """The class of the model of that name. Raises UnknownModel, with the choices."""
    if name not in MODELS:
        raise UnknownModel(f"no model {name!r}; choose one of {', '.join(MODELS)}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").MODEL


def model_named(name: str, initial: Json = None) -> Model:
    """The model of that name, beginning with `initial` (null: its usual beginning).

    Raises UnknownModel, with the choices, and BadInitial where the model cannot begin with that.
    """
    made = model_class(name)
    held = freeze(initial)
    if held is not None and not made.begins.holds(held):
        raise BadInitial(
            f"the model {name} begins with {made.begins.text}, not with {json.dumps(initial)}"
        )
    model: Model = made(thaw(held))
    return model


def validate(model: Model, operations: Iterable[Operation]) -> None:
    """Refuse operations that the model does not have, or values that they cannot have.

    Raises UnknownOperation, naming the event.
    """
    known, name = model.operations, model.name
    signatures = known if isinstance(known, Mapping) else {}
    for op in operations:
        if op.f not in known:
            raise UnknownOperation(_unknown(op.f, name, known), line=op.call + 1)
        signature = signatures.get(op.f)
        refused = signature.refuses(op) if signature is not None else None
        if refused:
            why, answers = refused
            shown = json.dumps(thaw(op.result if answers else op.value))
            raise UnknownOperation(f"{why}, not {shown}", line=1 + (op.ret if answers else op.call))


def _unknown(f: str, name: str, known: Iterable[str]) -> str:
    choices = ", ".join(sorted(known))
    if f == "txn":
        return (
            f"txn: transactions (Elle's micro-operations) are not judged by the model {name}: use "
            f"Elle, or the model multi-register where they only read and write registers; {name} "
            f"has {choices}"
        )
    return f"the model {name} has no operation {f!r}; it has {choices}"

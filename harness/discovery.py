"""Finds the modules of a package, so that a new target or workload needs only one file."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType


def discover(package: str) -> list[ModuleType]:
    """The modules directly inside a package, ordered by name, without `interface`."""
    path = import_module(package).__path__
    names = sorted(found.name for found in pkgutil.iter_modules(path))
    return [import_module(f"{package}.{name}") for name in names if name != "interface"]

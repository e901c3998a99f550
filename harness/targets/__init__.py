"""What is under test, one file a target (or a family); `interface.py` is what each provides.

A target is found by its name: every module of this package with a tuple `TARGETS` adds to the
registry. `antipaxos run ./mine.py` takes such a module from a file of the user's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from harness.discovery import discover
from harness.errors import UnknownChoice, UsageError
from harness.targets.guard import guarded, in_words
from harness.targets.hang import Hang, HangGuard
from harness.targets.interface import Capabilities, ClusterSpec, Target

__all__ = ["Capabilities", "ClusterSpec", "Target", "settings_of", "target_named", "targets"]


@functools.cache
def targets() -> Mapping[str, Target]:
    """Every target of this package by name."""
    found: dict[str, Target] = {}
    for module in discover(__name__):
        for target in getattr(module, "TARGETS", ()):
            found[target.name] = target
    return found


@functools.cache
def target_named(name: str) -> Target:
    """The target of this name, or of this file. Raises UnknownChoice or UsageError."""
    if name.endswith(".py"):
        return _target_in(Path(name))
    if name not in targets():
        raise UnknownChoice("target", name, targets())
    return targets()[name]


def settings_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `--set` gave, in the form in which this target records it. Raises UsageError, also for
    the ValueError of a target of the user's."""
    try:
        return target_named(name).settings(given)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


def _target_in(path: Path) -> Target:
    """The first target of a file. Its name is the path, so that the run can be repeated."""
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"no target in {path}: there is no such file")
    module = module_from_spec(spec)
    try:
        with HangGuard(str(path)):
            spec.loader.exec_module(module)
    except (Exception, SystemExit, Hang) as error:
        raise UsageError(f"{path} cannot be loaded: {in_words(error, str(path))}") from None
    found = getattr(module, "TARGETS", ())
    if not isinstance(found, tuple) or not found:
        raise UsageError(f"no target in {path}: it must have a tuple TARGETS")
    return guarded(found[0], str(path))

"""The Python that runs us: a build without profile-guided optimisation simulates more slowly."""

from __future__ import annotations

import platform
import sys
import sysconfig
import time
from typing import Final

STEPS: Final = 20_000
ROUNDS: Final = 5
DISTRIBUTED: Final = ("/usr", "/opt/homebrew", "/Library")
"""Prefixes of builds by a distribution, which optimises them in ways that their configuration does
not show."""


def describe() -> str:
    """Version, how it was built, and the time of a small step, measured."""
    return f"{platform.python_version()}, {_build()}, {step_ns():.0f} ns a step"


def is_slow_build() -> bool:
    """Built without profile-guided optimisation, as far as its configuration says."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    if "--enable-optimizations" in arguments or not arguments:
        return False
    return not any(sys.base_prefix.startswith(prefix) for prefix in DISTRIBUTED)


def step_ns() -> float:
    """Processor time of one turn of a loop of calls, lists and dictionaries: the best round."""
    return min(_round_ns() for _ in range(ROUNDS)) / STEPS


def _build() -> str:
    if is_slow_build():
        return "built without profile-guided optimisation (another build may be faster)"
    if "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS") or ""):
        return "built with profile-guided optimisation"
    return "the distribution's build"


def _round_ns() -> int:
    seen: dict[int, tuple[int, int]] = {}
    queue: list[tuple[int, int]] = []
    number, start = 0, time.process_time_ns()
    while number < STEPS:
        number = _step(number, seen, queue)
    return time.process_time_ns() - start


def _step(number: int, seen: dict[int, tuple[int, int]], queue: list[tuple[int, int]]) -> int:
    queue.append((number, number & 7))
    seen[number & 63] = queue.pop()
    return number + 1

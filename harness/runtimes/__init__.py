"""Where a run happens, one package a runtime; `interface.py` is what each provides.

Runtimes are imported when they are needed: the simulator needs no engine, and containers no
simulator.
"""

from __future__ import annotations

from typing import Any, Final

from harness.errors import UsageError

RUNTIMES: Final = ("docker", "sim")


def check_world(runtime: str, settings: dict[str, Any]) -> None:
    """Refuse settings that this runtime does not have. Raises UsageError."""
    if runtime == "sim":
        from harness.runtimes.sim.config import WorldConfig  # noqa: PLC0415

        WorldConfig.from_json(settings)
    elif settings:
        raise UsageError(f"the runtime {runtime} has no settings: {', '.join(sorted(settings))}")

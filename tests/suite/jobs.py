"""A job of a suite, as the tests need it."""

from __future__ import annotations

from typing import Any

from harness.suite.jobs import Job


def job(**changes: Any) -> Job:
    """Half a second of a simulated Raft of three nodes, with these changes."""
    settings: dict[str, Any] = {
        "cell": "c",
        "target": "raft",
        "mutant": None,
        "on": "sim",
        "seed": 1,
        "swarm": False,
        "fixed": {"time_us": 500_000, "nodes": 3},
    }
    return Job(**(settings | changes))

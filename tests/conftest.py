"""Tests that start containers are skipped, by name, where no engine answers; never elsewhere."""

from __future__ import annotations

import functools
import os

import pytest

from harness.errors import EngineError
from harness.runtimes.docker.engine import connect


@functools.cache
def missing_engine() -> str | None:
    """Why there is no engine here, or None."""
    try:
        connect().close()
    except EngineError as error:
        return error.message
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("docker") and (why := missing_engine()):
            item.add_marker(pytest.mark.skip(reason=f"{item.name} needs Docker: {why}"))
        if item.get_closest_marker("netns") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason=f"{item.name} makes namespaces: needs root"))

"""What several tests of the agent need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.agent.disk.store import Store
from tests.faults.agent.mounted import Mounted


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mounted]:
    mounted = Mounted(tmp_path)
    yield mounted
    mounted.delay.set(0.0, stalled=False)
    mounted.unmount()
    mounted.store.shut()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path, exempt=("evidence",))
    yield made
    made.shut()

"""Processes that keep the machine busy, for measurements under load.

They run on the controller's machine, at the same priority as the cluster where the engine is on it
too, and exit after LIFE_S even if the controller was killed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LIFE_S: Final = 180
_BURN: Final = f"""
import os, time
end = time.monotonic() + {LIFE_S}
parent = os.getppid()
while time.monotonic() < end and os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processors busy."""
    processes = [subprocess.Popen([sys.executable, "-c", _BURN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()

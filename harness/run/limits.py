"""The bounds of a run's parameters, for options, programs and recorded configurations.

Beyond these a run would not end in time, or would overload this machine.
"""

from __future__ import annotations

import os
from typing import Final

NODES_MAX: Final = 64
CONCURRENCY_MAX: Final = 100_000
KEYS_MAX: Final = 10_000
"""The final round accesses every key three times."""
RATE_MIN: Final = 0.001
RATE_MAX: Final = 100_000.0
"""Operations per second."""
TIME_MAX_US: Final = 7 * 24 * 3_600_000_000
SEEDS_MAX: Final = 1_000_000_000
JOBS_MAX: Final = max(32, 4 * (os.cpu_count() or 1))
"""Concurrent processes."""

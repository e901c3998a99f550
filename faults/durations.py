"""Times as people write them: "500ms", "30s", "2min", "1h". Used by schedules, suites, and the
command line, so that all of them read the same units."""

from __future__ import annotations

import re
from typing import Final

UNITS_US: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
}
EXAMPLES: Final = "500ms, 30s, 2min or 1h"
LONGEST_US: Final = 1e18
"""Some 30,000 years, more than anything that reads a time allows."""

_WRITTEN: Final = re.compile(r"\s*([-+]?)(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)


def parse_us(text: str, *, bare: str = "") -> int | None:
    """Microseconds; negative after a minus sign. None if the text is not a time. `bare`: the unit
    of a number without one; if empty, such a number is not a time. At most LONGEST_US."""
    found = _WRITTEN.fullmatch(text)
    unit = UNITS_US.get(found[3] or bare) if found else None
    if found is None or unit is None:
        return None
    micros = round(min(float(found[2]) * unit, LONGEST_US))
    return -micros if found[1] == "-" else micros

"""Hypothesis strategies for faults of every kind."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from faults.description import LEADER, Fault
from faults.kinds import KINDS
from faults.kinds.aimed import ACTIONS, MOMENTS
from faults.kinds.disk_damage import MODES
from faults.link_fault import DIRECTIONS
from faults.shapes import SHAPES

TIMES = st.integers(0, 10**12)
NODES = st.lists(st.integers(1, 9), unique=True, max_size=9).map(tuple)
AIMS = st.one_of(NODES, st.just((LEADER,)))
LINKS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=20).map(tuple)
NONZERO_TIMES = st.integers(1, 10**12)
PERCENT = st.integers(1, 100)
LINK_FAULT: dict[str, st.SearchStrategy[Any]] = {
    "direction": st.sampled_from(DIRECTIONS),
    "clients": st.booleans(),
    "message": st.text(max_size=5),
}

FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "partition": {"shape": st.sampled_from(SHAPES), "cut": LINKS},
    "kill": {},
    "pause": {},
    "power": {},
    "clock": {"offset_us": st.integers(-(10**15), 10**15).filter(bool)},
    "drift": {"ppm": st.integers(-900_000, 9_000_000).filter(bool)},
    "slow-disk": {"fsync_us": NONZERO_TIMES},
    "loss": LINK_FAULT | {"percent": PERCENT},
    "delay": LINK_FAULT | {"delay_us": NONZERO_TIMES, "jitter_us": TIMES},
    "duplicate": LINK_FAULT | {"percent": PERCENT, "spread_us": TIMES},
    "reorder": LINK_FAULT | {"percent": PERCENT, "window_us": NONZERO_TIMES},
    "corrupt": LINK_FAULT | {"percent": PERCENT},
    "rate": LINK_FAULT | {"kbps": st.integers(1, 10_000_000)},
    "stop": {"grace_us": st.integers(0, 15_000_000)},
    "amnesia": {},
    "crash-loop": {"down_us": st.integers(10**9, 10**12), "up_us": st.integers(10**9, 10**12)},
    "rolling": {"down_us": st.integers(1, 10**12), "action": st.sampled_from(["stop", "kill"])},
    "flapping": {
        "shape": st.sampled_from(SHAPES),
        "cut_us": st.integers(10**9, 10**12),
        "open_us": st.integers(10**9, 10**12),
    },
    "clog": {},
    "slow-cpu": {"percent": PERCENT},
    "memory": {"spare_kib": st.integers(0, 1 << 30)},
    "strobe": {
        "offset_us": st.integers(-(10**12), 10**12).filter(bool),
        "period_us": st.integers(2_000, 10**9),
    },
    "monotonic": {"offset_us": st.integers(1, 10**12)},
    "disk-full": {"left_bytes": TIMES},
    "disk-stall": {},
    "disk-damage": {
        "mode": st.sampled_from(MODES),
        "path": st.text(max_size=5),
        "seed": st.integers(0, 1 << 30),
    },
    "aimed": {
        "moment": st.sampled_from(MOMENTS),
        "text": st.text(min_size=1, max_size=5),
        "action": st.sampled_from(ACTIONS),
        "message": st.text(max_size=5),
        "count": st.integers(1, 50),
    },
}


@st.composite
def faults(draw: st.DrawFn, name: str | None = None) -> Fault:
    """Any fault, with this id or a drawn one."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    fields = {field: draw(strategy) for field, strategy in FIELDS[kind].items()}
    return KINDS[kind].fault(
        id=name or draw(st.text(min_size=1, max_size=8)),
        start_us=draw(TIMES),
        duration_us=draw(TIMES),
        nodes=draw(AIMS),
        **fields,
    )

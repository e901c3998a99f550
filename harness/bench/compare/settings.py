"""The validated settings of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.bench.compare.columns import Column, columns_named
from harness.errors import UnknownChoice, UsageError
from harness.runtimes import RUNTIMES

NODES_MIN: Final = 3
NODES_MAX: Final = 9
DELAY_US_MIN: Final = 1_000
DELAY_US_MAX: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`delay_us`: the one-way delay of every link. `protocols`: none means all. Raises UsageError
    or UnknownChoice."""

    nodes: int = 5
    delay_us: int = 20_000
    protocols: tuple[str, ...] = ()
    on: str = "sim"
    seed: int = 0

    def __post_init__(self) -> None:
        if not NODES_MIN <= self.nodes <= NODES_MAX:
            raise UsageError(
                f"the comparison needs {NODES_MIN} to {NODES_MAX} nodes, not {self.nodes}"
            )
        if not DELAY_US_MIN <= self.delay_us <= DELAY_US_MAX:
            raise UsageError(
                f"the delay must be {DELAY_US_MIN / 1000:g} ms to {DELAY_US_MAX / 1e6:g} s, "
                f"not {self.delay_us / 1000:g} ms",
                remedy="give it with its unit, such as --delay 20ms; a number alone means seconds",
            )
        if self.on not in RUNTIMES:
            raise UnknownChoice("runtime", self.on, RUNTIMES)
        columns_named(self.protocols)

    @property
    def columns(self) -> tuple[Column, ...]:
        return columns_named(self.protocols)

"""Parameters of the simulation: the speed of links and disks, the errors of clocks.

They are part of the run's configuration (`RunConfig.world`), drawn per seed by a sweep, recorded in
the run's folder, and simplified by the shrinker. Times are microseconds.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """A message between nodes takes `link_min_us` to `link_max_us`, evenly; `link_slow_percent` of
    them up to `link_slow_us` more. A client's messages take `client_min_us` to `client_max_us`.
    An fsync takes `fsync_min_us` to `fsync_max_us`. A node that is started again needs `boot_us`.
    Wall clocks start up to `wall_skew_us` apart, and all clocks run up to `drift_ppm` too fast or
    too slow. `seed` draws all of that, in place of the run's own seed if above 0: the same
    operations and faults under another timing.

    Raises UsageError for invalid values.
    """

    link_min_us: int = 150
    link_max_us: int = 650
    link_slow_percent: int = 1
    link_slow_us: int = 10_000
    client_min_us: int = 100
    client_max_us: int = 400
    fsync_min_us: int = 300
    fsync_max_us: int = 1_500
    boot_us: int = 50_000
    wall_skew_us: int = 50_000
    drift_ppm: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise UsageError(f"world.{field.name} must be a whole number from 0, not {value!r}")
        for name in ("link", "client", "fsync"):
            least, most = getattr(self, f"{name}_min_us"), getattr(self, f"{name}_max_us")
            if least > most:
                raise UsageError(f"world.{name}_min_us {least} is above {name}_max_us {most}")
        if self.drift_ppm > 200_000:
            raise UsageError("world.drift_ppm above 200,000 is not realistic for a clock")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WorldConfig:
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - known):
            raise UsageError(
                f"the simulated world has no setting {', '.join(unknown)}",
                remedy=f"choose one of: {', '.join(sorted(known))}",
            )
        return cls(**data)

    def to_json(self) -> dict[str, int]:
        return dataclasses.asdict(self)

    def constant(self) -> WorldConfig:
        """The same parameters without randomness: all messages, and all fsyncs, take the same
        time."""
        link, client, fsync = (
            (least + most) // 2
            for least, most in (
                (self.link_min_us, self.link_max_us),
                (self.client_min_us, self.client_max_us),
                (self.fsync_min_us, self.fsync_max_us),
            )
        )
        return dataclasses.replace(
            self,
            link_min_us=link,
            link_max_us=link,
            link_slow_percent=0,
            link_slow_us=0,
            client_min_us=client,
            client_max_us=client,
            fsync_min_us=fsync,
            fsync_max_us=fsync,
            wall_skew_us=0,
            drift_ppm=0,
        )

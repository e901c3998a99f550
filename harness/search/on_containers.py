"""Converts a run that the swarm drew for the simulator into one for containers.

The same seed has the same settings and kinds of faults in both, and with the same number of nodes
the same faults. There are more clients, with a higher rate and fewer keys, since a second here
costs as much as many simulated seeds, and on a busy machine most of it is spent on restarts. The
simulated conditions become faults that last for the whole run:

    slow links      a delay of all links
    slow disks      a slow disk on all nodes, if the run uses the agent's file system anyway

Links and disks that are about as fast as the machine's own are not changed. The few messages that
the simulator's links delay for longer, and the drift of its clocks, have no counterpart; a drift
fault remains one. If messages may be lost, duplicated or reordered, nodes use UDP, since TCP hides
this. An aimed power cut becomes a kill if no other fault needs the agent's file system, which slows
down every write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from faults.description import Fault
from faults.kinds.aimed import Aimed
from faults.kinds.delay import Delay
from faults.kinds.duplicate import Duplicate
from faults.kinds.loss import Loss
from faults.kinds.reorder import Reorder
from faults.kinds.slow_disk import SlowDisk
from faults.schedule import Schedule
from harness.run.config import RunConfig
from harness.run.feasible import DISK_KINDS

CLIENTS_LEAST: Final = 8
RATE_LEAST: Final = 150.0
KEYS_MOST: Final = 3
SLOW_LINK_US: Final = 1_000
SLOW_DISK_US: Final = 2_000


def on_containers(config: RunConfig, schedule: Schedule) -> tuple[RunConfig, Schedule]:
    """The configuration and the schedule of this run for containers."""
    has_disk = bool(DISK_KINDS.intersection(config.faults.kinds))
    faults = [
        *_conditions(config, has_disk=has_disk),
        *(fault if has_disk else _without_power(fault) for fault in schedule.faults),
    ]
    faults.sort(key=lambda fault: (fault.start_us, fault.id))
    disturbed = any(isinstance(fault, Loss | Duplicate | Reorder) for fault in faults)
    transport = "udp" if disturbed else config.cluster.transport
    traffic = {
        "concurrency": max(config.traffic.concurrency, CLIENTS_LEAST),
        "rate": max(config.traffic.rate, RATE_LEAST),
        "keys": min(config.traffic.keys, KEYS_MOST),
    }
    return (
        config.changed(on="docker", world={}, transport=transport, **traffic),
        dataclasses.replace(schedule, faults=tuple(faults)),
    )


def _without_power(fault: Fault) -> Fault:
    if isinstance(fault, Aimed) and fault.action == "power":
        return dataclasses.replace(fault, action="kill")
    return fault


def _conditions(config: RunConfig, *, has_disk: bool) -> list[Fault]:
    """The simulated conditions, as faults from the beginning to the end."""
    world: Mapping[str, Any] = config.world
    nodes = config.cluster.node_ids()
    always: dict[str, Any] = {"start_us": 0, "duration_us": config.time_us, "nodes": nodes}
    found: list[Fault] = []
    least_us, most_us = world.get("link_min_us", 0), world.get("link_max_us", 0)
    if most_us >= SLOW_LINK_US:
        found.append(
            Delay(id="w0-delay", **always, delay_us=least_us, jitter_us=most_us - least_us)
        )
    fsync_us = (world.get("fsync_min_us", 0) + world.get("fsync_max_us", 0)) // 2
    if has_disk and fsync_us >= SLOW_DISK_US:
        found.append(SlowDisk(id="w1-slow-disk", **always, fsync_us=fsync_us))
    return found

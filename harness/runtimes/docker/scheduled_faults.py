"""Injects and heals faults at their times, outside of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from faults.description import Fault
from harness.runtimes.docker.injector import FaultInjector
from harness.runtimes.interface import FaultReport


class CarriedOutFault(NamedTuple):
    """The reports of one fault."""

    fault: Fault
    inject: FaultReport
    heal: FaultReport


async def carry_out(injector: FaultInjector, faults: Sequence[Fault]) -> list[CarriedOutFault]:
    """Inject each fault at its start, counted from now, and heal it at its end, or as soon as it is
    active after that. They must be resolved and simple. Returns when all are healed. Raises
    UnsupportedFault; other errors are in the reports."""
    zero = time.monotonic()

    async def until(at_us: int) -> None:
        await asyncio.sleep(max(0.0, zero + at_us / 1e6 - time.monotonic()))

    async def one(fault: Fault) -> CarriedOutFault:
        await until(fault.start_us)
        inject = await injector.inject(fault)
        await until(fault.end_us)
        return CarriedOutFault(fault, inject, await injector.heal(fault))

    return list(await asyncio.gather(*(one(fault) for fault in faults)))

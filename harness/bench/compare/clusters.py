"""Simulated clusters for the comparison: fixed delays, without randomness.

Every message between nodes takes the same time, every fsync takes `FSYNC_US`, clients are at the
nodes (the delay between them is kept by the script, see `script.Ask`), and timeouts are far above a
round trip, so that nothing is repeated and no leader is deposed. Only the protocol determines the
result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from harness.bench.compare.columns import Column
from harness.bench.compare.script import Answered, Ask, Part, Program, Script, Sleep, ask_until
from harness.bench.compare.settings import Settings
from harness.run.config import RunConfig
from harness.runtimes.sim.runtime import SimRuntime
from harness.targets import settings_of, target_named
from harness.workloads import Operation

FSYNC_US: Final = 2_000
ELECTION_US_MIN: Final = 1_000_000
ELECTION_DELAYS: Final = {"sim": 400, "docker": 40}
"""In containers timeouts are closer to a round trip, to save real time."""
WARM_UP_ELECTIONS: Final = 10


def election_us(settings: Settings, link_us: int) -> int:
    """The shortest election timeout: at least this many one-way delays."""
    return max(ELECTION_US_MIN, ELECTION_DELAYS[settings.on] * link_us)


def heartbeat_us(settings: Settings, link_us: int) -> int:
    return election_us(settings, link_us) // 10


def operation_timeout_us(settings: Settings, link_us: int) -> int:
    """How long a client waits for one answer: less than an election takes."""
    return election_us(settings, link_us) // 2


def timing(settings: Settings, column: Column, link_us: int) -> dict[str, Any]:
    """The settings that make every timeout long for links of this delay, and none adaptive."""
    capabilities = target_named(column.target).capabilities
    assert capabilities.timing is not None, f"{column.target} takes no election timeout"
    shortest_us = election_us(settings, link_us)
    more = {"retry_us": shortest_us // 4, "election_floor_us": 0}
    return capabilities.timing(shortest_us) | more


def fixed_world(link_us: int, fsync_us: int = FSYNC_US) -> dict[str, int]:
    """A simulation without randomness; see `harness.runtimes.sim.config`."""
    return {
        "link_min_us": link_us,
        "link_max_us": link_us,
        "link_slow_percent": 0,
        "link_slow_us": 0,
        "client_min_us": 0,
        "client_max_us": 0,
        "fsync_min_us": fsync_us,
        "fsync_max_us": fsync_us,
        "wall_skew_us": 0,
        "drift_ppm": 0,
    }


def simulate(
    settings: Settings,
    column: Column,
    *programs: Callable[[Script], Program],
    link_us: int,
    traced: bool = False,
    seed: int | None = None,
    world: dict[str, int] | None = None,
    transport: str = "tcp",
    before: Callable[[SimRuntime], None] = lambda _: None,
    **more: Any,
) -> SimRuntime:
    """Run the programs on a fresh cluster, and return it as they left it. `more` are settings of
    the target beside the column's own; `before` may change the cluster before it starts."""
    given = timing(settings, column, link_us) | column.options(settings.nodes) | more
    config = RunConfig.of(
        target=column.target,
        nodes=settings.nodes,
        transport=transport,
        on="sim",
        seed=settings.seed if seed is None else seed,
        finale=False,
        settings=settings_of(column.target, given),
        world=fixed_world(link_us) if world is None else world,
    )
    runtime = SimRuntime(config, traced=traced)
    before(runtime)
    runtime.open()
    script = Script(*programs)
    runtime.drive(script)
    if script.failure is not None:
        raise script.failure
    if runtime.crashes:
        raise AssertionError(runtime.crashes[0].describe())
    return runtime


def write(key: str, value: int) -> Operation:
    return Operation("write", key, value)


def read(key: str) -> Operation:
    return Operation("read", key, None)


def settle(script: Script, settings: Settings, column: Column, link_us: int) -> Part:
    """Wait until the cluster serves writes and is idle. The `node` of the result is the one that a
    client of this protocol asks from now on."""
    everyone = tuple(range(1, settings.nodes + 1))
    limit_us = WARM_UP_ELECTIONS * election_us(settings, link_us)
    ask = Ask(1, 1, write("warm-up", 0), operation_timeout_us(settings, link_us))
    answer = yield from ask_until(script, ask, everyone, within_us=limit_us)
    yield Sleep(10 * heartbeat_us(settings, link_us))
    return answer._replace(node=node_to_ask(script, column, everyone, answer))


def node_to_ask(script: Script, column: Column, everyone: tuple[int, ...], answer: Answered) -> int:
    """The leader, for a protocol that has one; else a node that does not lead."""
    leader = script.world.leader()
    if column.leads:
        return answer.node if leader is None else leader
    return next(node for node in everyone if node != (leader or everyone[0]))

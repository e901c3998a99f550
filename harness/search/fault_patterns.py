"""Combinations of faults, with which a run reaches the rare states that bugs depend on.

The planner spreads independent faults over a run. Most consensus bugs need two or three faults at
once, or in succession. These functions combine faults for general classes of bugs:

    alike               all aimed faults of a run have the same trigger and action
    concurrent          a link fault at the time of another fault, or a clock jump at the same node
    successive          the node that takes over is hit in turn, while it sends: chains of elections
                        and recoveries, each of which leaves a state behind for the next
    of_message_classes  one class of message is late, lost or duplicated all the time: answers
                        arrive when the question has long been asked again
    long_outage         a learner is down for a long time, and has to catch up
    voter_outage        a voter is down for a long time, and returns during the chaos phase
    extended            faults that last until the end of the chaos phase, and remain at a minority
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

from faults.description import Fault
from faults.generators import Draw
from faults.kinds import KINDS
from faults.kinds.aimed import Aimed
from faults.kinds.clock import ClockJump
from faults.kinds.delay import Delay
from faults.kinds.duplicate import Duplicate
from faults.kinds.kill import Kill
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from faults.kinds.reorder import Reorder
from harness.run.config import RunConfig

MS: Final = 1_000

NODE_FAULTS: Final = ("kill", "pause", "power", "aimed", "partition")
DISTURBANCES: Final = ("loss", "duplicate", "reorder")
LINK_FAULTS: Final = (*DISTURBANCES, "delay")
OUTAGES: Final = ("kill", "power", "pause", "partition")
CONCURRENT: Final = (*DISTURBANCES, "clock")

ALIKE_PERCENT: Final = 75
"""In this share of the seeds all aimed faults are alike."""
CONCURRENT_PERCENT: Final = 50
EXTENDED_PERCENT: Final = 60
QUIET_US: Final = 500 * MS
"""Before the first of successive aimed faults, and after the last."""
MESSAGE_CLASSES_MAX: Final = 2


def alike(draw: Draw, faults: Sequence[Fault], messages: Sequence[str]) -> tuple[Fault, ...]:
    """In most seeds all aimed faults are alike: the same message, the same action, the same time to
    recover. A rare bug that depends on one event gets many chances in this way; in a mix it would
    get one in a hundred."""
    if not draw.chance(ALIKE_PERCENT) or not messages:
        return tuple(faults)
    same: dict[str, Any] = {
        "moment": "after-send",
        "message": draw.pick(messages),
        "action": draw.pick(["kill", "kill", "power", "isolate", "pause"]),
        "hold_us": draw.pick([0, 50, 50, 150, 400]) * MS,
    }
    return tuple(
        dataclasses.replace(fault, **same, count=draw.between(1, 4))
        if isinstance(fault, Aimed)
        else fault
        for fault in faults
    )


def concurrent(
    draw: Draw, fault: Fault, config: RunConfig, messages: Sequence[str]
) -> Fault | None:
    """A second fault at the time of one that affects nodes; half of these have one, of a kind that
    the seed has chosen anyway. A link fault covers all links, from shortly before to shortly after:
    a node that crashes while messages are lost or late leaves a state that is otherwise rare. A
    clock jump is at the affected node, shortly after: it exposes a node that trusts its clock."""
    kinds = [kind for kind in CONCURRENT if kind in config.faults.kinds]
    if fault.kind not in NODE_FAULTS or not kinds or not draw.chance(CONCURRENT_PERCENT):
        return None
    kind = draw.pick(kinds)
    if kind == "clock":
        return _jump(draw, fault, config.time_us) if fault.nodes else None
    start_us = max(0, fault.start_us - draw.pick([50, 200, 600]) * MS)
    end_us = min(fault.start_us + draw.pick([50, 200, 600]) * MS, config.time_us)
    message = draw.pick(messages) if messages and draw.chance(60) else ""
    window_us = draw.pick([5, 100, 800]) * MS
    times = {"start_us": start_us, "duration_us": end_us - start_us}
    name = f"{fault.id}-storm"
    return _link_fault(draw, kind, name, times, config.cluster.node_ids(), message, window_us)


def _jump(draw: Draw, fault: Fault, end_us: int) -> Fault:
    """It lasts longer than the other fault: a node that continues must see the wrong time."""
    start_us = fault.start_us + min(draw.pick([0, 1, 100]) * MS, fault.duration_us // 2)
    return ClockJump(
        id=f"{fault.id}-jump",
        start_us=start_us,
        duration_us=min(fault.end_us + draw.pick([50, 400, 1_000]) * MS, end_us) - start_us,
        nodes=fault.nodes,
        offset_us=draw.pick([-60_000, -2_000, -500, 500, 60_000]) * MS,
    )


def _link_fault(
    draw: Draw,
    kind: str,
    name: str,
    times: dict[str, int],
    nodes: tuple[int, ...],
    message: str,
    window_us: int,
) -> Fault:
    """A link fault on all links; `window_us` is how late a message may be."""
    common: dict[str, Any] = {"id": name, **times, "nodes": nodes, "message": message}
    percent = draw.pick([10, 30, 60, 90])
    if kind == "delay":
        return Delay(**common, delay_us=window_us, jitter_us=draw.between(0, window_us // 2))
    if kind == "loss":
        return Loss(**common, percent=percent)
    if kind == "duplicate":
        return Duplicate(**common, percent=percent, spread_us=window_us)
    return Reorder(**common, percent=percent, window_us=window_us)


def successive(draw: Draw, config: RunConfig, messages: Sequence[str]) -> tuple[Fault, ...]:
    """Successive aimed faults, at any node where the event occurs: one to three events, in turn, so
    that the next leader is hit at another one. In most seeds the actions are of one kind, and
    short, so that the node is back while its successors lead."""
    moments = list(dict.fromkeys(draw.pick(messages) for _ in range(draw.between(1, 3))))
    actions = ["kill", "kill", "power", "isolate", "pause"]
    chosen = actions if draw.chance(25) else [draw.pick(actions)]
    holds = [draw.pick([20, 50, 150, 400, 1_000]) for _ in range(2)]
    count_max = draw.pick([1, 4, 4, 20])
    gap_us = draw.pick([150, 400, 800, 1_500]) * MS
    wait_us = draw.pick([500, 1_500, 3_000]) * MS
    aimed, end_us = [], config.time_us - QUIET_US
    for number, start_us in enumerate(range(QUIET_US, end_us, gap_us)):
        fault = Aimed(
            id=f"s{number:03d}-aimed",
            start_us=start_us,
            duration_us=min(wait_us, config.time_us - start_us),
            nodes=(),
            moment="after-send",
            message=moments[number % len(moments)],
            action=draw.pick(chosen),
            count=draw.between(1, count_max),
            hold_us=draw.pick(holds) * MS,
        )
        aimed.append(fault)
    return tuple(aimed)


def of_message_classes(draw: Draw, config: RunConfig, messages: Sequence[str]) -> tuple[Fault, ...]:
    """Link faults of the kinds that the seed has chosen, each on one class of message, from some
    time until the end."""
    kinds = [kind for kind in LINK_FAULTS if kind in config.faults.kinds]
    if not kinds or not messages:
        return ()
    classes = list(dict.fromkeys(messages))
    found = []
    for number in range(draw.between(1, MESSAGE_CLASSES_MAX)):
        start_us = draw.between(0, config.time_us // 2)
        window_us = draw.pick([5, 30, 150, 800, 1_500]) * MS
        times = {"start_us": start_us, "duration_us": config.time_us - start_us}
        kind, message = draw.pick(kinds), draw.pick(classes)
        nodes = config.cluster.node_ids()
        found.append(_link_fault(draw, kind, f"l{number}-{kind}", times, nodes, message, window_us))
    return tuple(found)


def long_outage(draw: Draw, config: RunConfig) -> Fault:
    """A learner is down, often for a long time; the planner stops voters only, and rarely for
    long."""
    start_us = draw.between(0, config.time_us // 2)
    return Kill(
        id="a0-kill",
        start_us=start_us,
        duration_us=draw.between(config.time_us // 10, config.time_us - start_us),
        nodes=(draw.pick(config.cluster.learner_ids()),),
    )


def voter_outage(draw: Draw, config: RunConfig, kind: str) -> Fault:
    """One voter is down, paused or cut off for a large part of the chaos phase, and returns."""
    start_us = draw.between(0, config.time_us // 2)
    most_us = max(config.time_us - start_us - QUIET_US, config.time_us // 5)
    common: dict[str, Any] = {
        "id": f"o0-{kind}",
        "start_us": start_us,
        "duration_us": draw.between(config.time_us // 5, most_us),
        "nodes": (draw.pick(config.cluster.voter_ids()),),
    }
    if kind == "partition":
        return Partition(**common, shape="isolate")
    return {"kill": Kill, "power": PowerCut, "pause": Pause}[kind](**common)


def extended(draw: Draw, faults: Sequence[Fault], end_us: int) -> tuple[Fault, ...]:
    """Of each group of faults, the one that ends last is often extended to the end of the chaos
    phase. If it affects only a minority it is then not healed (see `RunConfig.core`), and the
    others must answer nevertheless. An aimed fault is over when it has fired, and is never
    extended."""
    last: dict[str, Fault] = {}
    for fault in faults:
        group = KINDS[fault.kind].generator.group
        held = last.get(group)
        if not isinstance(fault, Aimed) and (held is None or held.end_us < fault.end_us):
            last[group] = fault
    long = {
        fault.id: dataclasses.replace(fault, duration_us=end_us - fault.start_us)
        for fault in last.values()
        if draw.chance(EXTENDED_PERCENT)
    }
    return tuple(long.get(fault.id, fault) for fault in faults)

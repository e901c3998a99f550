"""Faults that keep each other company: what makes a run meet the few moments on which bugs turn.

The planner spreads faults that know nothing of one another. Most bugs of consensus need two or
three things at once, or one after the other, and these put them together, by class of bug and not
by seed:

    themed      ambushes of one kind: one moment, many chances
    beside      a strike in bad weather, or at a node whose clock jumps as it is struck
    succession  whoever takes over is struck in turn, in the middle of what it sends: chains of
                elections and recoveries, each of which leaves something behind for the next
    letters     one class of message is late, lost or doubled all the time: answers arrive when the
                question has long been asked anew
    absence     a learner is away for long, and has to come back to a log that went on without it
    lasting     what still strikes when the chaos ends, and goes on striking a minority
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
from faults.kinds.reorder import Reorder
from harness.run.config import RunConfig

MS: Final = 1_000

STRIKES: Final = ("kill", "pause", "power", "aimed", "partition")
STORMS: Final = ("loss", "duplicate", "reorder")
LETTERS: Final = (*STORMS, "delay")
COMPANY: Final = (*STORMS, "clock")

SHARE_PERCENT: Final = 75
"""In so many seeds all ambushes are of one kind."""
COMPANY_PERCENT: Final = 50
LASTING_PERCENT: Final = 60
CALM_US: Final = 500 * MS
"""Before the first ambush of a succession, and after the last."""
LETTERS_MAX: Final = 2


def themed(draw: Draw, faults: Sequence[Fault], messages: Sequence[str]) -> tuple[Fault, ...]:
    """In most seeds all ambushes are of one kind: the same message, the same blow, the same time to
    recover. A bug that takes one moment and a little luck gets many chances that way, where a mix
    would give it one in a hundred."""
    if not draw.chance(SHARE_PERCENT) or not messages:
        return tuple(faults)
    theme: dict[str, Any] = {
        "moment": "after-send",
        "message": draw.pick(messages),
        "action": draw.pick(["kill", "kill", "power", "isolate", "pause"]),
        "hold_us": draw.pick([0, 50, 50, 150, 400]) * MS,
    }
    return tuple(
        dataclasses.replace(fault, **theme, count=draw.between(1, 4))
        if isinstance(fault, Aimed)
        else fault
        for fault in faults
    )


def beside(draw: Draw, fault: Fault, config: RunConfig, messages: Sequence[str]) -> Fault | None:
    """What comes with a strike. Half of the strikes have company, of a kind that the seed has
    chosen anyway. Bad weather blows everywhere, a moment before and a moment after: a node that
    dies while messages are lost or late leaves behind what it would not have left otherwise. A
    clock jumps at the node that was struck, just after: whoever trusts it is alone with it."""
    kinds = [kind for kind in COMPANY if kind in config.faults]
    if fault.kind not in STRIKES or not kinds or not draw.chance(COMPANY_PERCENT):
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
    return _weather(draw, kind, name, times, config.node_ids(), message, window_us)


def _jump(draw: Draw, fault: Fault, end_us: int) -> Fault:
    """It outlasts the strike: a node that goes on must find the wrong time."""
    start_us = fault.start_us + min(draw.pick([0, 1, 100]) * MS, fault.duration_us // 2)
    return ClockJump(
        id=f"{fault.id}-jump",
        start_us=start_us,
        duration_us=min(fault.end_us + draw.pick([50, 400, 1_000]) * MS, end_us) - start_us,
        nodes=fault.nodes,
        offset_us=draw.pick([-60_000, -2_000, -500, 500, 60_000]) * MS,
    )


def _weather(
    draw: Draw,
    kind: str,
    name: str,
    times: dict[str, int],
    nodes: tuple[int, ...],
    message: str,
    window_us: int,
) -> Fault:
    """Weather on all links; `window_us` is how late a message may be."""
    common: dict[str, Any] = {"id": name, **times, "nodes": nodes, "message": message}
    percent = draw.pick([10, 30, 60, 90])
    if kind == "delay":
        return Delay(**common, delay_us=window_us, jitter_us=draw.between(0, window_us // 2))
    if kind == "loss":
        return Loss(**common, percent=percent)
    if kind == "duplicate":
        return Duplicate(**common, percent=percent, spread_us=window_us)
    return Reorder(**common, percent=percent, window_us=window_us)


def succession(draw: Draw, config: RunConfig, messages: Sequence[str]) -> tuple[Fault, ...]:
    """One ambush after the other, for whoever comes to the moment: one to three moments, in turn,
    so that who goes on where another was struck is struck at another one. Blows are of one kind in
    most seeds, and short ones: who was struck is back to meet its successors."""
    moments = list(dict.fromkeys(draw.pick(messages) for _ in range(draw.between(1, 3))))
    actions = ["kill", "kill", "power", "isolate", "pause"]
    blows = actions if draw.chance(25) else [draw.pick(actions)]
    holds = [draw.pick([20, 50, 150, 400, 1_000]) for _ in range(2)]
    count_max = draw.pick([1, 4, 4, 20])
    gap_us = draw.pick([150, 400, 800, 1_500]) * MS
    wait_us = draw.pick([500, 1_500, 3_000]) * MS
    ambushes, end_us = [], config.time_us - CALM_US
    for number, start_us in enumerate(range(CALM_US, end_us, gap_us)):
        ambush = Aimed(
            id=f"s{number:03d}-aimed",
            start_us=start_us,
            duration_us=min(wait_us, config.time_us - start_us),
            nodes=(),
            moment="after-send",
            message=moments[number % len(moments)],
            action=draw.pick(blows),
            count=draw.between(1, count_max),
            hold_us=draw.pick(holds) * MS,
        )
        ambushes.append(ambush)
    return tuple(ambushes)


def letters(draw: Draw, config: RunConfig, messages: Sequence[str]) -> tuple[Fault, ...]:
    """Weather of the kinds that the seed has chosen, each on one class of message, from some moment
    to the end."""
    kinds = [kind for kind in LETTERS if kind in config.faults]
    if not kinds or not messages:
        return ()
    classes = list(dict.fromkeys(messages))
    found = []
    for number in range(draw.between(1, LETTERS_MAX)):
        start_us = draw.between(0, config.time_us // 2)
        window_us = draw.pick([5, 30, 150, 800, 1_500]) * MS
        times = {"start_us": start_us, "duration_us": config.time_us - start_us}
        kind, message = draw.pick(kinds), draw.pick(classes)
        nodes = config.node_ids()
        found.append(_weather(draw, kind, f"l{number}-{kind}", times, nodes, message, window_us))
    return tuple(found)


def absence(draw: Draw, config: RunConfig) -> Fault:
    """The planner strikes voters only, and seldom for long."""
    start_us = draw.between(0, config.time_us // 2)
    return Kill(
        id="a0-kill",
        start_us=start_us,
        duration_us=draw.between(config.time_us // 10, config.time_us - start_us),
        nodes=(draw.pick(config.learner_ids()),),
    )


def lasting(draw: Draw, faults: Sequence[Fault], end_us: int) -> tuple[Fault, ...]:
    """Of each group of faults, the one that ends last goes on until the chaos ends, often. What of
    it strikes only a minority is then left as it is (see `RunConfig.core`), and the others must
    answer all the same. An ambush is over when it has struck, and never lasts."""
    last: dict[str, Fault] = {}
    for fault in faults:
        group = KINDS[fault.kind].generator.group
        held = last.get(group)
        if not isinstance(fault, Aimed) and (held is None or held.end_us < fault.end_us):
            last[group] = fault
    long = {
        fault.id: dataclasses.replace(fault, duration_us=end_us - fault.start_us)
        for fault in last.values()
        if draw.chance(LASTING_PERCENT)
    }
    return tuple(long.get(fault.id, fault) for fault in faults)

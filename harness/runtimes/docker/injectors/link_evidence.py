"""Does a link do what it should? Judged from datagrams that the agents sent over it.

What is random is compared with six standard deviations of what chance allows, so a correct link
is called wrong once in some hundred million times; and where enough packets were sent for the
effect to be certain to show, it must show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, Final

from harness.runtimes.docker.injectors.link_state import UNTOUCHED, LinkState

SIGMAS: Final = 6.0
SEEN_FROM: Final = 14.0
"""Expected events from which not a single one is a proof: chance is exp(-14)."""
SLACK_SHARE: Final = 0.01
"""Of packets that a busy machine itself may lose."""
EARLY_US: Final = 500
"""The clocks of a delay are read in two processes; the kernel counts netem's in ticks."""
TOLERANCE_US: Final = 25_000
"""How much later than asked the median may be on a busy machine."""
UNTOUCHED_US: Final = 10_000
"""The quickest packet of an untouched link is quicker than this."""
HARMLESS: Final = 0.12
"""Of the bits of a small frame, those of its Ethernet header: netem flips them too, and an address
of the sender that is wrong is found by no checksum."""
RATE_SLACK: Final = 1.15
RATE_LEAST: Final = 0.3
FRAME_LARGEST: Final = 1514
PROOF_EVENTS: Final = 20
COUNT_LEAST, COUNT_MOST = 60, 1_200
COUNT_UNTOUCHED: Final = 12
SIZE_SMALL, SIZE_LARGE = 64, 1_000
FRAME_EXTRA: Final = 42
RATE_SECONDS: Final = 0.25
GAP_US: Final = 500
GAP_US_PER_LINK: Final = 100
"""All links are measured at once, by as few processors as the machine has: 10,000 datagrams a
second in all are what an agent's wire carries besides the cluster's own packets."""


@dataclass(frozen=True)
class Measurement:
    """What is sent over each link, and how long it is listened."""

    count: int
    gap_us: int
    size: int
    listen_ms: int
    traffic: bool = False
    """Whether all that the link carries is counted."""


def measurement_for(wanted: Iterable[LinkState], links: int = 1) -> Measurement:
    """A measurement that shows these effects, on `links` links at once."""
    states = list(wanted)
    if all(state == UNTOUCHED for state in states):
        return Measurement(COUNT_UNTOUCHED, 1_000, SIZE_SMALL, 30)
    shares = [
        share
        for state in states
        for share in (state.loss, state.reorder, state.duplicate, state.corrupt)
        if 0 < share < 1
    ]
    count = max([COUNT_LEAST, *(ceil(PROOF_EVENTS / share) for share in shares)])
    listen_ms = 60 + max(state.longest_us for state in states) // 1000
    slowest = min((state.kbps for state in states if state.kbps), default=0)
    if slowest:  # enough to fill the link for a while, and no more than passes in that time
        count = max(10, ceil(slowest * 1000 * RATE_SECONDS / 8 / (SIZE_LARGE + FRAME_EXTRA)))
        listen_ms += ceil(RATE_SECONDS * 2_000)
        return Measurement(min(count, COUNT_MOST), 0, SIZE_LARGE, listen_ms, traffic=True)
    gap_us = max(GAP_US, links * GAP_US_PER_LINK)
    return Measurement(min(count, COUNT_MOST), gap_us, SIZE_SMALL, listen_ms)


def problems_of(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    """What the link did that it should not, or the other way round; empty if all is right."""
    received = int(found.get("received", 0))
    if state.is_cut:
        return [f"{received} of {how.count} datagrams passed a cut link"] if received else []
    harmless = HARMLESS * state.corrupt * how.count
    if state.kbps:
        return _wrong_rate(state, found, how)
    harmless = HARMLESS * state.corrupt * how.count
    wrong = _wrong_share("arrived", received, how.count, _arrival(state), more=harmless)
    if not received:
        return wrong
    duplicates = int(found.get("duplicates", 0))
    wrong += _wrong_share("arrived twice", duplicates, received, state.duplicate)
    delay = found["delay_us"]
    if state.delay_us and delay["min"] < state.delay_us - EARLY_US:
        wrong.append(f"a datagram took {delay['min']} us, {state.delay_us} were asked")
    most_us = state.delay_us + state.jitter_us + state.window_us + TOLERANCE_US
    if delay["p50"] > most_us:
        wrong.append(f"the median delay is {delay['p50']} us, at most {most_us} were asked")
    if state == UNTOUCHED and delay["min"] > UNTOUCHED_US:
        wrong.append(f"the quickest datagram took {delay['min']} us on an untouched link")
    out_of_order = int(found.get("reordered", 0))
    in_order = not (state.jitter_us or state.reorder)
    if in_order and out_of_order > received * SLACK_SHARE + 1:
        wrong.append(f"{out_of_order} of {received} datagrams came out of order")
    held = received * state.reorder
    if held >= SEEN_FROM and state.window_us > 20 * how.gap_us and not out_of_order:
        wrong.append(f"no datagram came out of order, {state.reorder:.0%} were to be held back")
    return wrong


def _wrong_rate(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    """A limited link may be full of the cluster's own packets: what it carries in all is judged.

    Where that is less than the rate, it must be a good part of what the measurement itself sent.
    The measurement's own datagrams, sent at once, must not come faster either; that is taken from
    the first one's sending, for a first one that is late must not make the others look fast.
    """
    carried, window_s = 8 * int(found["carried_bytes"]), int(found["window_us"]) / 1e6
    passes = state.kbps * 1000 * window_s
    if carried > passes * RATE_SLACK + 2 * 8 * FRAME_LARGEST:
        return [f"{carried / window_s:.0f} bits a second passed, {state.kbps * 1000} were asked"]
    frame = (how.size + FRAME_EXTRA) * 8
    own = (int(found["received"]) + int(found["duplicates"])) * frame
    if own > frame and own * 1e6 / max(1, found["took_us"]) > state.kbps * 1000 * RATE_SLACK:
        return [f"{own} bits came within {found['took_us']} us, {state.kbps} kbit/s were asked"]
    offered = how.count * frame
    if carried < RATE_LEAST * _arrival(state) * min(offered, passes):
        return [f"only {carried} bits passed, {offered} were sent at {state.kbps} kbit/s"]
    return []


def _arrival(state: LinkState) -> float:
    return (1 - state.loss) * (1 - state.corrupt)


def _wrong_share(what: str, seen: int, of: int, share: float, more: float = 0.0) -> list[str]:
    """Whether `seen` of `of` is further from the share than chance, and a busy machine, allow.

    `more` may be seen besides.
    """
    spread = SIGMAS * sqrt(of * share * (1 - share)) + 1
    least, most = of * share - spread - of * SLACK_SHARE, of * share + spread + more
    right = least <= seen <= most
    missing, unseen = of * (1 - share), of - seen
    if share < 1 and missing >= SEEN_FROM and not unseen:
        right = False
    if of * share >= SEEN_FROM and not seen:
        right = False
    return [] if right else [f"{seen} of {of} datagrams {what}, {share:.1%} should have"]

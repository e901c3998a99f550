"""What is sent over links to find out what they do: numbered datagrams, in rounds.

A *spaced* round shows delays, and the shares of datagrams that are lost, damaged, copied and held
back: small datagrams, as many as make even the smallest share certain to show, but for a few
seconds at most. Where they may overtake one another some are sent at once, then there is a pause.
Links whose rate is limited have a round of their own, as slow as that rate.

A *burst* shows a rate: datagrams sent at once that take a quarter of a second to pass at this rate,
and longer than all that makes their delays differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from faults.description import Link
from harness.runtimes.docker.injectors.link_state import UNTOUCHED, LinkState

PROOF_EVENTS: Final = 20
"""How often the rarest effect should be seen."""
PROOF_EVENTS_WITH_RATE: Final = 6
"""The same on each link of limited rate, which takes long: all links of the fault count."""
PROOF_LOSSES: Final = 100
"""How often a loss beside corruption, which also has some packets dropped on the way: those with a
damaged header. They are few among large datagrams."""
ENOUGH: Final = 30
"""Datagrams of which the delays are judged."""
ENOUGH_WITH_JITTER: Final = 200
COUNT_LEAST: Final = 60
COUNT_LEAST_WITH_RATE: Final = 12
COUNT_UNTOUCHED: Final = 12
COUNT_BURST_LEAST, COUNT_BURST_MOST = 10, 1_200
SIZE_SMALL, SIZE_LARGE, SIZE_LARGEST = 64, 1_000, 1_400
FRAME_EXTRA: Final = 42
"""Bytes of the headers of Ethernet, IPv4 and UDP."""
SENDING_S: Final = 2.0
OWN_SHARE: Final = 0.5
"""Of a limited rate, for the measurement; the rest is left to the cluster."""
BURST_S: Final = 0.25
BURST_FACTOR: Final = 1.5
"""How much longer than delays may differ a burst takes."""
KBPS_SHOWN: Final = 40_000
"""The sender of a burst itself may not be faster than a higher rate."""
GAP_US: Final = 500
GAP_US_PER_LINK: Final = 100
"""All links are measured at once, by as few processors as the machine has: 10,000 datagrams a
second in all are what an agent's wire carries besides the cluster's own packets."""
GAP_US_MOST: Final = 1_000_000
TOGETHER: Final = 4
PAIR_US: Final = 1_000
"""At most so far apart are most datagrams that are sent at once."""
SLACK_SHARE: Final = 0.01
"""Of packets that a busy machine itself may lose, or bring out of order."""
QUICK_US_LEAST, QUICK_US = 1_000, 10_000


@dataclass(frozen=True)
class Measurement:
    """What is sent over each link, and how long it is listened."""

    count: int
    gap_us: int
    size: int
    listen_ms: int
    together: int = 1
    """How many datagrams are sent at once; the pause after them is as long as their gaps."""
    burst_kbps: int = 0
    """The rate that a burst shows; 0: it is no burst."""
    traffic: bool = False
    """Whether all that the link carries is counted."""
    frames: bool = False
    """Whether damaged datagrams, which no socket receives, are counted as well."""
    slack: float = SLACK_SHARE
    quick_us: int = QUICK_US
    """How much later than asked the quickest datagram may be."""


UNTOUCHED_LINKS: Final = Measurement(COUNT_UNTOUCHED, 1_000, SIZE_SMALL, 30)


@dataclass(frozen=True)
class Expected:
    """The state of a link, and the effects that are to be proven: of faults that have come to it,
    or have left it. Those are looked for as closely as when they were there."""

    state: LinkState
    effects: tuple[LinkState, ...] = ()

    @property
    def is_untouched(self) -> bool:
        return self.state == UNTOUCHED and not self.effects

    @property
    def kbps(self) -> int:
        """The rate at which datagrams pass, 0 where it is not limited."""
        return 0 if self.state.is_cut else self.state.kbps

    @property
    def burst_kbps(self) -> int:
        """The rate to be shown, or to be shown gone; 0 where there is none."""
        rates = [effect.kbps for effect in self.effects if effect.kbps]
        return 0 if self.state.is_cut or not rates else self.kbps or min(rates)

    @property
    def needs_spaced(self) -> bool:
        """Whether there is anything but a rate."""
        looked_for = (self.state, *self.effects)
        return not self.burst_kbps or any(replace(s, kbps=0) != UNTOUCHED for s in looked_for)


def rounds_for(links: Mapping[Link, Expected]) -> list[tuple[list[Link], Measurement]]:
    """Which links are measured together, and how."""
    rounds = []
    untouched = [link for link, expected in links.items() if expected.is_untouched]
    touched = {link: links[link] for link in links if link not in untouched}
    spaced = {link: expected for link, expected in touched.items() if expected.needs_spaced}
    for kbps in sorted({expected.kbps for expected in spaced.values()}):
        same = [link for link, expected in spaced.items() if expected.kbps == kbps]
        rounds.append((same, spaced_round([spaced[link] for link in same])))
    for kbps in sorted({expected.burst_kbps for expected in touched.values()} - {0}):
        same = [link for link, expected in touched.items() if expected.burst_kbps == kbps]
        rounds.append((same, burst_round([touched[link].state for link in same], kbps)))
    if untouched:
        rounds.append((untouched, UNTOUCHED_LINKS))
    return rounds


def spaced_round(links: Sequence[Expected]) -> Measurement:
    """For links of the same rate, all measured at once."""
    states = [link.state for link in links]
    looked_for = [state for link in links for state in (link.state, *link.effects)]
    kbps = links[0].kbps
    gap_us = max(GAP_US, len(links) * GAP_US_PER_LINK)
    count = COUNT_LEAST
    if kbps:
        count = COUNT_LEAST_WITH_RATE
        copies = 1 + max(state.duplicate for state in states)
        passing_us = copies * (SIZE_SMALL + FRAME_EXTRA) * 8_000 / kbps
        gap_us = min(GAP_US_MOST, max(gap_us, ceil(passing_us / OWN_SHARE)))
    count = max(count, *(_enough(link) for link in links))
    shares = [
        share
        for state in looked_for
        for share in (state.loss, state.reorder, state.duplicate, state.corrupt)
        if 0 < share < 1
    ]
    delays = [state.delay_us for state in looked_for if state.delay_us]
    mixed = any(_loses_and_damages(link) for link in links) and not kbps
    overtaking = any(state.jitter_us or state.reorder for state in looked_for)
    return Measurement(
        count=max(1, min(count, int(SENDING_S * 1e6 / gap_us))),
        gap_us=gap_us,
        size=SIZE_LARGEST if mixed else SIZE_SMALL,
        listen_ms=60 + max(state.longest_us for state in states) // 1000,
        together=TOGETHER if overtaking else 1,
        traffic=bool(kbps),
        frames=any(state.corrupt for state in looked_for),
        slack=min([SLACK_SHARE, *(share / 4 for share in shares)]),
        quick_us=max(QUICK_US_LEAST, min([QUICK_US, *(delay // 2 for delay in delays)])),
    )


def burst_round(states: Sequence[LinkState], kbps: int) -> Measurement:
    """For links with this rate, or that had it."""
    differing_us = max(state.jitter_us + state.window_us for state in states)
    passing_s = BURST_S + BURST_FACTOR * differing_us / 1e6
    passing_bytes = kbps * 1000 * passing_s / 8
    size = int(passing_bytes / COUNT_BURST_LEAST) - FRAME_EXTRA
    size = max(SIZE_SMALL, min(SIZE_LARGE, size))
    arriving = min(arrival(state) for state in states)
    count = ceil(passing_bytes / max(0.01, arriving) / (size + FRAME_EXTRA))
    listen_ms = 60 + max(state.longest_us for state in states) // 1000 + ceil(2_000 * passing_s)
    return Measurement(
        count=max(COUNT_BURST_LEAST, min(count, COUNT_BURST_MOST)),
        gap_us=0,
        size=size,
        listen_ms=listen_ms,
        burst_kbps=kbps,
        traffic=True,
    )


def _enough(link: Expected) -> int:
    """Datagrams after which each effect that is to be proven has been seen. What else is on the
    link has been proven before, and is judged as far as these show it."""
    state = link.state
    effects = [effect for effect in link.effects if replace(effect, kbps=0) != UNTOUCHED]
    if state.is_cut or not effects:
        return 0
    arriving = arrival(state)
    events = [share for one in effects for share in shares_of(one, beside=state).values()]
    often = PROOF_EVENTS_WITH_RATE if state.kbps else PROOF_EVENTS
    wanted = [often / share for share in events if 0 < share < 1]
    wanted.append((COUNT_LEAST_WITH_RATE if state.kbps else ENOUGH) / arriving)
    if _loses_and_damages(link) and not state.kbps:
        wanted += [PROOF_LOSSES / one.loss for one in effects if one.loss]
    if any(one.jitter_us for one in effects):
        wanted.append((ENOUGH if state.kbps else ENOUGH_WITH_JITTER) / arriving)
    return ceil(max(wanted))


def _loses_and_damages(link: Expected) -> bool:
    looked_for = [state for state in (link.state, *link.effects) if not state.is_cut]
    return any(one.loss for one in looked_for) and any(one.corrupt for one in looked_for)


def shares_of(state: LinkState, beside: LinkState | None = None) -> dict[str, float]:
    """Of the datagrams that are sent over a link in this state: how many are lost, damaged, come
    twice, are held back for a quarter of the window, or are overtaken (at least). `beside`: what
    else happens on the link, which these must survive to be seen."""
    link = beside or state
    arriving, through = arrival(link), 1 - link.loss
    return {
        "lost": state.loss,
        "damaged": through * state.corrupt,
        "copied": arriving * state.duplicate,
        "held back": arriving * state.reorder * 0.75,
        "overtaken": 0.0 if link.kbps else arriving * _overtaken(state),
    }


def _overtaken(state: LinkState) -> float:
    """Of datagrams of which TOGETHER are sent at once, the share that comes after the next one."""

    def apart(range_us: int) -> float:
        return max(0.0, 1 - PAIR_US / range_us) if range_us else 0.0

    held, jitter = apart(state.window_us), apart(state.jitter_us)
    by_holding = state.reorder * ((1 - state.reorder) * held + state.reorder * held**2 / 2)
    return (TOGETHER - 1) / TOGETHER * max(by_holding, jitter**2 / 2)


def arrival(state: LinkState) -> float:
    """The share of datagrams that arrive, and undamaged."""
    return (1 - state.loss) * (1 - state.corrupt)

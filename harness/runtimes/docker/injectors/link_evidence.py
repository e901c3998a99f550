"""Does a link do what it should? Judged from datagrams that the agents sent over it.

What is random is compared with six standard deviations of what chance allows, so a correct link
is called wrong once in some hundred million times; and an effect of which enough events are
expected must be seen. Where a link is too slow for that, one of the fault's links must show it; if
none does, the fault is not verified.

A link of limited rate may be full of the cluster's own packets. Then datagrams wait, or are
dropped, so only what an effect does at least is judged: how much is lost, how long it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, floor, sqrt
from typing import Any, Final, NamedTuple

from harness.runtimes.docker.injectors.link_measurement import (
    ENOUGH,
    FRAME_EXTRA,
    KBPS_SHOWN,
    SLACK_SHARE,
    Measurement,
    arrival,
    shares_of,
)
from harness.runtimes.docker.injectors.link_state import LinkState

SIGMAS: Final = 6.0
SEEN_FROM: Final = 12.0
"""Expected events from which one link must show one: chance is exp(-12)."""
QUICKEST: Final = 14.0
"""Of ten times as many datagrams with random delays one is in the first tenth of the range, and so
on: chance is exp(-14)."""
CHANCE: Final = 1e-6
"""Of fewer events than are asked for, where many are expected."""
EARLY_US: Final = 500
"""The clocks of a delay are read in two processes; the kernel counts netem's in ticks."""
TOLERANCE_US: Final = 25_000
"""How much later than asked the median may be on a busy machine."""
HEADERS_HIT: Final = 34
"""Bytes of the headers of Ethernet and IPv4. A bit flipped in them may do no harm (netem's, in the
sender's hardware address), or have the packet dropped by a bridge, which looks like a loss."""
RATE_SLACK: Final = 1.15
RATE_LEAST: Final = 0.3
FULL: Final = 0.85
"""Of what passes at a rate: a link that carries less is empty at times."""
FRAME_LARGEST: Final = 1514
SPREAD_SHOWN_US: Final = 2_000
"""Differences of delays that are asked for and smaller than this are lost in those of a machine."""
COPIES_ENOUGH: Final = 10
WORDS: Final = {
    "lost": "were lost",
    "damaged": "were damaged",
    "copied": "arrived twice",
    "held back": "were held back",
    "overtaken": "were overtaken",
}
"""By effect, as in `shares_of`."""


class Seen(NamedTuple):
    """A link, and what a round has shown of it."""

    state: LinkState
    found: Mapping[str, Any]
    how: Measurement


def problems_of(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    """What the link did that it should not, or the other way round; empty if all is right."""
    received = int(found.get("received", 0))
    if state.is_cut:
        return [f"{received} of {how.count} datagrams passed a cut link"] if received else []
    if how.burst_kbps:
        return _wrong_rate(state, found, how) if state.kbps else _still_slow(state, found, how)
    wrong = _wrong_shares(state, found, how)
    if not received:
        return wrong
    wrong += _wrong_delays(state, found, how)
    out_of_order = int(found.get("reordered", 0))
    in_order = not (state.jitter_us or state.reorder)
    if in_order and out_of_order > received * how.slack + 1:
        wrong.append(f"{out_of_order} of {received} datagrams came out of order")
    return wrong


def is_full(link: Seen) -> bool:
    """Whether a link of limited rate carried about as much as it can, and was never empty."""
    state, found, how = link
    if not state.kbps or "carried_bytes" not in found:
        return False
    passes = state.kbps * 1000 * int(found["window_us"]) / 1e6
    if 8 * int(found["carried_bytes"]) <= FULL * passes:
        return False
    return not found.get("received") or found["delay_us"]["min"] > _quick_us(state, found, how)


def not_shown(effect: LinkState, links: Sequence[Seen]) -> list[str]:
    """What of a fault's effect no link of it has shown: one event on any of them is enough, where
    time is too short for each to show it. None at all is repeated, as all that is wrong."""
    wrong = []
    if effect.kbps > KBPS_SHOWN:
        wrong.append(f"a rate of more than {KBPS_SHOWN} kbit/s cannot be shown")
    spaced = [
        link for link in links if not (link.state.is_cut or link.how.burst_kbps or is_full(link))
    ]
    for name, share in shares_of(effect).items():
        if not share or not spaced or name == "overtaken":
            continue
        if not any(_events(link.state, link.found, link.how)[name] for link in spaced):
            sent = sum(link.how.count for link in spaced)
            wrong.append(f"0 of {sent} datagrams {WORDS[name]}, {share:.1%} should have")
    return wrong


def _headers_hit(how: Measurement) -> float:
    return HEADERS_HIT / (how.size + FRAME_EXTRA)


def _events(state: LinkState, found: Mapping[str, Any], how: Measurement) -> dict[str, int]:
    """How many datagrams of a round were lost and so on; see `shares_of`."""
    received, damaged = int(found.get("received", 0)), int(found.get("damaged", 0))
    delay = found.get("delay_us", {})
    spread_us = delay.get("max", 0) - delay.get("min", 0)
    return {
        "lost": max(0, how.count - received - damaged),
        "damaged": damaged,
        "copied": int(found.get("duplicates", 0)),
        "held back": int(bool(state.window_us) and spread_us >= state.window_us / 4),
        "overtaken": int(found.get("reordered", 0)),
    }


def _wrong_shares(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    """Whether datagrams were lost, damaged, copied and overtaken as often as they should be."""
    received, duplicates = int(found.get("received", 0)), int(found.get("duplicates", 0))
    damaged = int(found.get("damaged", 0))
    apart = "damaged" in found
    came, coming = (received + damaged, 1 - state.loss) if apart else (received, arrival(state))
    astray = _headers_hit(how) * state.corrupt * how.count
    astray += 4 * sqrt(astray)
    # The queue of a limited rate may drop any share of them, and of their copies.
    slack = 1.0 if state.kbps else how.slack
    wrong = _wrong_share("arrived", came, how.count, coming, slack=slack, more=astray, fewer=astray)
    if received:
        slack = 1.0 if state.kbps else SLACK_SHARE
        wrong += _wrong_share("arrived twice", duplicates, received, state.duplicate, slack=slack)
    if apart and came:
        fewer = _headers_hit(how) * state.corrupt * came
        wrong += _wrong_share("were damaged", damaged, came, state.corrupt, fewer=fewer)
    return wrong + _unseen(state, found, how)


def _unseen(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    """The effects of which less was seen than even chance allows."""
    shares = shares_of(state)
    if "damaged" not in found:
        shares |= {"lost": 1 - arrival(state), "damaged": 0.0}
    shares["damaged"] *= 1 - _headers_hit(how)
    shares["overtaken"] /= 2  # where a machine is busy, fewer are sent at once
    events = _events(state, found, how)
    expected = {name: how.count * share for name, share in shares.items()}
    if state.kbps:  # of those that its queue has taken
        came = int(found.get("received", 0)) + events["damaged"]
        taken = min(1.0, came / (how.count * (1 - state.loss)))
        for name in ("damaged", "held back", "copied"):
            expected[name] *= taken
        expected["copied"] *= not is_full(Seen(state, found, how))
    wanted = {name: fewest(events) for name, events in expected.items()}
    wanted["held back"] = min(1, wanted["held back"])
    wrong = [
        f"{events[name]} of {how.count} datagrams {WORDS[name]}, {shares[name]:.1%} should have"
        for name in wanted
        if events[name] < wanted[name]
    ]
    is_silent = not found.get("received") and fewest(how.count * arrival(state)) > 0
    if state.kbps and is_silent and not is_full(Seen(state, found, how)):
        wrong.append(f"none of {how.count} datagrams arrived on a link that was not full")
    return wrong


def _wrong_delays(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    wrong = []
    delay = found["delay_us"]
    received = int(found["received"])
    if state.delay_us and delay["min"] < state.delay_us - min(EARLY_US, state.delay_us // 2):
        wrong.append(f"a datagram took {delay['min']} us, {state.delay_us} were asked")
    most_us = state.delay_us + state.jitter_us + state.window_us + TOLERANCE_US
    if not state.kbps and delay["p50"] > most_us:
        wrong.append(f"the median delay is {delay['p50']} us, at most {most_us} were asked")
    quick_us = _quick_us(state, found, how)
    if delay["min"] > quick_us and not is_full(Seen(state, found, how)):
        wrong.append(f"the quickest datagram took {delay['min']} us, at most {quick_us} were asked")
    if state.jitter_us >= SPREAD_SHOWN_US and received >= (1 if state.kbps else 2) * ENOUGH:
        from_us = state.delay_us if state.kbps else delay["min"]
        if delay["p50"] - from_us < state.jitter_us / 4:
            wrong.append(
                f"the median delay is {delay['p50'] - from_us} us above the least, "
                f"up to {state.jitter_us} us more were asked"
            )
    late_us = found.get("copies_late_us", state.spread_us)
    enough = int(found.get("duplicates", 0)) >= COPIES_ENOUGH
    if enough and state.spread_us >= SPREAD_SHOWN_US and late_us < state.spread_us / 4:
        wrong.append(f"copies came {late_us} us later, up to {state.spread_us} were asked")
    return wrong


def _quick_us(state: LinkState, found: Mapping[str, Any], how: Measurement) -> int:
    """How long the quickest datagram may take."""
    random_us = state.jitter_us + (state.window_us if state.reorder > 0.5 else 0)
    quick_us = state.delay_us + how.quick_us
    if state.kbps:  # those behind a late one are late as well
        return quick_us + random_us + (how.size + FRAME_EXTRA) * 8_000 // state.kbps
    return quick_us + int(random_us * min(1.0, QUICKEST / int(found["received"])))


def _wrong_rate(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    """A limited link may be full of the cluster's own packets: what it carries in all is judged.

    Where that is less than the rate, it must be a good part of what the measurement itself sent.
    The measurement's own datagrams, sent at once, must not come faster either. That is taken from
    the first one's sending, for a first one that is late must not make the others look fast; the
    delay that each of them has is taken off.
    """
    carried, window_s = 8 * int(found["carried_bytes"]), int(found["window_us"]) / 1e6
    passes = state.kbps * 1000 * window_s
    if carried > passes * RATE_SLACK + 2 * 8 * FRAME_LARGEST:
        return [f"{carried / window_s:.0f} bits a second passed, {state.kbps * 1000} were asked"]
    own, took_us = _own(state, found, how)
    if int(found["received"]) > 1 and own * 1e6 / took_us > state.kbps * 1000 * RATE_SLACK:
        return [f"{own} bits came within {took_us} us, {state.kbps} kbit/s were asked"]
    offered = how.count * (how.size + FRAME_EXTRA) * 8
    if carried < RATE_LEAST * arrival(state) * min(offered, passes):
        return [f"only {carried} bits passed, {offered} were sent at {state.kbps} kbit/s"]
    return []


def _still_slow(state: LinkState, found: Mapping[str, Any], how: Measurement) -> list[str]:
    """Whether a link whose rate is no longer limited is as slow as it was, or slower."""
    received = int(found.get("received", 0))
    wrong = _wrong_share("arrived", received, how.count, arrival(state), slack=how.slack)
    if received < 2 or how.burst_kbps > KBPS_SHOWN:
        return wrong
    own, took_us = _own(state, found, how)
    if own * 1e6 / took_us < how.burst_kbps * 1000 * RATE_SLACK:
        wrong.append(f"{own} bits took {took_us} us, no more than {how.burst_kbps} kbit/s")
    return wrong


def _own(state: LinkState, found: Mapping[str, Any], how: Measurement) -> tuple[int, int]:
    """The bits of a burst that came, without copies, and the time that they took to pass."""
    bits = int(found["received"]) * (how.size + FRAME_EXTRA) * 8
    return bits, max(1, int(found.get("took_us", 0)) - state.delay_us)


def fewest(expected: float) -> int:
    """How many events there are at least, but for chance (by the distribution of Poisson, which is
    wider than that of a share)."""
    if expected < SEEN_FROM:
        return 0
    if expected > 500:
        return floor(expected - SIGMAS * sqrt(expected))
    events, term = 0, exp(-expected)
    below = term
    while below < CHANCE:
        events += 1
        term *= expected / events
        below += term
    return max(1, events)


def _wrong_share(
    what: str,
    seen: int,
    of: int,
    share: float,
    *,
    slack: float = SLACK_SHARE,
    more: float = 0.0,
    fewer: float = 0.0,
) -> list[str]:
    """Whether `seen` of `of` is further from the share than chance, and a busy machine, allow.

    `more` may be seen besides, `fewer` may be missing.
    """
    spread = SIGMAS * sqrt(of * share * (1 - share)) + 1
    least, most = of * share - spread - of * slack - fewer, of * share + spread + more
    right = least <= seen <= most
    return [] if right else [f"{seen} of {of} datagrams {what}, {share:.1%} should have"]


def short(link: Seen) -> dict[str, Any]:
    """The part of what was seen that a reader needs."""
    _, found, how = link
    if how.burst_kbps:
        shown = {"sent": how.count, **_counts(found)}
        window_us = max(1, int(found.get("window_us", 0)))
        return shown | {"carried_bps": 8_000_000 * int(found.get("carried_bytes", 0)) // window_us}
    delays = found.get("delay_us", {})
    kept = {f"delay_us_{name}": delays[name] for name in ("min", "p50", "p99") if name in delays}
    shown = {"sent": how.count, **_counts(found), **kept}
    if "damaged" in found:
        shown["damaged"] = found["damaged"]
    return shown | ({"full": True} if is_full(link) else {})


def _counts(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name, 0) for name in ("received", "duplicates", "reordered")}

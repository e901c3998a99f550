"""How measurements of links are planned and judged: a link that does all it should passes, one that
lacks any part of it does not."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from faults.agent.measure import Arrival, summary
from harness.runtimes.docker.injectors.link_evidence import Seen, not_shown, problems_of
from harness.runtimes.docker.injectors.link_measurement import (
    Expected,
    Measurement,
    rounds_for,
)
from harness.runtimes.docker.injectors.link_state import UNTOUCHED, LinkState

LINKS = 6
"""Of three nodes: all are measured at once."""
ETHERNET_ETC = 42

EFFECTS: dict[str, LinkState] = {
    "delay of 1 ms": LinkState(delay_us=1_000),
    "delay": LinkState(delay_us=20_000),
    "long delay": LinkState(delay_us=200_000),
    "jitter alone": LinkState(jitter_us=20_000),
    "jitter": LinkState(delay_us=500_000, jitter_us=500_000),
    "loss of 1 %": LinkState(loss=0.01),
    "loss of 2 %": LinkState(loss=0.02),
    "loss": LinkState(loss=0.6),
    "corruption of 1 %": LinkState(corrupt=0.01),
    "corruption": LinkState(corrupt=0.3),
    "copies of 1 %": LinkState(duplicate=0.01, spread_us=50_000),
    "copies": LinkState(duplicate=0.8, spread_us=1_000_000),
    "disorder of 5 %, 5 ms": LinkState(reorder=0.05, window_us=5_000),
    "disorder of 80 %, 5 ms": LinkState(reorder=0.8, window_us=5_000),
    "disorder": LinkState(reorder=0.3, window_us=50_000),
    "rate of 64 kbit/s": LinkState(kbps=64),
    "rate of 512 kbit/s": LinkState(kbps=512),
    "rate of 4 Mbit/s": LinkState(kbps=4_000),
    "cut": LinkState(loss=1.0),
}
BESIDE: list[tuple[str, str]] = [
    ("loss of 2 %", "corruption"),
    ("corruption of 1 %", "loss"),
    ("copies", "loss"),
    ("copies of 1 %", "loss"),
    ("loss of 2 %", "copies"),
    ("delay", "loss"),
    ("jitter", "loss"),
    ("disorder of 5 %, 5 ms", "loss"),
    ("disorder of 80 %, 5 ms", "delay"),
    ("rate of 512 kbit/s", "delay"),
    ("rate of 64 kbit/s", "jitter"),
    ("rate of 512 kbit/s", "jitter"),
    ("rate of 4 Mbit/s", "jitter"),
    ("rate of 512 kbit/s", "disorder"),
    ("rate of 512 kbit/s", "loss"),
    ("rate of 4 Mbit/s", "copies"),
    ("delay", "rate of 64 kbit/s"),
    ("delay", "rate of 4 Mbit/s"),
    ("jitter", "rate of 512 kbit/s"),
    ("loss", "rate of 64 kbit/s"),
    ("loss of 2 %", "rate of 512 kbit/s"),
    ("corruption", "rate of 64 kbit/s"),
    ("copies", "rate of 64 kbit/s"),
    ("copies of 1 %", "rate of 4 Mbit/s"),
    ("disorder", "rate of 512 kbit/s"),
]
"""An effect, and what else is on the link."""


def rounds(expected: Expected, links: int = LINKS) -> list[Measurement]:
    return [how for _, how in rounds_for({(0, n): expected for n in range(links)})]


def simulated(state: LinkState, how: Measurement, rng: random.Random) -> dict[str, Any]:
    """What a link in this state does to a round's datagrams: as the wire does, and the filter of
    lost packets before it."""
    arrivals: list[Arrival] = []
    free_ns, damaged, carried = 0, 0, 0
    frame = how.size + ETHERNET_ETC
    window_us = how.count * how.gap_us + how.listen_ms * 1000
    for sequence in range(how.count):
        first = sequence - sequence % how.together
        sent_ns = first * how.gap_us * 1000 + (sequence - first) * 100_000 + sequence * 2_000
        if rng.random() < state.loss:
            continue
        is_damaged = rng.random() < state.corrupt
        copies = 2 if rng.random() < state.duplicate else 1
        at_ns = sent_ns + state.delay_us * 1000 + int(rng.random() * state.jitter_us * 1000)
        if state.kbps:
            passing_ns = frame * 8_000_000 // state.kbps
            at_ns = max(at_ns, free_ns) + passing_ns
            free_ns = at_ns + (copies - 1) * passing_ns
        if rng.random() < state.reorder:
            at_ns += int(rng.random() * state.window_us * 1000)
        late_ns = int(rng.random() * state.spread_us * 1000)
        times = [at_ns, max(at_ns, free_ns) + late_ns][:copies]
        carried += sum(time <= window_us * 1000 for time in times) * frame
        if is_damaged and rng.random() < 20 / (how.size + 28):
            continue  # in the IP header: a bridge drops it
        damaged += is_damaged
        if not is_damaged:
            arrivals += [Arrival(sequence, sent_ns, time + 20_000) for time in times]
    arrivals.sort(key=lambda one: one.arrived_ns)
    found = summary(arrivals, how.size)
    if how.traffic:
        found |= {"carried_bytes": carried, "window_us": window_us}
    return found | ({"damaged": damaged} if how.frames else {})


def problems(
    expected: Expected,
    actual: LinkState,
    seed: int,
    links: int = LINKS,
    is_healed: bool = False,
) -> list[str]:
    """What all rounds find wrong with links that should be as expected, and are as given."""
    rng = random.Random(seed)
    wrong, seen = [], []
    for how in rounds(expected, links):
        for _ in range(2):
            found = simulated(actual, how, rng)
            wrong += problems_of(expected.state, found, how)
            seen.append(Seen(expected.state, found, how))
    for effect in expected.effects:
        if expected.state != UNTOUCHED and not is_healed:
            wrong += not_shown(effect, seen)
    return wrong


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("seed", range(4))
def test_a_link_with_the_effect_passes(name: str, seed: int) -> None:
    state = EFFECTS[name]
    assert problems(Expected(state, (state,)), state, seed) == []


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_link_without_the_effect_is_detected(name: str, seed: int) -> None:
    state = EFFECTS[name]
    assert problems(Expected(state, (state,)), UNTOUCHED, seed)


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_link_that_was_not_healed_is_detected(name: str, seed: int) -> None:
    state = EFFECTS[name]
    assert problems(Expected(UNTOUCHED, (state,)), UNTOUCHED, seed) == []
    if name != "cut":  # a partition's end is shown by the probes
        assert problems(Expected(UNTOUCHED, (state,)), state, seed)


@pytest.mark.parametrize(("name", "other"), BESIDE)
@pytest.mark.parametrize("seed", range(3))
def test_an_effect_beside_another_is_shown(name: str, other: str, seed: int) -> None:
    effect, rest = EFFECTS[name], EFFECTS[other]
    both = rest.beside(effect)
    assert problems(Expected(both, (effect,)), both, seed) == []
    assert problems(Expected(both, (effect,)), rest, seed), "only the other one is there"
    assert problems(Expected(both, (rest,)), effect, seed), "only this one is there"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("delay", "rate of 512 kbit/s"),
        ("long delay", "jitter"),
        ("rate of 512 kbit/s", "delay"),
        ("rate of 512 kbit/s", "jitter"),
        ("loss of 2 %", "copies"),
        ("corruption", "loss"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_an_effect_that_was_not_healed_beside_another_is_detected(
    name: str, other: str, seed: int
) -> None:
    effect, rest = EFFECTS[name], EFFECTS[other]
    expected = Expected(rest, (effect,))
    assert problems(expected, rest, seed, is_healed=True) == []
    assert problems(expected, rest.beside(effect), seed, is_healed=True)


@pytest.mark.parametrize("links", [1, 20, 42])
@pytest.mark.parametrize("name", ["disorder of 80 %, 5 ms", "disorder", "loss of 2 %"])
def test_the_number_of_links_does_not_weaken_the_proof(name: str, links: int) -> None:
    """Of five nodes 20, of seven 42: datagrams go over each more slowly."""
    state = EFFECTS[name]
    for seed in range(5):
        assert problems(Expected(state, (state,)), state, seed, links) == []
        assert problems(Expected(state, (state,)), UNTOUCHED, seed, links)


def test_corruption_is_not_loss() -> None:
    lossy, damaging = LinkState(loss=0.3), LinkState(corrupt=0.3)
    assert problems(Expected(damaging, (damaging,)), lossy, 1)
    assert problems(Expected(lossy, (lossy,)), damaging, 1) == [], "looked at by sockets alone"
    assert problems(Expected(lossy, (lossy, damaging)), damaging, 1)


def test_jitter_must_differ_and_copies_must_come_later() -> None:
    jitter, copies = EFFECTS["jitter"], EFFECTS["copies"]
    constant = replace(jitter, delay_us=jitter.delay_us + jitter.jitter_us // 2, jitter_us=0)
    assert problems(Expected(jitter, (jitter,)), constant, 1)
    assert problems(Expected(copies, (copies,)), replace(copies, spread_us=0), 1)


@pytest.mark.parametrize("links", [1, 6, 20, 42])
@pytest.mark.parametrize("name", EFFECTS)
def test_a_round_takes_a_few_seconds(name: str, links: int) -> None:
    for how in rounds(Expected(EFFECTS[name], (EFFECTS[name],)), links):
        assert how.count * how.gap_us <= 2_000_000
        assert how.burst_kbps or 1e6 / how.gap_us * links <= 10_000


def test_links_of_different_rates_are_measured_one_after_another() -> None:
    """As fast as each of them allows; what is not touched is only looked at."""
    slow, fast = EFFECTS["rate of 64 kbit/s"], EFFECTS["rate of 4 Mbit/s"]
    late = EFFECTS["delay"]
    found = rounds_for(
        {
            (1, 2): Expected(slow.beside(late), (late, slow)),
            (1, 3): Expected(late, (late,)),
            (2, 1): Expected(fast),
            (2, 3): Expected(UNTOUCHED),
            (3, 1): Expected(LinkState(loss=1.0, kbps=64)),
        }
    )
    assert [(links, how.burst_kbps) for links, how in found] == [
        ([(1, 3), (3, 1)], 0),
        ([(1, 2)], 0),
        ([(2, 1)], 0),
        ([(1, 2)], 64),
        ([(2, 3)], 0),
    ]


def test_what_one_link_is_too_slow_to_show_one_of_the_faults_links_must() -> None:
    """2 % at 64 kbit/s: one or two of the datagrams for which there is time."""
    effect = LinkState(loss=0.02)
    state = effect.beside(LinkState(kbps=64))
    how = rounds(Expected(state, (effect,)), 2)[0]
    none = {"received": how.count, "carried_bytes": 100, "window_us": 2_000_000}
    some = none | {"received": how.count - 2}
    assert not_shown(effect, [Seen(state, none, how), Seen(state, some, how)]) == []
    assert "0 of" in not_shown(effect, [Seen(state, none, how)] * 2)[0]


def test_a_rate_that_cannot_be_shown_is_refused() -> None:
    fast = LinkState(kbps=1_000_000)
    assert "cannot be shown" in not_shown(fast, [])[0]


def test_a_slow_link_may_be_full_of_other_packets() -> None:
    """Then no datagram of the measurement need arrive; but a cut link is not a slow one."""
    state = LinkState(kbps=64)
    (how,) = rounds(Expected(state, (state,)))
    full = {"received": 0, "duplicates": 0, "carried_bytes": 64_000 // 8, "window_us": 1_000_000}
    assert problems_of(state, full, how) == []
    assert problems_of(state, full | {"carried_bytes": 0}, how)
    assert problems_of(state, full | {"carried_bytes": 20_000}, how)


def test_a_full_link_shows_only_what_an_effect_does_at_least() -> None:
    state = LinkState(kbps=64, delay_us=20_000, duplicate=0.3, spread_us=5_000)
    how = rounds(Expected(state, (state,)))[0]
    late = {"min": 400_000, "p50": 600_000, "p99": 700_000, "max": 800_000}
    full = {"carried_bytes": 32_000, "window_us": 4_000_000}
    some = {"received": 20, "duplicates": 0, "reordered": 0, "delay_us": late}
    assert problems_of(state, some | full, how) == []
    assert problems_of(state, {"received": 0} | full, how) == []
    broken = LinkState(kbps=64, corrupt=0.3, reorder=0.3, window_us=500_000)
    how = rounds(Expected(broken, (broken,)))[0]
    assert problems_of(broken, some | full | {"received": 2, "damaged": 1}, how) == []
    assert problems_of(broken, some | full | {"received": 60, "damaged": 0}, how)
    how = rounds(Expected(state, (state,)))[0]
    early = some | {"delay_us": late | {"min": 15_000}}
    assert problems_of(state, early | full, how)
    assert problems_of(state, some | full | {"carried_bytes": 16_000}, how), "it is not full"
    assert problems_of(state, {"received": 0} | full | {"carried_bytes": 16_000}, how)

"""Cell 4: duels between proposers of Basic Paxos, and an adversary that lets no proposer win.

Several proposers get a command at the same time, for the same slot, over links whose delays vary by
half. The results are the number of ballots until the slot was decided, and the share of slots that
were not decided within the limit, with and without randomised back-off. Each trial is a new
cluster, in which every proposer has first decided some commands alone, so that it knows the
duration of an attempt.

The adversary is a schedule of message deliveries (`adversary`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.bench.compare import adversary
from harness.bench.compare.clusters import (
    fixed_world,
    heartbeat_us,
    operation_timeout_us,
    simulate,
    write,
)
from harness.bench.compare.columns import Column
from harness.bench.compare.result import Detail, Figure, Row, Section
from harness.bench.compare.script import Ask, Program, Script, Sleep
from harness.bench.compare.settings import Settings
from harness.bench.compare.theory import expected
from harness.runtimes.sim.runtime import SimRuntime

TARGET: Final = "basic-paxos"
TRIALS: Final = 40
WARM_UPS: Final = 5
LIMIT_DELAYS: Final = 100
"""A slot that is not decided after this many one-way delays (an attempt takes four) counts as not
decided."""
ADVERSARY_BALLOTS: Final = (10, 100, 1000)

TEXT: Final = (
    "In Basic Paxos two proposers can refuse each other again and again: each new ballot makes "
    "the other's Phase 2 fail. Here one to five proposers want the same slot at the same moment. "
    "A proposer that is alone needs one ballot. With randomised exponential back-off a few more "
    "decide; without, the proposers go on refusing each other, and the more there are the more "
    "slots are still undecided at the limit.",
    "Back-off makes a decision likely, not certain. Fischer, Lynch and Paterson proved that no "
    "deterministic protocol can promise a decision in an asynchronous system, and their proof is "
    "an adversary that chooses which message arrives next. Here is such an adversary against "
    "this implementation, with back-off on (which does not help: the adversary sees who waits "
    "and for how long). It loses no message and stops no node, it only lets the requests for "
    "votes wait until the acceptors have promised a higher ballot. It keeps the slot undecided "
    "for as many ballots as it likes. When it stops, the slot is decided at once. Real "
    "networks do not behave adversarially, and with a leader (Multi-Paxos, Raft) no second "
    "proposer competes.",
)


@dataclass(frozen=True, kw_only=True)
class Duels:
    """The results of the trials of one setting."""

    trials: int
    undecided: int
    ballots: int
    latency_us: list[int]

    @property
    def ballots_each(self) -> float | None:
        decided = self.trials - self.undecided
        return self.ballots / decided if decided else None

    @property
    def share_undecided(self) -> float:
        return self.undecided / self.trials


def measure(settings: Settings, *, trials: int = TRIALS) -> Section:
    """The cell; only its text if Basic Paxos is not requested."""
    column = next((c for c in settings.columns if c.target == TARGET), None)
    if column is None:
        return Section(id="livelock", title=TITLE, text=TEXT)
    found = {
        (proposers, backoff): duels(settings, column, proposers, backoff=backoff, trials=trials)
        for proposers in range(1, settings.nodes + 1)
        for backoff in (True, False)
    }
    held = [adversary.play(settings, column, ballots=ballots) for ballots in ADVERSARY_BALLOTS]
    rows = (
        _row(settings, "livelock.alone", "ballots, one proposer", found[1, True].ballots_each),
        _row(settings, "livelock.adversary", "decided, adversary", max(h.decided for h in held)),
        _row(settings, "livelock.after", "decided after it stops", min(h.after for h in held)),
    )
    details = (*_duel_tables(found), _adversary_table(settings, held))
    return Section(id="livelock", title=TITLE, text=TEXT, rows=rows, details=details)


TITLE: Final = "Duelling proposers"


def duels(
    settings: Settings, column: Column, proposers: int, *, backoff: bool, trials: int
) -> Duels:
    """Run `trials` trials with this many proposers."""
    ballots, undecided, latencies = 0, 0, []
    for trial in range(trials):
        begun, latency_us = _duel(settings, column, proposers, backoff=backoff, trial=trial)
        ballots += begun
        if latency_us is None:
            undecided += 1
        else:
            latencies.append(latency_us)
    return Duels(trials=trials, undecided=undecided, ballots=ballots, latency_us=latencies)


def _duel(
    settings: Settings, column: Column, proposers: int, *, backoff: bool, trial: int
) -> tuple[int, int | None]:
    """One trial: the number of ballots, and the time until the slot was decided, if it was."""
    link_us = settings.delay_us
    limit_us = LIMIT_DELAYS * link_us
    clusters: list[SimRuntime] = []
    found: list[tuple[int, int | None]] = []

    def proposer(number: int) -> Callable[[Script], Program]:
        def client(_: Script) -> Program:
            yield Ask(100 + number, number, write("contested", number), 2 * limit_us)

        return client

    def referee(script: Script) -> Program:
        for number in range(WARM_UPS * proposers):
            warm = number % proposers + 1
            yield Ask(
                warm, warm, write(f"k{warm}", number), operation_timeout_us(settings, link_us)
            )
            yield Sleep(heartbeat_us(settings, link_us))
        slots, ballots, began_us = _decided(clusters[0]), _ballots(clusters[0]), script.now_us
        for number in range(1, proposers + 1):
            script.spawn(proposer(number))
        while _decided(clusters[0]) == slots and script.now_us < began_us + limit_us:
            yield Sleep(link_us // 8)
        latency_us = script.now_us - began_us
        decided = _decided(clusters[0]) > slots
        found.append((_ballots(clusters[0]) - ballots, latency_us if decided else None))
        script.stop()

    world = fixed_world(link_us) | {"link_min_us": link_us // 2, "link_max_us": 3 * link_us // 2}
    simulate(
        settings,
        column,
        referee,
        link_us=link_us,
        seed=settings.seed * 1_000_003 + trial,
        world=world,
        before=clusters.append,
        backoff=backoff,
        batch_max=1,
    )
    return found[0]


def _decided(runtime: SimRuntime) -> int:
    """The maximum number of decided slots at any node."""
    return max(len(node.decided) for node in runtime.world.nodes.values())


def _ballots(runtime: SimRuntime) -> int:
    nodes = runtime.world.nodes.values()
    return sum(node.protocol.counters.get("ballots", 0) for node in nodes if node.protocol)


def _row(settings: Settings, row: str, label: str, measured: float | None) -> Row:
    figure = Figure(
        measured=None if measured is None else round(measured, 2),
        expected=expected(row, TARGET, settings.nodes),
        tolerance=0.05,
    )
    unit = "ballots" if row == "livelock.alone" else "slots"
    return Row(id=row, label=label, unit=unit, figures={TARGET: figure})


def _duel_tables(found: dict[tuple[int, bool], Duels]) -> tuple[Detail, Detail]:
    trials = found[1, True].trials
    proposers = sorted({number for number, _ in found})
    head = ("proposers", "with back-off", "without")
    ballots: list[list[str | float | None]] = [
        [number, *(_rounded(found[number, backoff].ballots_each) for backoff in (True, False))]
        for number in proposers
    ]
    shares: list[list[str | float | None]] = [
        [number, *(round(100 * found[number, b].share_undecided) for b in (True, False))]
        for number in proposers
    ]
    return (
        Detail(
            id="livelock.ballots",
            title=f"Ballots per decision ({trials} trials each)",
            head=head,
            rows=ballots,
            curve="log",
        ),
        Detail(
            id="livelock.undecided",
            title=f"Slots not decided within {LIMIT_DELAYS} one-way delays, %",
            head=head,
            rows=shares,
            curve="linear",
        ),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _adversary_table(settings: Settings, played: list[adversary.Game]) -> Detail:
    rows = [
        [
            game.ballots,
            game.decided,
            round(game.lasted_us / 1e6, 1),
            round(game.held_us_max / settings.delay_us, 1),
            round(game.after_us / settings.delay_us, 1) if game.after else None,
        ]
        for game in played
    ]
    head = (
        "ballots refused",
        "decided",
        "seconds",
        "longest hold of a message, in delays",
        "then decided after, in delays",
    )
    title = "An adversary against Basic Paxos with back-off"
    return Detail(id="livelock.adversary", title=title, head=head, rows=rows)

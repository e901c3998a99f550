"""Reduces a failing run to the few faults and operations without which it would not fail.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", TSE
2002), over all parts of a run. A candidate is an ordinary configuration with an ordinary schedule;
it is simulated, and accepted only if the same detector fires. Since removing one thing shifts the
timing of everything that follows, a candidate is tried with a few timings of the simulation; the
one in which it failed is recorded in the configuration.

The passes, each repeated until it makes no progress, and all of them until none does or the time is
up:

    time        an earlier end of the chaos phase; no final round, if it is not needed
    constant    no randomness in links, disks and clocks; default settings; everything healed. Early
                on, since with constant delays removing something shifts the rest least
    faults      subsets of the schedule
    operations  subsets of the clients' operations
    scale       fewer nodes, clients and keys
    windows     shorter faults
    timings     at the end, when a run takes a few milliseconds: one fault less, in many timings
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from faults.description import Fault
from faults.schedule import Schedule
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.simulation import SimulatedRun, TimeIsUp, simulate, simulate_and_judge
from harness.runtimes.sim.config import WorldConfig

T = TypeVar("T")
TIMINGS: Final = (3, 8)
CONSTANT_TIMINGS: Final = 12
"""The number of timings for a candidate: the smaller the run, the more."""
LAST_TIMINGS: Final = 200
"""The number of timings at the end, for each remaining fault."""
FIRST_SHARE: Final = 0.2
"""The share of the limit that the original run may take."""
FIRST_MIN_S: Final = 2.0
"""But at least this: limits of less than ten seconds may be exceeded."""
AFTERWARDS: Final = 1 / FIRST_SHARE - 1
"""Simulating a run with its messages, judging it in full, writing its folder, story and page takes
about this many times as long as simulating and judging it."""
SHORTEST_US: Final = 1_000


class DoesNotFail(UsageError):
    """The run does not fail in the simulator: there is nothing to shrink."""


class Candidate(NamedTuple):
    config: RunConfig
    schedule: Schedule


class Size(NamedTuple):
    """What is counted. `operations` are those that clients began, the final round included."""

    faults: int
    operations: int
    nodes: int
    clients: int
    chaos_us: int

    def describe(self) -> str:
        return (
            f"{self.faults} faults, {self.operations} operations, {self.clients} clients, "
            f"{self.nodes} nodes, {self.chaos_us / 1e6:g} s"
        )


@dataclass
class ShrinkResult:
    """The smallest failing run that was found. `complete`: nothing smaller is one step away."""

    detector: str
    before: Size
    after: Size
    smallest: Candidate
    tried: int
    seconds: float
    complete: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "detector": self.detector,
            "before": self.before._asdict(),
            "after": self.after._asdict(),
            "tried": self.tried,
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }


def shrink(
    config: RunConfig,
    schedule: Schedule,
    *,
    limit_s: float = 60.0,
    watch: Callable[[str, Size], None] = lambda _, __: None,
    tell: Callable[[int], None] = lambda _: None,
) -> ShrinkResult:
    """Shrink a failing run. `watch` is called with the pass and the size after every successful
    step; `tell` with the number of every run that is tried.

    `limit_s` includes the time that the caller needs to simulate the smallest run once more, with
    its messages, and to write its folder. Raises DoesNotFail when the run does not fail in the
    simulator, and UsageError when it is too large for the limit.
    """
    shrinker = _Shrinker(config, schedule, limit_s, watch, tell)
    return shrinker.run()


@dataclass
class _Shrinker:
    config: RunConfig
    schedule: Schedule
    limit_s: float
    watch: Callable[[str, Size], None]
    tell: Callable[[int], None]
    best: Candidate = field(init=False)
    size: Size = field(init=False)
    detector: str = field(init=False, default="")
    tried: int = field(init=False, default=0)
    deadline: float = field(init=False, default=0.0)
    best_s: float = field(init=False, default=0.0)
    """How long it takes to simulate and judge the best."""

    def run(self) -> ShrinkResult:
        started = time.monotonic()
        self.deadline = started + self.limit_s
        self.best = Candidate(self.config, self.schedule)
        run = self._first(started)
        if not run.symptoms:
            raise DoesNotFail("the run does not fail in the simulator: there is nothing to shrink")
        self.detector = run.symptoms[0].detector
        before = self.size = size_of(run)
        complete = self._all_passes()
        seconds = time.monotonic() - started
        return ShrinkResult(
            self.detector, before, self.size, self.best, self.tried, seconds, complete
        )

    def _all_passes(self) -> bool:
        """All passes, until a round makes no progress. False if the time was up."""
        passes = (
            ("time", self._less_time),
            ("constant", self._constant),
            ("faults", self._fewer_faults),
            ("operations", self._fewer_operations),
            ("scale", self._smaller_scale),
            ("windows", self._shorter_windows),
        )
        while True:
            helped = False
            for name, one_pass in passes:
                for candidate in one_pass():
                    if self._is_up():
                        return False
                    if self._fails(candidate):
                        helped = True
                        self.watch(name, self.size)
            if not helped and not self._one_fault_less():
                return not self._is_up()

    def _first(self, started: float) -> SimulatedRun:
        """Try the original run. Raises UsageError if the limit leaves no time for more."""
        share_s = max(self.limit_s * FIRST_SHARE, FIRST_MIN_S)
        try:
            run = simulate_and_judge(*self.best, until_s=started + share_s)
        except TimeIsUp as late:
            raise UsageError(
                f"the time limit is too short: of the {self.limit_s:.3g} s that were left, "
                f"{share_s:.3g} s went into the first {late.at_us / 1e6:.1f} s of the run alone",
                remedy="give it more: --limit SECONDS",
            ) from None
        self.best_s = time.monotonic() - started
        return run

    def _is_up(self) -> bool:
        return time.monotonic() > self._until_s

    @property
    def _until_s(self) -> float:
        """When to stop: the caller still has to simulate the best run once more, and write its
        folder and story."""
        return self.deadline - AFTERWARDS * self.best_s

    def _one_fault_less(self) -> bool:
        """The passes make no more progress. A run is now cheap, so check for each remaining fault
        whether the rest fails without it in any of many timings."""
        faults = self.best.schedule.faults
        for i in range(len(faults)):
            candidate = _with_faults(self.best, [*faults[:i], *faults[i + 1 :]])
            if self._fails(candidate, LAST_TIMINGS):
                self.watch("timings", self.size)
                return True
        return False

    # ------------------------------------------------------------------ trying

    def _fails(self, candidate: Candidate, timings: int = 0) -> bool:
        """Whether it fails in the same way in some timing. If so it becomes the best.

        Generators propose candidates, and read `best` again after each, so they continue from the
        last success. `timings`: how many to try; 0: depending on the gain.
        """
        if candidate == self.best:
            return False
        for timing in range(timings or self._worth(candidate)):
            if self._is_up():
                return False
            attempt = _with_timing(candidate, timing)
            self.tried += 1
            self.tell(self.tried)
            began = time.monotonic()
            try:
                run = simulate_and_judge(*attempt, until_s=self._until_s)
            except (TimeIsUp, UsageError):  # or a fault has no effect among the nodes left
                return False
            size, symptoms = size_of(run), run.symptoms
            if any(s.detector == self.detector for s in symptoms):
                self.best, self.size = attempt, size
                self.best_s = time.monotonic() - began
                return True
        return False

    def _worth(self, candidate: Candidate) -> int:
        """How many timings to try for this gain."""
        if candidate.config.world != self.best.config.world:
            return CONSTANT_TIMINGS
        asked = self.size.operations
        only = candidate.config.traffic.only
        left = (
            (1 + len(candidate.schedule.faults)) / (1 + len(self.best.schedule.faults)),
            candidate.config.time_us / self.best.config.time_us,
            1.0 if only is None else min(1.0, (1 + len(only)) / (1 + asked)),
        )
        least, most = TIMINGS
        return least + round((most - least) * (1.0 - min(left)))

    # ------------------------------------------------------------------ the passes

    def _fewer_faults(self) -> Iterator[Candidate]:
        def with_faults(faults: Sequence[Fault]) -> Candidate:
            return _with_faults(self.best, faults)

        yield from self._subsets(lambda: self.best.schedule.faults, with_faults)

    def _subsets(
        self, items: Callable[[], Sequence[T]], made_of: Callable[[Sequence[T]], Candidate]
    ) -> Iterator[Candidate]:
        """Remove smaller and smaller pieces: first everything, at the end one by one."""
        piece = len(items())
        while piece:
            start = 0
            while start < len(items()):
                now = items()
                yield made_of([*now[:start], *now[start + piece :]])
                if len(items()) == len(now):  # it was needed
                    start += piece
            piece = 0 if piece == 1 else min((piece + 1) // 2, max(1, len(items())))

    def _less_time(self) -> Iterator[Candidate]:
        if self.best.config.finale:
            yield _with_config(self.best, finale=False)
        for part in (2, 2, 3, 4, 8, 16, 32):
            time_us = self.best.config.time_us
            yield _with_time(self.best, max(SHORTEST_US, time_us - time_us // part))

    def _fewer_operations(self) -> Iterator[Candidate]:
        arrivals = self.best.config.traffic.only
        if arrivals is None:
            arrivals = tuple(range(self._arrivals()))

        def left() -> Sequence[int]:
            only = self.best.config.traffic.only
            return arrivals if only is None else only

        def with_operations(numbers: Sequence[int]) -> Candidate:
            return _with_config(self.best, only=tuple(numbers))

        yield from self._subsets(left, with_operations)

    def _arrivals(self) -> int:
        """How many operations arrive during the chaos."""
        run = simulate(*self.best)
        return run.arrivals

    def _smaller_scale(self) -> Iterator[Candidate]:
        for nodes in range(3, self.best.config.cluster.nodes):
            yield _with_nodes(self.best, nodes)
            if self.best.config.cluster.nodes == nodes:
                break
        for name, least in (("concurrency", 1), ("keys", 1)):
            for value in range(least, self.best.config.option(name)):
                if value < self.best.config.option(name):
                    yield _with_config(self.best, **{name: value})

    def _shorter_windows(self) -> Iterator[Candidate]:
        for i in range(len(self.best.schedule.faults)):
            for part in (2, 4, 8):
                fault = self.best.schedule.faults[i]
                shorter_us = fault.duration_us - fault.duration_us // part
                if shorter_us < fault.duration_us:
                    faults = list(self.best.schedule.faults)
                    faults[i] = dataclasses.replace(fault, duration_us=shorter_us)
                    yield _with_faults(self.best, faults)

    def _constant(self) -> Iterator[Candidate]:
        world = WorldConfig.from_json(self.best.config.world)
        if world != world.constant():
            yield _with_config(self.best, world=world.constant().to_json())
        for name, value in (("heal", "all"), ("transport", "tcp"), ("key_skew", 0.0)):
            if self.best.config.option(name) != value:
                yield _with_config(self.best, **{name: value})
        for setting in list(self.best.config.cluster.settings):
            cluster = {k: v for k, v in self.best.config.cluster.settings.items() if k != setting}
            yield _with_config(self.best, settings=cluster)


# ------------------------------------------------------------------------------- candidates


def _with_config(candidate: Candidate, **changes: Any) -> Candidate:
    return candidate._replace(config=candidate.config.changed(**changes))


def _with_timing(candidate: Candidate, timing: int) -> Candidate:
    if timing == 0:
        return candidate
    seed = int(candidate.config.world.get("seed", 0))
    return _with_config(candidate, world=dict(candidate.config.world) | {"seed": seed + timing})


def _with_faults(candidate: Candidate, faults: Sequence[Fault]) -> Candidate:
    config = candidate.config.changed(faults=tuple(sorted({fault.kind for fault in faults})))
    schedule = dataclasses.replace(candidate.schedule, faults=tuple(faults))
    return Candidate(config, schedule)


def _with_time(candidate: Candidate, time_us: int) -> Candidate:
    """End the chaos phase then; faults that would last longer end with it."""
    faults = [
        dataclasses.replace(fault, duration_us=min(fault.duration_us, time_us - fault.start_us))
        for fault in candidate.schedule.faults
        if fault.start_us < time_us
    ]
    shorter = _with_faults(candidate, faults)
    return Candidate(
        shorter.config.changed(time_us=time_us),
        dataclasses.replace(shorter.schedule, duration_us=time_us),
    )


def _with_nodes(candidate: Candidate, nodes: int) -> Candidate:
    """A smaller cluster, without the learners and without the faults of nodes that are gone."""
    left = range(1, nodes + 1)
    faults = [fault for fault in candidate.schedule.faults if set(_numbers(fault)) <= set(left)]
    smaller = _with_faults(candidate, faults)
    return Candidate(
        smaller.config.changed(nodes=nodes, learners=0),
        dataclasses.replace(smaller.schedule, nodes=tuple(left)),
    )


def _numbers(fault: Fault) -> list[int]:
    return [n for n in fault.nodes if isinstance(n, int)]


def size_of(run: SimulatedRun) -> Size:
    """The size of a run."""
    config = run.config
    operations = sum(event.type == "invoke" and event.f not in _NEMESIS for event in run.events)
    return Size(
        len(run.schedule.faults),
        operations,
        config.cluster.nodes,
        config.traffic.concurrency,
        config.time_us,
    )


_NEMESIS: Final = ("inject", "heal")

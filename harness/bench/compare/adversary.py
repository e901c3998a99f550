"""An adversary that controls message delays, and prevents Basic Paxos from deciding.

It demonstrates the impossibility result of Fischer, Lynch and Paterson ("Impossibility of
Distributed Consensus with One Faulty Process", JACM 1985). Two proposers compete for one slot, with
back-off. The adversary holds requests for votes (Accept) in flight, and releases each as soon as a
Prepare of a higher ballot has reached its receiver: the receiver then refuses the Accept, the
proposer tries a higher ballot, and so on. No message is lost, no node is stopped, and every message
arrives eventually: an Accept waits only for the other proposer's next attempt.

Links do not keep the order of messages (`udp`), so an Accept can be overtaken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from harness.bench.compare.clusters import simulate, write
from harness.bench.compare.columns import Column
from harness.bench.compare.script import Ask, Program, Script, Sleep
from harness.bench.compare.settings import Settings
from harness.runtimes.sim.event_queue import Entry
from harness.runtimes.sim.runtime import SimRuntime

STEPS_PER_DELAY: Final = 4
"""How often per one-way delay it inspects messages in flight, so that none gets past it."""
AFTER_DELAYS: Final = 200
PROPOSERS: Final = (1, 2)


class Game(NamedTuple):
    """`decided`: slots decided while the adversary played, and `after` once it had stopped (at most
    the first is counted), so long later. `held_us_max`: the longest that a message was held."""

    ballots: int
    decided: int
    lasted_us: int
    held_us_max: int
    after: int
    after_us: int


class Adversary:
    """Holds Accepts. `reached[node]`: the highest ballot whose Prepare has reached the node."""

    def __init__(self, runtime: SimRuntime) -> None:
        self._runtime = runtime
        self._held: list[tuple[int, Entry]] = []
        self.reached: dict[int, tuple[int, ...]] = {}
        self.held_us_max = 0
        self._seen = 0

    def look(self, now_us: int) -> None:
        """Take every Accept off the queue; put back those whose receiver will refuse them."""
        self._note_prepares(now_us)
        queue = self._runtime.world.queue
        self._held += [(now_us, entry) for entry in queue.withdraw(_is_accept)]
        staying = []
        for since_us, entry in self._held:
            if self.reached.get(entry[3].id, ()) > tuple(entry[4].ballot):
                self._let_go(since_us, entry, now_us)
            else:
                staying.append((since_us, entry))
        self._held = staying

    def stop(self, now_us: int) -> None:
        """Release all held messages."""
        for since_us, entry in self._held:
            self._let_go(since_us, entry, now_us)
        self._held = []

    def _let_go(self, since_us: int, entry: Entry, now_us: int) -> None:
        self.held_us_max = max(self.held_us_max, now_us - since_us)
        _, _, what, node, message, _ = entry
        self._runtime.world.queue.put(now_us, what, node, message)

    def _note_prepares(self, now_us: int) -> None:
        """Note the ballots of the Prepares that have arrived at each node."""
        record = self._runtime.record
        assert record is not None
        pending = record.messages[self._seen :]
        for number, message in enumerate(pending):
            if message.arrives_us is not None and message.arrives_us > now_us:
                self._seen += number
                return
            if type(message.message).__name__ == "Prepare":
                ballot: Any = message.message[0]
                before = self.reached.get(message.target, ())
                self.reached[message.target] = max(before, tuple(ballot))
        self._seen += len(pending)


def play(settings: Settings, column: Column, *, ballots: int) -> Game:
    """Let the adversary act until this many ballots have been started, then stop it."""
    link_us = settings.delay_us
    clusters: list[SimRuntime] = []
    games: list[Game] = []

    def proposer(number: int) -> Callable[[Script], Program]:
        """Proposes for the slot, repeatedly if necessary."""

        def client(script: Script) -> Program:
            while not script.done:
                yield Ask(number, number, write("contested", number), 10**12)

        return client

    def game(script: Script) -> Program:
        runtime = clusters[0]
        adversary = Adversary(runtime)
        for number in PROPOSERS:
            script.spawn(proposer(number))
        while _ballots(runtime) < ballots:
            yield Sleep(link_us // STEPS_PER_DELAY)
            adversary.look(script.now_us)
        lasted_us, decided = script.now_us, _decided(runtime)
        adversary.stop(script.now_us)
        while _decided(runtime) == decided and script.now_us < lasted_us + AFTER_DELAYS * link_us:
            yield Sleep(link_us // STEPS_PER_DELAY)
        after = min(1, _decided(runtime) - decided)
        after_us = script.now_us - lasted_us
        games.append(Game(ballots, decided, lasted_us, adversary.held_us_max, after, after_us))
        script.stop()

    simulate(
        settings,
        column,
        game,
        link_us=link_us,
        traced=True,
        before=clusters.append,
        transport="udp",
        batch_max=1,
    )
    return games[0]


def _is_accept(entry: Entry) -> bool:
    return entry[2] > 0 and type(entry[4]).__name__ == "Accept"


def _decided(runtime: SimRuntime) -> int:
    """The maximum number of decided slots at any node."""
    return max(len(node.decided) for node in runtime.world.nodes.values())


def _ballots(runtime: SimRuntime) -> int:
    nodes = runtime.world.nodes.values()
    return sum(node.protocol.counters.get("ballots", 0) for node in nodes if node.protocol)

"""Faults of links: partition, loss, delay, reorder, duplicate, corrupt, rate.

They compose (`link_state`): every change sends every agent the complete state of its links,
for one monotonic time a few milliseconds ahead. Then the agents prove it. Cuts: every node
sends to all nodes, by unicast, broadcast and multicast, and the directed matrix of what arrived
must be the one wanted. Everything else: numbered datagrams (`link_measurement`) are timed and
counted (`link_rounds`), and judged (`link_evidence`).
In the agent, `faults/agent/links.py` drops packets, and `faults/agent/shaping.py` delays, reorders,
duplicates, corrupts and slows them (`netem.py`, or `wire.py` where the kernel has no netem).

Changing is quick and proving takes long, so they have locks of their own: a partition does not wait
for the proof of a delay. Changes that come while a proof is made are proven with it, in its next
round, which looks at every link anyway: otherwise faults injected faster than they can be verified
would pile up, each staying active until verified. A round during which the network was changed is
repeated, and the third one keeps the network as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

from faults.description import Fault, Link
from faults.kinds.corrupt import Corrupt
from faults.kinds.delay import Delay
from faults.kinds.duplicate import Duplicate
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.kinds.rate import Rate
from faults.kinds.reorder import Reorder
from faults.link_fault import LinkFault
from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers, all_of
from harness.runtimes.docker.injectors.link_evidence import Seen, not_shown, problems_of, short
from harness.runtimes.docker.injectors.link_measurement import Expected, Measurement, rounds_for
from harness.runtimes.docker.injectors.link_proofs import (
    Measured,
    Unproven,
    after_round,
    covered,
    name_of,
    name_of_class,
)
from harness.runtimes.docker.injectors.link_rounds import LinkRounds
from harness.runtimes.docker.injectors.link_state import (
    CLIENTS,
    UNTOUCHED,
    Addresses,
    LinkState,
    addresses_of,
    effect_of,
    pattern_of,
    rules_for,
    shapes_for,
    states,
)
from harness.runtimes.interface import FaultReport

AHEAD_NS: Final = 6_000_000
"""How far ahead the common time is: longer than it takes to reach every agent."""
LISTEN_MS: Final = 60
"""How long a cut link is listened on before it counts as cut."""
GROUPS: Final = ("broadcast", "multicast", "multicast6")


class Changed(NamedTuple):
    """Per node, when a change had taken effect; and what agents tell of the time before it, such as
    that a wire has ended."""

    moments_ns: dict[int, int]
    problems: list[str]


class Network:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._active: dict[str, Fault] = {}
        self._known: dict[int, Addresses] = {}
        self._groups: dict[str, set[Link]] = {}
        """By kind of group, the links that pass it while nothing is cut."""
        self._routes: dict[Link, tuple[str, ...]] = {}
        """The addresses by which each link is used: those of its receiver from which packets come
        to its sender while nothing is cut."""
        self._outdated = False
        """Whether nodes have other addresses now than when this was learnt."""
        self._shaped = False
        self._changing = asyncio.Lock()
        self._proving = asyncio.Lock()
        self._rounds = LinkRounds(cluster)
        self._unproven: list[Unproven] = []
        self._version = 0
        self._nonce = 0

    def handlers(self) -> Handlers:
        handlers: Handlers = {
            Partition: Handler(self._inject, self._heal, "links"),
            Loss: Handler(self._inject, self._heal, "links"),
        }
        for kind in (Delay, Duplicate, Reorder, Corrupt, Rate):
            handlers[kind] = Handler(self._inject, self._heal, "shaping")
        return handlers

    async def prepare(self, *, shaping: bool) -> None:
        """Learn the agents' addresses, and what their links pass as long as nothing is cut; have
        the agents make ready what takes milliseconds, if links will be shaped."""
        await self._learn()
        if shaping:
            calls = (agent.call("prepare_shaping") for agent in self._cluster.agents.values())
            await asyncio.gather(*calls)

    async def learn_added(self) -> None:
        """Pods have been added. Of those links that are cut now it is not known what they pass."""
        async with self._changing:
            if self._known:
                before = self._groups
                await self._learn()
                for kind, links in before.items():
                    self._groups[kind] |= links

    async def _inject(self, fault: Fault) -> FaultReport:
        if isinstance(fault, LinkFault):
            effect_of(fault)  # raises UnsupportedFault before anything is changed
        async with self._changing:
            before = list(self._active.values())
            self._active[fault.id] = fault
            done = await self._change(before)
        return await self._prove(fault, done)

    async def _heal(self, fault: Fault) -> FaultReport:
        async with self._changing:
            before = list(self._active.values())
            self._active.pop(fault.id, None)
            done = await self._change(before)
        return await self._prove(fault, done)

    # ------------------------------------------------------------------ changing

    def _wanted(self) -> dict[Link, LinkState]:
        return states(self._active.values(), sorted(self._cluster.pods))

    async def _change(self, before: Sequence[Fault]) -> Changed:
        """Tell all agents. Where it fails on one, the error is raised when it has ended on all.
        `before`: the faults that were active until now.

        Nodes that have other addresses than were known are told again with those.
        """
        if not self._known or (self._outdated and not before):
            await self._learn()
        done, now = await self._tell(self._wanted())
        if all(set(now[node].every) == set(self._known[node].every) for node in now):
            return done
        problems = [
            f"n{node} has had other addresses ({', '.join(sorted(added))}): links by them were "
            "not affected until now"
            for node in now
            if before and (added := self._added(node, now[node], before))
        ]
        if before and self._active:
            self._known |= now
            self._outdated = True
        else:
            await self._tell(states((), sorted(self._cluster.pods)))
            await self._learn()
        again, _ = await self._tell(self._wanted())
        return Changed(again.moments_ns, [*done.problems, *problems, *again.problems])

    def _added(self, node: int, now: Addresses, faults: Sequence[Fault]) -> set[str]:
        """Those of these addresses of the node that were not known, and that the faults did not
        cover: a cut covers those of an interface that was, by its hardware address."""
        added = set(now.every) - set(self._known[node].every)
        if not all(isinstance(fault, Partition) for fault in faults):
            return added
        of_others = {a for n, known in self._known.items() if n != node for a in known.every}
        return added if added & of_others or added - set(now.ip) else set()

    async def _tell(self, wanted: Mapping[Link, LinkState]) -> tuple[Changed, dict[int, Addresses]]:
        """What all links are to do from now on; returns also which addresses the nodes have."""
        self._version += 1
        shaping = any(state.shape() for state in wanted.values())
        self._shaped = self._shaped or shaping  # and stays so if this fails: some may have done it
        at_ns = time.monotonic_ns() + AHEAD_NS

        async def tell(node: int) -> list[dict[str, Any]]:
            agent = self._cluster.agents[node]
            calls = [agent.call("links", **rules_for(node, wanted, self._known), at_ns=at_ns)]
            if self._shaped:
                shapes = shapes_for(node, wanted, self._known)
                calls.append(agent.call("shape", **shapes, at_ns=at_ns))
            return await all_of(calls)

        nodes = list(self._cluster.agents)
        answers = dict(zip(nodes, await all_of(map(tell, nodes)), strict=True))
        self._shaped = shaping
        moments = {
            node: self._cluster.since_zero_ns(max(a["done_ns"] for a in said))
            for node, said in answers.items()
        }
        problems = [
            f"n{node}: {problem}"
            for node, said in answers.items()
            for answer in said
            for problem in [*answer.get("problems", []), answer.get("failed")]
            if problem
        ]
        addresses = {
            node: addresses_of({"interfaces": said[0]["addresses"]}, self._known[node].gateway)
            for node, said in answers.items()
        }
        return Changed(moments, problems), addresses

    async def _learn(self) -> None:
        async def ask(node: int) -> tuple[int, Addresses]:
            answer = await self._cluster.agents[node].call("addresses")
            return node, addresses_of(answer, self._cluster.pods[node].gateway)

        self._outdated = False
        self._known = dict(await asyncio.gather(*(ask(node) for node in self._cluster.agents)))
        _, self._groups, sources = await self._arrivals(states((), sorted(self._cluster.pods)))
        self._routes |= {
            (a, b): tuple(x for x in self._known[b].routed if x in sources.get((b, a), ()))
            or self._routes.get((a, b), self._known[b].routed[:1])
            for a in self._known
            for b in self._known
            if a != b
        }

    # ------------------------------------------------------------------ proving

    async def _prove(self, fault: Fault, done: Changed) -> FaultReport:
        """Wait for the proof of a change that has been made."""
        change = Unproven(fault)
        self._unproven.append(change)
        async with self._proving:
            if change.evidence is None:
                await self._prove_until(change)
        assert change.evidence is not None
        moments, problems = done.moments_ns, [*done.problems, *change.problems]
        spread_us = (max(moments.values()) - min(moments.values())) // 1000
        return FaultReport(
            moments,
            verified=not problems,
            evidence=change.evidence | {"spread_us": spread_us},
            problem="; ".join(problems) or None,
        )

    async def _prove_until(self, own: Unproven) -> None:
        """Rounds of proofs until this change has its own, of all changes that wait for one by
        then. What is left is continued by whoever waits for it."""
        changes: list[Unproven] = []
        try:
            while own.evidence is None:
                async with AsyncExitStack() as stack:
                    if any(change.must_be_undisturbed for change in self._unproven):
                        await stack.enter_async_context(self._changing)
                    changes, self._unproven = self._unproven, []
                    version, wanted = self._version, self._wanted()
                    faults = [change.fault for change in changes]
                    evidence, problems = await self._look(wanted, faults)
                changes = after_round(changes, evidence, problems, version != self._version)
                changes, self._unproven = [], [*changes, *self._unproven]
        finally:
            self._unproven = [*changes, *self._unproven]  # after an error each finds out for itself

    async def _look(
        self, wanted: Mapping[Link, LinkState], faults: Sequence[Fault]
    ) -> tuple[dict[str, Any], list[str]]:
        """Evidence about every link between nodes, and what is wrong with it."""
        evidence, problems = await self._probe(wanted)
        between = {link: state for link, state in wanted.items() if CLIENTS not in link}
        is_all_or_nothing = all(state.is_cut or state == UNTOUCHED for state in between.values())
        if is_all_or_nothing and all(isinstance(fault, Partition) for fault in faults):
            return evidence, problems
        measured: Measured = {}
        evidence["measured"] = measured
        problems += await self._look_at(between, faults, "", measured)
        classes = {fault.message for fault in faults if isinstance(fault, LinkFault)}
        for message in sorted(classes - {""}):
            problems += await self._look_at(between, faults, message, measured)
        if any(CLIENTS in link for link in wanted):
            evidence["clients"] = "set in the kernel, not measured: no agent is at their end"
        return evidence, problems

    async def _look_at(
        self,
        all_links: Mapping[Link, LinkState],
        faults: Sequence[Fault],
        message: str,
        measured: Measured,
    ) -> list[str]:
        """Time and count datagrams on the links, such as hold a message of this class (""; of
        none). What was seen goes into `measured`; returns what is wrong with it."""
        between = {
            link: state.of_class(message) if message else state.plain
            for link, state in all_links.items()
            if not message or message in dict(state.classes) or covered(link, faults, message)
        }
        about = [
            fault for fault in faults if isinstance(fault, LinkFault) and fault.message == message
        ]
        expected = {
            link: Expected(state, tuple(effect_of(f) for f in about if f.covers(link)))
            for link, state in between.items()
        }
        problems: list[str] = []
        shown: list[tuple[Link, Seen]] = []
        for links, how in rounds_for(expected):
            if message and how.burst_kbps:
                continue  # a rate is of all messages
            pattern = pattern_of(message) if message else ""
            for routes in self._routes_of(links, how):
                found = await self._rounds.measure(self._known, routes, how, pattern)
                for link, by in routes.items():
                    seen = Seen(between[link], found.get(link, {}), how)
                    shown.append((link, seen))
                    name = name_of_class(link, message)
                    name += f" ({by[0]})" if by != self._routes[link] else ""
                    problems += [f"{name}: {it}" for it in problems_of(*seen)]
                    if not expected[link].is_untouched:
                        measured[link, message] = short(seen) | measured.get((link, message), {})
        for fault in about:
            if fault.id in self._active:
                own = [seen for link, seen in shown if fault.covers(link)]
                problems += [f"{fault.id}: {it}" for it in not_shown(effect_of(fault), own)]
        return problems

    def _routes_of(
        self, links: Sequence[Link], how: Measurement
    ) -> Iterator[dict[Link, tuple[str, ...]]]:
        """By round, the addresses that are measured of each link: one after the other, since an
        effect that one of them lacks would be lost among the others; a rate of all at once, since
        they share it."""
        most = 1 if how.burst_kbps else max(len(self._routes[link]) for link in links)
        for i in range(most):
            listed = {
                link: self._routes[link][i : None if how.burst_kbps else i + 1] for link in links
            }
            yield {link: by for link, by in listed.items() if by}

    async def _probe(self, wanted: Mapping[Link, LinkState]) -> tuple[dict[str, Any], list[str]]:
        """Who is reached: links that are cut must be silent, untouched ones open."""
        cut = {link for link, state in wanted.items() if state.is_cut}
        arrived, to_groups, sources = await self._arrivals(wanted)
        open_links = {link for link, state in wanted.items() if state == UNTOUCHED}
        wrong = [f"{name_of(link)} is open and should not be" for link in sorted(arrived & cut)]
        wrong += [f"{name_of(link)} is silent" for link in sorted(open_links - arrived)]
        for a, b in sorted(open_links & sources.keys()):
            silent = sorted(set(self._routes.get((b, a), ())) - sources[a, b])
            wrong += [f"{name_of((a, b))} is silent from {address}" for address in silent]
        for kind, links in to_groups.items():
            missing = (self._groups[kind] & open_links) - links
            wrong += [f"{kind} passes from {name_of(link)}" for link in sorted(links & cut)]
            wrong += [f"{kind} does not pass from {name_of(link)}" for link in sorted(missing)]
        return {
            "probes_arrived": len(arrived),
            "probes_lost": len(cut - arrived),
            "links": self._matrix(arrived),
            "groups_arrived": {kind: len(links) for kind, links in to_groups.items()},
            "passes": ["arp", "ipv6 neighbour discovery"] if cut else [],
        }, wrong

    async def _arrivals(
        self, wanted: Mapping[Link, LinkState]
    ) -> tuple[set[Link], dict[str, set[Link]], dict[Link, set[str]]]:
        """The directed links on which datagrams arrived: to a node alone, and by kind of group;
        and by link, the addresses from which they came."""
        self._nonce += 1
        nonce = f"p{self._nonce}"

        async def ask(node: int) -> tuple[int, Mapping[str, Any]]:
            others = [n for n in self._cluster.pods if n != node]
            expect = [n for n in others if wanted[n, node] == UNTOUCHED]
            answer = await self._cluster.agents[node].call(
                "probe_links",
                peers={str(n): list(self._known[n].every) for n in others},
                expect=expect,
                nonce=nonce,
                listen_ms=LISTEN_MS,
                groups=True,
            )
            return node, answer

        answers = await asyncio.gather(*(ask(node) for node in self._cluster.agents))
        arrived = {(int(source), node) for node, said in answers for source in said["arrived"]}
        to_groups = {
            kind: {(int(source), node) for node, said in answers for source in said["groups"][kind]}
            for kind in GROUPS
        }
        sources = {
            (int(source), node): set(addresses)
            for node, said in answers
            for source, addresses in said["sources"].items()
        }
        return arrived, to_groups, sources

    def _matrix(self, arrived: set[Link]) -> dict[str, str]:
        """Per node the nodes that its probes reached, such as {"n1": "n2 n3"}."""
        return {
            f"n{a}": " ".join(f"n{b}" for b in sorted(self._cluster.pods) if (a, b) in arrived)
            for a in sorted(self._cluster.pods)
        }

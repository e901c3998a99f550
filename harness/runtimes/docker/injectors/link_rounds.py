"""A round of measurement: the agents send datagrams to one another, and tell what came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from faults.description import Link
from harness.runtimes.docker.injectors.cluster import Cluster
from harness.runtimes.docker.injectors.link_measurement import Measurement
from harness.runtimes.docker.injectors.link_state import Addresses


class LinkRounds:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nonce = 0

    async def measure(
        self,
        known: Mapping[int, Addresses],
        routes: Mapping[Link, Sequence[str]],
        how: Measurement,
        text: str,
    ) -> dict[Link, Any]:
        """What these links did to datagrams with this text, sent over them at the same time, to
        these addresses in turn. `known`: the addresses of the nodes.

        What has come is asked for when all have sent: on a busy machine agents begin one after the
        other. How much a link carries meanwhile is counted while that is sent.
        """
        agents = self._cluster.agents
        self._nonce += 1
        round_of: dict[str, Any] = {"nonce": f"m{self._nonce}", "size": how.size}
        sent = {
            "count": how.count,
            "gap_us": how.gap_us,
            "together": min(how.together, how.count),
            "traffic": how.traffic,
            "text": text,
            "listen_ms": how.listen_ms if how.traffic else 0,
        }
        to: dict[int, dict[str, list[str]]] = {a: {} for a in agents}
        of: dict[int, dict[str, list[str]]] = {a: {} for a in agents}
        for (a, b), addresses in routes.items():
            to[a][str(b)] = list(addresses)
            of[b][str(a)] = list(known[a].routed)  # whichever is used with that one

        async def ask(node: int, what: str, **more: Any) -> list[tuple[Link, Any]]:
            answer = await agents[node].call(what, **round_of, **more)
            return [((int(source), node), said) for source, said in answer["links"].items()]

        nodes = [n for n in agents if to[n] or of[n]]
        if how.frames:
            nonce = round_of["nonce"]
            await asyncio.gather(
                *(agents[n].call("capture_links", nonce=nonce, sources=of[n]) for n in nodes)
            )
        answers = await asyncio.gather(
            *(
                ask(n, "measure_links", peers=to[n], sources=of[n] if how.traffic else {}, **sent)
                for n in nodes
            )
        )
        if not how.traffic:
            listen_ms = how.listen_ms
            answers = await asyncio.gather(
                *(ask(n, "collect_links", sources=of[n], listen_ms=listen_ms) for n in nodes)
            )
        return {link: said for answer in answers for link, said in answer}

"""Requests about the node's network: cuts go to `links`, delay, reorder and the like to `shaping`,
measurements to `measure`."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any, Final

from faults.agent.errors import AgentError, BadRequest
from faults.agent.groups import addresses_of
from faults.agent.link_shape import TEXT_MAX, wanted_leads, wanted_shapes
from faults.agent.links import Clsacts, Links, Watcher, wanted_rules
from faults.agent.measure import (
    COUNT_MAX,
    GAP_US_MAX,
    SENDING_S_MAX,
    SIZE_LEAST,
    SIZE_MAX,
    Measurer,
)
from faults.agent.netlink import Netlink, NetlinkError, delete_default_route
from faults.agent.probe import LISTEN_MS_MAX, Prober, wanted_peers
from faults.agent.request import Answer, Request, nonce_of, number
from faults.agent.shaping import Shaper
from faults.agent.synchronized_start import Wait

ROUTES_MAX: Final = 16
NO_SUCH_ROUTE: Final = (errno.ENOENT, errno.ESRCH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)


class Network:
    """The filters, the shaping, and the probes that verify them.

    `listen` starts threads, so call it after everything that forks.
    """

    def __init__(self) -> None:
        clsacts = Clsacts()
        self.cuts = Links(clsacts)
        self.shaper = Shaper(clsacts)
        self._prober: Prober | None = None
        self._measurer: Measurer | None = None
        self._problem = BadRequest(
            "the agent does not listen for probes yet", "wait for its first line"
        )
        self._watcher: Watcher | None = None

    def listen(self, port: int) -> dict[str, Any]:
        """Listens for probes from now on, and watches for new interfaces. Returns the
        capability."""
        self._watcher = Watcher(self.cuts.refresh, self.shaper.refresh)
        try:
            self._prober, self._measurer = Prober(port), Measurer(port)
        except AgentError as error:
            self._problem = BadRequest(str(error), error.remedy)
            return {"ok": False, "error": str(error), "remedy": error.remedy}
        return {"ok": True, "how": f"udp ports {port} and {self._measurer.port}"}

    def links(self, request: Request, wait: Wait) -> Answer:
        """drop_to, drop_from: addresses; loss, loss_from, loss_in: {address: probability};
        cut_neighbours. See `links.wanted_rules`. The whole set of rules; empty heals. `problems`:
        with interfaces that were added since the last answer, or whose filters were removed;
        `addresses`: as `addresses` tells them, now."""
        answer = self.cuts.set(wanted_rules(request), wait)
        problems = self._watcher.take_problems() if self._watcher else []
        told = {"problems": [*problems, *self.cuts.take_problems()]}
        return {**answer, **told, "addresses": self.addresses()["interfaces"]}

    def shape(self, request: Request, wait: Wait) -> Answer:
        """shapes: {address: {delay_us, ...}}; same_link: lists of addresses of one host, which
        share the rate and the queue. The whole set; empty heals."""
        shapes = wanted_shapes(request.get("shapes", {}))
        return self.shaper.set(shapes, wait, wanted_leads(request.get("same_link", []), shapes))

    def prepare_shaping(self) -> Answer:
        """Makes the devices and threads in advance, so that the first shape need not wait for
        them."""
        self.shaper.prepare()
        return {"done_ns": time.monotonic_ns()}

    def close_network(self) -> Answer:
        """Takes the routes out of the pod's own networks away; `removed`: how many there were."""
        netlink, removed = Netlink(), 0
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                while removed < ROUTES_MAX:
                    try:
                        netlink.ask(delete_default_route(family))
                    except NetlinkError as error:
                        if error.errno in NO_SUCH_ROUTE:
                            break
                        raise
                    removed += 1
        finally:
            netlink.close()
        return {"done_ns": time.monotonic_ns(), "removed": removed}

    def addresses(self) -> Answer:
        """By interface: its hardware address and its IP addresses."""
        netlink = Netlink()
        try:
            return {"done_ns": time.monotonic_ns(), "interfaces": addresses_of(netlink)}
        finally:
            netlink.close()

    def probe_links(self, request: Request) -> Answer:
        """peers: {name: address or addresses}; nonce; listen_ms; expect: names of those that
        should be open; groups: whether to try broadcast and multicast, too."""
        if self._prober is None:
            raise self._problem
        expect = request.get("expect")
        return self._prober.probe(
            wanted_peers(request.get("peers")),
            nonce_of(request),
            number(request, "listen_ms", 0, LISTEN_MS_MAX, 100),
            None if expect is None else [str(name) for name in expect],
            to_groups=bool(request.get("groups", False)),
        )

    def measure_links(self, request: Request) -> Answer:
        """peers to send to; sources to listen to, if others; nonce; count: datagrams to each;
        gap_us between them; together: so many are sent at once; size in bytes; listen_ms: how long
        to listen after the last;
        traffic: whether to count also all other traffic of the links; text: contained in each
        datagram, for classes of packets."""
        if self._measurer is None:
            raise self._problem
        count = int(number(request, "count", 1, COUNT_MAX, 50))
        gap_us = int(number(request, "gap_us", 0, GAP_US_MAX, 1000))
        if count * gap_us > SENDING_S_MAX * 1e6:
            raise BadRequest(f"{count} datagrams every {gap_us} us", "send for a minute at most")
        peers = wanted_peers(request.get("peers"))
        return self._measurer.measure(
            peers,
            nonce_of(request),
            sources=wanted_peers(request.get("sources", peers)),
            count=count,
            gap_us=gap_us,
            size=int(number(request, "size", SIZE_LEAST, SIZE_MAX, SIZE_LEAST)),
            listen_ms=number(request, "listen_ms", 0, LISTEN_MS_MAX, 100),
            together=int(number(request, "together", 1, count, 1)),
            traffic=bool(request.get("traffic", False)),
            text=str(request.get("text", ""))[:TEXT_MAX],
        )

    def capture_links(self, request: Request) -> Answer:
        """sources, nonce: before such a round of `measure_links`. Its result then has also
        `damaged`: how many came to no socket. `captures` is false where that is not possible."""
        if self._measurer is None:
            raise self._problem
        sources = wanted_peers(request.get("sources"))
        captures = self._measurer.capture(sources, nonce_of(request))
        return {"done_ns": time.monotonic_ns(), "captures": captures}

    def collect_links(self, request: Request) -> Answer:
        """sources, nonce, size, listen_ms: what has come of a round of `measure_links` that was
        sent with no sources, once all have sent."""
        if self._measurer is None:
            raise self._problem
        return self._measurer.collect(
            wanted_peers(request.get("sources")),
            nonce_of(request),
            size=int(number(request, "size", SIZE_LEAST, SIZE_MAX, SIZE_LEAST)),
            listen_ms=number(request, "listen_ms", 0, LISTEN_MS_MAX, 100),
        )

    def heal(self) -> None:
        """All packets pass as they would without an agent. Raises the first error, after trying
        everything."""
        try:
            self.shaper.heal()
        finally:
            self.cuts.heal()

    def state(self) -> dict[str, Any]:
        problems = self._watcher.problems if self._watcher is not None else []
        return {**self.cuts.state(), "shapes": self.shaper.state(), "network_problems": problems}

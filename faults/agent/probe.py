"""Which links are open, determined by sending datagrams over them.

Every agent always listens on one UDP port, and keeps what arrived for a while: a round's number
(nonce) and the source. To probe, the controller gives all agents the same nonce at once; each sends
a few datagrams to every peer, and reports from which peers those of this round arrived. Together
the answers are the directed matrix of open links. Datagrams are not answered, so a half-open link
is recognised. On request, each also sends to all by broadcast and multicast, and reports from which
peers these arrived: a partition cuts them as well.

One datagram proves that a link is open, so when all are open the answer comes at once. That a link
is closed can only be concluded by waiting: for all of `listen_ms`, as soon as one peer is not
expected.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from faults.agent import groups
from faults.agent.errors import BadRequest, Failed

PORT: Final = 7799
MARK: Final = b"antipaxos-probe "
GROUP_MARK: Final = b"antipaxos-group "
SEND_AT_MS: Final = (0, 5, 15, 30)
"""Several: the first datagram may wait for ARP, and a lossy link is not a closed one."""
ROUNDS_KEPT: Final = 256
SOURCES_MAX: Final = 1024
PATIENCE: Final = 10
"""So many times as long as it listens a probe waits for links that should be open."""
LISTEN_MS_MAX: Final = 10_000
Peers = Mapping[str, Sequence[str]]
"""Addresses by name: all addresses that the peer may send from."""


def plain(address: str) -> str:
    """An address in its usual form: IPv4-mapped IPv6 addresses without the prefix."""
    return address.removeprefix("::ffff:").partition("%")[0]


def wanted_peers(peers: object) -> dict[str, list[str]]:
    """`{"name": "address"}` or `{"name": ["address", ...]}`. Raises BadRequest."""
    if not isinstance(peers, Mapping):
        raise BadRequest(f"peers is {peers!r}", 'give {"name": "address"}')
    wanted = {}
    for name, addresses in peers.items():
        listed = [addresses] if isinstance(addresses, str) else addresses
        if not isinstance(listed, list) or not all(isinstance(a, str) for a in listed):
            raise BadRequest(f"the addresses of {name} are {addresses!r}", "give one, or a list")
        wanted[str(name)] = listed
    return wanted


class Prober:
    """Listens from the start; `probe` is one round."""

    def __init__(self, port: int = PORT) -> None:
        self.port = port
        self._changed = threading.Condition()
        self._rounds: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._socket, self._v6 = open_port(port)
        groups.join(self._socket, self._v6)
        self._thread = threading.Thread(target=self._listen, name="prober", daemon=True)
        self._thread.start()

    def probe(
        self,
        peers: Peers,
        nonce: str,
        listen_ms: float,
        expect: Collection[str] | None = None,
        *,
        to_groups: bool = False,
    ) -> dict[str, Any]:
        """One round; `peers` are addresses by name, `expect` the names whose links should be open.

        `arrived` lists the peers from which a datagram came, `counts` how many, `sources` from
        which addresses; `groups` lists by kind of group the peers from which a datagram to it came.
        """
        expected = set(peers) if expect is None else set(expect)
        started = time.monotonic()
        args = (peers, nonce, listen_ms, to_groups)
        threading.Thread(target=self._send, args=args, daemon=True).start()
        deadline = started + listen_ms / 1000
        patient = not expected >= set(peers)  # only waiting proves that a link is closed
        with self._changed:
            while (left := deadline - time.monotonic()) > 0:
                if not patient and self._complete(peers, nonce, expected, to_groups):
                    break
                self._changed.wait(left)
            # On a busy machine the others may begin later: an open link is waited for longer.
            deadline = started + PATIENCE * listen_ms / 1000
            while (left := deadline - time.monotonic()) > 0:
                if self._routed_arrived(peers, nonce, expected):
                    break
                self._changed.wait(left)
            answer = self._answer(peers, nonce, to_groups)
        return {
            "done_ns": time.monotonic_ns(),
            **answer,
            "waited_ms": round((time.monotonic() - started) * 1000, 3),
        }

    def close(self) -> None:
        """Stops listening."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _arrived(self, peers: Peers, nonce: str) -> dict[str, dict[str, int]]:
        """By name: how many came, by source address."""
        came = self._rounds.get(nonce, {})
        found = {name: {a: came[a] for a in listed if a in came} for name, listed in peers.items()}
        return {name: sources for name, sources in found.items() if sources}

    def _complete(self, peers: Peers, nonce: str, expected: set[str], to_groups: bool) -> bool:
        if not self._routed_arrived(peers, nonce, expected):
            return False
        rounds = [f"{kind} {nonce}" for kind in groups.KINDS] if to_groups else []
        return all(expected <= self._arrived(peers, one).keys() for one in rounds)

    def _routed_arrived(self, peers: Peers, nonce: str, expected: set[str]) -> bool:
        """Whether datagrams came from every address of those expected that others send to."""
        arrived = self._arrived(peers, nonce)
        return all(
            address in arrived.get(name, {})
            for name in expected & peers.keys()
            for address in peers[name]
            if not _is_local(address)
        )

    def _answer(self, peers: Peers, nonce: str, to_groups: bool) -> dict[str, Any]:
        arrived = self._arrived(peers, nonce)
        answer: dict[str, Any] = {
            "arrived": list(arrived),
            "counts": {name: sum(sources.values()) for name, sources in arrived.items()},
            "sources": {name: list(sources) for name, sources in arrived.items()},
        }
        if to_groups:
            answer["groups"] = {
                kind: list(self._arrived(peers, f"{kind} {nonce}")) for kind in groups.KINDS
            }
        return answer

    def _send(self, peers: Peers, nonce: str, listen_ms: float, to_groups: bool) -> None:
        """Refusals are ignored: what counts is what arrives."""
        started = time.monotonic()
        if to_groups:
            groups.join(self._socket, self._v6)  # an interface may have been added
        everybody = groups.GroupSender(self.port) if to_groups else None
        times = deque(at for at in SEND_AT_MS if at <= listen_ms)
        while times:
            time.sleep(max(0.0, started + times.popleft() / 1000 - time.monotonic()))
            for address in (a for listed in peers.values() for a in listed if not _is_local(a)):
                target = address if ":" in address or not self._v6 else f"::ffff:{address}"
                with suppress(OSError):
                    self._socket.sendto(MARK + nonce.encode(), (target, self.port))
            if everybody is not None:
                everybody.send(GROUP_MARK, nonce.encode())
        if everybody is not None:
            everybody.close()

    def _listen(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(256)
            except ConnectionError:
                continue  # an ICMP refusal of what was sent before
            except OSError:
                return  # closed
            for mark in (MARK, GROUP_MARK):
                if data.startswith(mark):
                    self._note(data[len(mark) :].decode(errors="replace"), plain(source[0]))

    def _note(self, nonce: str, address: str) -> None:
        with self._changed:
            sources = self._rounds.setdefault(nonce, {})
            if len(sources) < SOURCES_MAX or address in sources:
                sources[address] = sources.get(address, 0) + 1
            while len(self._rounds) > ROUNDS_KEPT:
                self._rounds.popitem(last=False)
            self._changed.notify_all()


def _is_local(address: str) -> bool:
    """A link-local IPv6 address: used as a source only, since it cannot be reached without an
    interface."""
    return address.lower().startswith("fe80:")


def open_port(port: int) -> tuple[socket.socket, bool]:
    """A socket for IPv4 and IPv6, or for IPv4 alone; whether it is for both."""
    with suppress(OSError):
        both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            both.bind(("::", port))
        except OSError:
            both.close()
            raise
        return both, True
    single = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        single.bind(("0.0.0.0", port))
    except OSError as error:
        single.close()
        raise Failed(
            f"cannot listen for probes on UDP port {port}: {error.strerror}",
            "give the agent another port with --probe-port",
        ) from None
    return single, False

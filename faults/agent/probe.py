"""Which links are open, found out by trying them.

Every agent always listens on one UDP port, and keeps for a while what came: a round's number
(nonce) and from where. To probe, the controller gives all agents the same nonce at once; each sends
a few datagrams to every peer, and says from which peers those of this round arrived. Together the
answers are the directed matrix of what is open. Datagrams go one way and are not answered, so a
half-open link is seen as such.

An open link needs one datagram, so when all are open the answer comes at once. That a link is
closed can only be told by waiting: `listen_ms` in full, as soon as one peer is not expected.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from faults.agent.errors import Failed

PORT: Final = 7799
MARK: Final = b"antipaxos-probe "
SEND_AT_MS: Final = (0, 5, 15, 30)
"""Several times: a first datagram may wait for ARP, and a lossy link is not a closed one."""
ROUNDS_KEPT: Final = 64
SOURCES_MAX: Final = 1024
LISTEN_MS_MAX: Final = 10_000


def plain(address: str) -> str:
    """An address as one writes it: IPv4 seen through an IPv6 socket without its prefix."""
    return address.removeprefix("::ffff:").partition("%")[0]


class Prober:
    """Listens from the start; `probe` is one round."""

    def __init__(self, port: int = PORT) -> None:
        self.port = port
        self._changed = threading.Condition()
        self._rounds: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._socket, self._v6 = _open(port)
        self._thread = threading.Thread(target=self._listen, name="prober", daemon=True)
        self._thread.start()

    def probe(
        self,
        peers: Mapping[str, str],
        nonce: str,
        listen_ms: float,
        expect: Collection[str] | None = None,
    ) -> dict[str, Any]:
        """One round; `peers` are addresses by name, `expect` the names whose links should be open.

        `arrived` lists the peers of whom a datagram came, `counts` how many.
        """
        expected = set(peers) if expect is None else set(expect)
        started = time.monotonic()
        sender = threading.Thread(target=self._send, args=(list(peers.values()), nonce, listen_ms))
        sender.start()
        deadline = started + listen_ms / 1000
        patient = not expected >= set(peers)  # a closed link is proved by waiting only
        with self._changed:
            while (left := deadline - time.monotonic()) > 0:
                if not patient and expected <= self._arrived(peers, nonce).keys():
                    break
                self._changed.wait(left)
            counts = self._arrived(peers, nonce)
        return {
            "done_ns": time.monotonic_ns(),
            "arrived": [name for name in peers if name in counts],
            "counts": counts,
            "waited_ms": round((time.monotonic() - started) * 1000, 3),
        }

    def close(self) -> None:
        """Stops listening."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _arrived(self, peers: Mapping[str, str], nonce: str) -> dict[str, int]:
        sources = self._rounds.get(nonce, {})
        return {name: sources[a] for name, a in peers.items() if a in sources}

    def _send(self, addresses: list[str], nonce: str, listen_ms: float) -> None:
        """Refusals are no news: what counts is what arrives."""
        started = time.monotonic()
        times = deque(at for at in SEND_AT_MS if at <= listen_ms)
        while times:
            time.sleep(max(0.0, started + times.popleft() / 1000 - time.monotonic()))
            for address in addresses:
                target = address if ":" in address or not self._v6 else f"::ffff:{address}"
                with suppress(OSError):
                    self._socket.sendto(MARK + nonce.encode(), (target, self.port))

    def _listen(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(256)
            except ConnectionError:
                continue  # an ICMP refusal of what was sent before
            except OSError:
                return  # closed
            if data.startswith(MARK):
                self._note(data[len(MARK) :].decode(errors="replace"), plain(source[0]))

    def _note(self, nonce: str, address: str) -> None:
        with self._changed:
            sources = self._rounds.setdefault(nonce, {})
            if len(sources) < SOURCES_MAX or address in sources:
                sources[address] = sources.get(address, 0) + 1
            while len(self._rounds) > ROUNDS_KEPT:
                self._rounds.popitem(last=False)
            self._changed.notify_all()


def _open(port: int) -> tuple[socket.socket, bool]:
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

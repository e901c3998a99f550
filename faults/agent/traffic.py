"""How many bytes arrive from each peer: all of its traffic, counted at the interface.

On a link whose rate is limited, and which the cluster itself fills, single datagrams show little:
they wait, or find the queue full. The rate is measured by the link's total traffic.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from typing import Final

SOURCES: Final = {0x0800: (12, 16), 0x86DD: (8, 24)}
"""By protocol (ETH_P_IP, ETH_P_IPV6), where in its header the source address is."""
SNAP: Final = 24
ETHERNET: Final = 14
OUTGOING: Final = 4  # PACKET_OUTGOING
POLL_MS: Final = 20
BATCH: Final = 256


class TrafficCounter:
    """`with TrafficCounter() as counter`: counts inside the block, on every interface."""

    def __init__(self) -> None:
        self.bytes_from: dict[str, int] = {}
        """Bytes by source address, with Ethernet headers."""
        self.window_us = 0
        self._over = threading.Event()
        self._sockets: dict[int, tuple[socket.socket, slice]] = {}
        """By descriptor: the socket, and where the source address is."""
        self._thread = threading.Thread(target=self._count, name="traffic", daemon=True)

    def __enter__(self) -> TrafficCounter:
        """Counts nothing where the container lacks NET_RAW."""
        with suppress(PermissionError):
            for protocol, (begin, end) in SOURCES.items():
                made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(protocol))
                self._sockets[made.fileno()] = made, slice(begin, end)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
                made.setblocking(False)
        self._started_ns = time.monotonic_ns()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.window_us = (time.monotonic_ns() - self._started_ns) // 1000
        for made, _where in self._sockets.values():
            made.close()

    def _count(self) -> None:
        """Reads headers only: with MSG_TRUNC the kernel returns the packet's length."""
        if not self._sockets:
            return
        poller = select.poll()  # select() takes no descriptor from 1024 on
        for file in self._sockets:
            poller.register(file, select.POLLIN)
        while not self._over.is_set():
            for file, _ in poller.poll(POLL_MS):
                with suppress(BlockingIOError):
                    self._read(*self._sockets[file])

    def _read(self, packets: socket.socket, where: slice) -> None:
        """Until none is left, which raises BlockingIOError; some of them, if they keep coming."""
        header = bytearray(SNAP)
        for _ in range(BATCH):
            size, address = packets.recvfrom_into(header, SNAP, socket.MSG_TRUNC)
            if address[2] == OUTGOING:
                continue
            source = header[where]
            family = socket.AF_INET if len(source) == 4 else socket.AF_INET6
            name = socket.inet_ntop(family, source)
            self.bytes_from[name] = self.bytes_from.get(name, 0) + size + ETHERNET

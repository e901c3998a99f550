"""How many bytes arrive from each peer: all of its traffic, counted at the interface.

On a link whose rate is limited, and which the cluster itself fills, single datagrams show little:
they wait, or find the queue full. The rate is measured by the link's total traffic.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Final

ETH_P_IP: Final = 0x0800
SNAP: Final = 20  # an IPv4 header
ETHERNET: Final = 14
OUTGOING: Final = 4  # PACKET_OUTGOING
POLL_MS: Final = 20


class TrafficCounter:
    """`with TrafficCounter() as counter`: counts inside the block, on every interface."""

    def __init__(self) -> None:
        self.bytes_from: dict[str, int] = {}
        """Bytes by source address, with Ethernet headers."""
        self.window_us = 0
        self._over = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._count, name="traffic", daemon=True)

    def __enter__(self) -> TrafficCounter:
        """Counts nothing where the container lacks NET_RAW."""
        with suppress(PermissionError):
            protocol = socket.htons(ETH_P_IP)
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._socket.setblocking(False)
        self._started_ns = time.monotonic_ns()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.window_us = (time.monotonic_ns() - self._started_ns) // 1000
        if self._socket is not None:
            self._socket.close()

    def _count(self) -> None:
        """Reads headers only: with MSG_TRUNC the kernel returns the packet's length."""
        if self._socket is None:
            return
        header = bytearray(SNAP)
        poller = select.poll()  # select() takes no descriptor from 1024 on
        poller.register(self._socket, select.POLLIN)
        while not self._over.is_set():
            if not poller.poll(POLL_MS):
                continue
            with suppress(BlockingIOError):
                while True:
                    size, address = self._socket.recvfrom_into(header, SNAP, socket.MSG_TRUNC)
                    if address[2] == OUTGOING:
                        continue
                    (source,) = struct.unpack_from("4s", header, 12)
                    name = socket.inet_ntoa(source)
                    self.bytes_from[name] = self.bytes_from.get(name, 0) + size + ETHERNET

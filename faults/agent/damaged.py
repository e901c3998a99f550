"""Which datagrams of a measurement came to the pod, also those that were damaged on the way.

No socket receives a datagram with a wrong checksum, so it looks like one that was lost. A packet
socket captures it. One bit of it is wrong, which may be in a field by which it is recognized, so
one bit of these may differ. A datagram has its number twice: where the two differ, one of them is
right.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Final

ETH_P_ALL: Final = 0x0003
OUTGOING: Final = 4  # PACKET_OUTGOING
SO_RCVBUFFORCE: Final = 33
BUFFER: Final = 8 << 20
POLL_MS: Final = 20
PREFIX: Final = 160
"""Bytes of a frame that are read: all headers, and the datagram's own."""
IPV6: Final = b"\x86\xdd"
_NUMBERS: Final = struct.Struct("=I8xI")
"""Of a datagram, behind its mark and its round."""


class Recognizer:
    """`numbers`: by source address, the numbers of the frames of a round."""

    def __init__(self, port: int, mark: bytes, key: bytes, sources: Collection[str]) -> None:
        self.numbers: dict[str, set[int]] = {}
        self._expected = port.to_bytes(2, "big") + mark + key
        self._sources = {
            socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a): a for a in sources
        }
        self._senders: dict[bytes, str] = {}
        """The source by hardware address."""

    def note(self, frame: bytes) -> None:
        """Takes the number of a frame that is a datagram of this round."""
        source_at, source_size, ports_at = (22, 16, 54) if frame[12:14] == IPV6 else (26, 4, 34)
        source = self._sources.get(frame[source_at : source_at + source_size])
        data_at = ports_at + 8
        numbers_at = data_at + len(self._expected) - 2
        if len(frame) < numbers_at + _NUMBERS.size:
            return
        wrong_bits = int(source is None)
        found = frame[ports_at + 2 : ports_at + 4] + frame[data_at:numbers_at]
        if found != self._expected:
            wrong_bits += (int.from_bytes(found) ^ int.from_bytes(self._expected)).bit_count()
        if wrong_bits > 1:
            return
        sender = frame[6:12]
        if source is None:
            source = self._senders.get(sender)
        elif not wrong_bits:
            self._senders[sender] = source
        if source is not None:
            numbers = _NUMBERS.unpack_from(frame, numbers_at)
            self.numbers.setdefault(source, set()).update(numbers)


class ArrivedFrames:
    """Captures from when it is made until `close`. Raises PermissionError without NET_RAW."""

    def __init__(self, port: int, mark: bytes, key: bytes, sources: Collection[str]) -> None:
        self.key = key
        self._recognizer = Recognizer(port, mark, key, sources)
        self._over = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._capture, name="frames", daemon=True)
        self._thread.start()

    def close(self) -> dict[str, set[int]]:
        """Reads what has come until now, and ends. By source address, the numbers that came."""
        self._over.set()
        self._thread.join()
        self._socket.close()
        return self._recognizer.numbers

    def _capture(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        over = False
        while not over:
            over = self._over.is_set()  # and then once more
            poller.poll(0 if over else POLL_MS)
            with suppress(BlockingIOError):
                while True:
                    frame, address = self._socket.recvfrom(PREFIX)
                    if address[2] != OUTGOING and address[0] != "lo":
                        self._recognizer.note(frame)

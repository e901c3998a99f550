"""The stream of an attached container as an ordinary socket, however the engine is reached.

asyncio takes no socket that is wrapped in TLS already, nor a channel of SSH. Such a stream is
copied, by a thread, to and from one end of a pair of sockets; the other end is ours. One thread
does both directions, because a TLS connection must not be read and written at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Any, Final

PIECE: Final = 1 << 16
LATER: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, TimeoutError)
"""Nothing to read, or no space to write into, at the moment."""
RETRY_S: Final = 0.005


def plain_socket(attached: Any) -> socket.socket:
    """Of what docker-py's `attach_socket` returns, which must be kept while the stream is used."""
    inner = attached if isinstance(attached, socket.socket) else getattr(attached, "_sock", None)
    if type(inner) is socket.socket:
        return inner
    ours, theirs = socket.socketpair()
    stream = inner if inner is not None else attached
    threading.Thread(target=_copy, args=(stream, theirs), name="attached", daemon=True).start()
    return ours


def close_attached(attached: Any) -> None:
    """Close what docker-py's `attach_socket` returned, beginning with the HTTP response to which it
    belongs: one whose file is closed already cannot be closed when it is freed, and Python from
    3.13 on prints a traceback for that."""
    for part in (getattr(attached, "_response", None), attached):
        if part is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                part.close()


def _copy(stream: Any, theirs: socket.socket) -> None:
    """Until either side ends; then both are closed."""
    stream.setblocking(False)
    with contextlib.suppress(OSError, ValueError, EOFError), theirs:
        while True:
            if not _has_more(stream):
                select.select([stream, theirs], [], [])
            if not _incoming(stream, theirs):
                break
            if select.select([theirs], [], [], 0)[0]:
                data = theirs.recv(PIECE)
                if not data:
                    break
                _send(stream, data)
    with contextlib.suppress(OSError, ValueError, EOFError):
        stream.close()


def _incoming(stream: Any, theirs: socket.socket) -> bool:
    """Hand on what has come; False at its end."""
    try:
        data = stream.recv(PIECE)
    except LATER:
        return True
    theirs.sendall(data)
    return bool(data)


def _send(stream: Any, data: bytes) -> None:
    while data:
        try:
            data = data[stream.send(data) :]
        except LATER:
            select.select([stream], [], [], RETRY_S)


def _has_more(stream: Any) -> bool:
    """TLS may hold what has left the socket already."""
    pending = getattr(stream, "pending", None)
    return pending is not None and pending() > 0

"""Streams of attached containers are closed in an order in which nothing is left half open."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.runtimes.docker.attached import close_attached

ROOT = Path(__file__).parents[2]

UNRAISABLE = """
import gc, http.client, socket, sys, urllib3
from harness.runtimes.docker.attached import close_attached
seen = []
sys.unraisablehook = lambda error: seen.append(error.exc_value)
ours, theirs = socket.socketpair()
theirs.sendall(b"HTTP/1.1 101 UPGRADED\\r\\nUpgrade: tcp\\r\\n\\r\\n")
response = http.client.HTTPResponse(ours, method="POST")
response.begin()
attached = response.fp.raw
attached._response = urllib3.HTTPResponse(response, preload_content=False)
del response
close_attached(attached)
del attached
gc.collect()
assert not seen, seen
"""


def test_nothing_is_printed_when_the_response_is_freed() -> None:
    """Python from 3.13 on prints errors of files that are closed when they are freed."""
    done = subprocess.run(
        [sys.executable, "-c", UNRAISABLE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_response_is_closed_before_its_socket() -> None:
    closed: list[str] = []

    class Part:
        def __init__(self, name: str, **parts: Any) -> None:
            self.__dict__.update(parts)
            self.name = name

        def close(self) -> None:
            closed.append(self.name)
            raise ValueError("I/O operation on closed file.")

    close_attached(Part("socket", _response=Part("response")))
    assert closed == ["response", "socket"]


def test_a_stream_without_a_response_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        close_attached(ours)
        assert theirs.recv(1) == b""
    file = io.BytesIO()
    close_attached(file)
    assert file.closed

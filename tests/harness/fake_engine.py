"""Engines that answer over a socket what a test says."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeVar

import pytest


class EngineServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class EngineHandler(BaseHTTPRequestHandler):
    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_: object) -> None:
        """Not on the tests' output."""

    def answer(self, code: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


Server = TypeVar("Server", bound=EngineServer)


@contextmanager
def serving(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """This is the engine that clients find."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{server.server_address!s}")
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()

"""Real node processes on loopback, for tests: started, queried, killed, started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


class Cluster:
    """Nodes 1 to `count`, each a process with a directory of its own. A context manager."""

    def __init__(self, directory: Path, count: int = 3, **settings: Any) -> None:
        sockets = [socket.socket() for _ in range(2 * count)]
        for sock in sockets:
            sock.bind((HOST, 0))
        ports = [sock.getsockname()[1] for sock in sockets]
        for sock in sockets:
            sock.close()
        self.directory = directory
        self.nodes = tuple(range(1, count + 1))
        self.addresses = {str(n): [HOST, ports[n - 1]] for n in self.nodes}
        self.client_ports = {n: ports[count + n - 1] for n in self.nodes}
        self.settings = {"protocol": "multi-paxos", "seed": 1, "host": HOST, **settings}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._ident = 0

    def __enter__(self) -> Cluster:
        for node in self.nodes:
            self.start(node)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    # ------------------------------------------------------------------ processes

    def start(self, node: int, **changes: Any) -> None:
        settings = {
            **self.settings,
            "node": node,
            "addresses": self.addresses,
            "client_port": self.client_ports[node],
            "data": str(self.data(node)),
            **changes,
        }
        log = self.log_file(node).open("ab")
        self.processes[node] = subprocess.Popen(
            [sys.executable, "-m", "node_image"],
            env={**os.environ, "ANTIPAXOS_NODE": json.dumps(settings)},
            stdout=log,
            stderr=log,
        )
        log.close()

    def data(self, node: int) -> Path:
        return self.directory / f"n{node}"

    def log_file(self, node: int) -> Path:
        return self.directory / f"n{node}.log"

    def log(self, node: int) -> list[dict[str, Any]]:
        lines = self.log_file(node).read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def events(self, node: int) -> list[str]:
        return [line["event"] for line in self.log(node)]

    def kill(self, node: int) -> None:
        self.processes[node].send_signal(signal.SIGKILL)
        self.processes[node].wait()

    def decided(self, node: int) -> list[dict[str, Any]]:
        text = (self.data(node) / "decided.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    # ------------------------------------------------------------------ clients

    def connect(self, node: int) -> Client:
        """A client of one node, as soon as it listens."""
        return until(lambda: Client.try_connect(self.client_ports[node]), f"node {node} listens")

    def status(self, node: int) -> dict[str, Any]:
        with self.connect(node) as client:
            return client.ask({"id": 0, "f": "status"})

    def leader(self) -> int:
        """The leader, once one of the running nodes leads."""

        def leading() -> int | None:
            running = [n for n, p in self.processes.items() if p.poll() is None]
            found = [self.status(n) for n in running]
            return next((s["node"] for s in found if s["role"] == "leader"), None)

        return until(leading, "somebody leads")

    def do(self, client: int, seq: int, f: str, key: str, value: Any = None) -> dict[str, Any]:
        """Ask the leader, and retry until the answer is final."""

        def attempt() -> dict[str, Any] | None:
            request = {"client": client, "seq": seq, "f": f, "key": key, "value": value}
            try:
                with self.connect(self.leader()) as connection:
                    answer = connection.ask({"id": 1, **request})
            except OSError:
                return None
            return answer if answer["error"] in (None, "mismatch") else None

        return until(attempt, f"{f} {key} is answered")


class Client:
    """One connection to a client port. A context manager."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")

    @classmethod
    def try_connect(cls, port: int) -> Client | None:
        try:
            return cls(socket.create_connection((HOST, port), timeout=5))
        except OSError:
            return None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise ConnectionError("the node closed the connection")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.send(json.dumps(request).encode() + b"\n")
        return self.read()


def until(condition: Any, what: str, limit_s: float = 30) -> Any:
    """Poll until `condition()` is true, and return it; AssertionError when it never is."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.01)
    return found

"""The controller's side of the reaper (`faults.agent.reaper`), which outlives the controller.

It is started, and has acknowledged that, before anything else of a run is created. If the engine's
socket cannot be mounted into a container (a remote engine with another path, an engine that forbids
it), there is no reaper; then there is a notice, and `antipaxos clean` removes what a killed
controller leaves behind.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final

import docker
from docker.errors import DockerException

from faults.agent.reaper import SOCKET
from harness.runtimes.docker.agents import HEADER
from harness.runtimes.docker.attached import close_attached, plain_socket
from harness.runtimes.docker.endpoint import endpoint
from harness.runtimes.docker.engine import LABEL, labels
from histories.text import quoted
from histories.untrusted import parse_object

START_TIMEOUT_S: Final = 15.0
MESSAGE_MAX: Final = 4096


class Reaper:
    """`start` before the run's first container, `dismiss` when everything has been removed."""

    def __init__(self, api: docker.APIClient, run_id: str, image: str) -> None:
        self._api = api
        self._run_id = run_id
        self._image = image
        self._container = ""
        self._attached: Any = None
        self._stream: socket.socket | None = None

    def start(self) -> str | None:
        """None once the reaper is ready; else why there is none."""
        try:
            self._start()
            return None
        except (DockerException, OSError, ValueError) as error:
            self.dismiss()
            return str(getattr(error, "explanation", None) or error)

    def dismiss(self) -> None:
        """Everything has been removed: the reaper ends, and the engine removes it."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.sendall(b"done\n")
        self._hang_up()
        if self._container:
            with contextlib.suppress(DockerException, OSError):
                self._api.remove_container(self._container, force=True, v=True)
            self._container = ""

    def leave(self) -> None:
        """Something could not be removed: the reaper tries it, and is then removed by the
        engine."""
        self._container = ""
        self._hang_up()

    def _hang_up(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
            self._stream = None
        if self._attached is not None:
            close_attached(self._attached)
            self._attached = None

    def _start(self) -> None:
        host = self._api.create_host_config(
            binds=[f"{endpoint().socket}:{SOCKET}"],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            network_mode="none",
            auto_remove=True,
        )
        made = self._api.create_container(
            self._image,
            entrypoint=["python3", "-m", "faults.agent.reaper", f"{LABEL}={self._run_id}"],
            user="0:0",
            name=f"antipaxos-{self._run_id}-reaper",
            stdin_open=True,
            host_config=host,
            labels=labels(self._run_id, "reaper"),
        )
        self._container = made["Id"]
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._attached = self._api.attach_socket(self._container, params)
        self._stream = plain_socket(self._attached)
        self._stream.settimeout(START_TIMEOUT_S)
        self._api.start(self._container)
        hello = parse_object(_first_message(self._stream))
        if hello.get("hello") != "reaper":
            raise ValueError(f"it said {quoted(hello)}")


def _first_message(stream: socket.socket) -> str:
    """The first output of the container, without the engine's framing. Raises OSError."""
    header = _exactly(stream, HEADER.size)
    _, size = HEADER.unpack(header)
    return _exactly(stream, min(size, MESSAGE_MAX)).decode(errors="replace")


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.recv(size - len(data))
        if not piece:
            raise OSError(data.decode(errors="replace").strip() or "it ended at once")
        data += piece
    return data

"""The Docker engine: finding it, saying what is wrong when it cannot be used, and our labels.

Everything that we create carries LABEL (whose value is the run's id) and LABEL_ROLE, so that the
reaper and `antipaxos clean` find what a killed controller left, and never anything else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import docker
from docker.context import ContextAPI
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from harness.errors import EngineError

LABEL = "antipaxos.run"
LABEL_ROLE = "antipaxos.role"
LABEL_NODE = "antipaxos.node"
API_TIMEOUT_S = 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_ENGINE_REMEDY = (
    "start Docker (on Debian as root: apt-get install docker.io iptables, then dockerd), set "
    "DOCKER_HOST, or run in the simulator: --on sim"
)
T = TypeVar("T")


class NoEngine(EngineError):
    """Nothing listens where an engine would."""


class EngineTimeout(EngineError):
    """The engine did not end within the limit what it was asked for."""


def connect() -> docker.APIClient:
    """A client of the engine that DOCKER_HOST or the current context names.

    Raises EngineError with the remedy when there is none or it may not be used.
    """
    try:
        api = docker.APIClient(
            base_url=_base_url(),
            tls=kwargs_from_env().get("tls") or False,
            version="auto",
            timeout=API_TIMEOUT_S,
            num_pools=32,
            max_pool_size=64,
        )
        api.ping()
    except (DockerException, OSError) as error:
        raise _explain(error) from None
    return api


def is_available() -> bool:
    """Does an engine answer? False only where none is there and none was asked for.

    Raises EngineError where there is one that cannot be used (its socket is not this user's to
    open, it is broken), or DOCKER_HOST names one that does not answer: to simulate in its place
    would hide that.
    """
    try:
        connect().close()
    except NoEngine:
        if os.environ.get("DOCKER_HOST"):
            raise
        return False
    return True


class EngineHost(NamedTuple):
    """Where the engine's machine publishes the ports of nodes, and the host at which this machine
    reaches them."""

    publish: str
    reach: str
    is_here: bool


def engine_host() -> EngineHost:
    """By the engine's address: one with a host of its own is on another machine, where ports are
    published on all addresses."""
    url = urlsplit(_base_url() or "")
    host = url.hostname if url.scheme in ("tcp", "http", "https", "ssh") else None
    if host is None or host in LOOPBACK:
        return EngineHost("127.0.0.1", "127.0.0.1", is_here=True)
    return EngineHost("0.0.0.0", host, is_here=False)


def _base_url() -> str | None:
    return os.environ.get("DOCKER_HOST") or _context_host()


def _context_host() -> str | None:
    context = ContextAPI.get_current_context()
    host = context.Host if context is not None else None
    return host or None


def _explain(error: Exception) -> EngineError:
    text = str(error)
    if "paramiko" in text:
        return EngineError(
            f"the engine at {_base_url()} is reached over SSH, which needs the package paramiko",
            remedy="pip install paramiko, run antipaxos on the engine's machine, or run in the "
            "simulator: --on sim",
        )
    if "PermissionError" in text or "Permission denied" in text:
        return EngineError(
            "this user may not use the Docker engine's socket",
            remedy="add the user to the group docker (then log in again), run as root, or run in "
            "the simulator: --on sim",
        )
    if any(
        word in text for word in ("FileNotFoundError", "ConnectionRefused", "Connection refused")
    ):
        return NoEngine("no Docker engine answers", remedy=NO_ENGINE_REMEDY)
    return EngineError(f"the Docker engine cannot be used: {text}", remedy=NO_ENGINE_REMEDY)


def within(limit_s: float, doing: str, work: Callable[[], T]) -> T:
    """`work()`, which is given up after `limit_s`: docker-py sets no time-out for builds, pulls and
    streams. Raises EngineTimeout, and whatever `work` raises. The thread of work that is given up
    ends with the engine's next word, or with the process."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # it is raised where the result is awaited
            result.set_exception(error)

    threading.Thread(target=run, name=doing, daemon=True).start()
    if not wait([result], limit_s).done:
        raise EngineTimeout(
            f"{doing}: the engine did not end it within {limit_s:g} s", remedy="look at the engine"
        )
    return result.result()


def labels(run_id: str, role: str, node: int | None = None) -> dict[str, str]:
    """The labels of everything that belongs to a run."""
    own = {LABEL: run_id, LABEL_ROLE: role}
    return own if node is None else own | {LABEL_NODE: str(node)}


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turns the engine's errors into ours, with what we were doing and what helps."""
    try:
        yield
    except APIError as error:
        text = error.explanation or str(error)
        raise EngineError(f"{doing}: {text}", remedy=_remedy(text)) from error
    except (DockerException, OSError) as error:
        raise EngineError(f"{doing}: {error}", remedy=NO_ENGINE_REMEDY) from error


def _remedy(text: str) -> str:
    lowered = text.lower()
    if "no space left" in lowered:
        return "free disk space for Docker: docker system prune"
    if "port is already allocated" in lowered or "address already in use" in lowered:
        return "another program took the port; run again, a new one is chosen each time"
    if "address pools" in lowered:
        return "too many Docker networks: antipaxos clean, or docker network prune"
    if "no such image" in lowered:
        return "the image is gone; run again, it is built again"
    return ""

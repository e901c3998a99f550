"""The Docker engine: how it is found, errors with remedies, and our labels.

Everything that we create has LABEL (with the run's id) and LABEL_ROLE, so that the reaper and
`antipaxos clean` find exactly what a killed controller left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from docker.errors import APIError, DockerException, StreamParseError
from urllib3.exceptions import HTTPError

from harness.errors import EngineError
from harness.runtimes.docker.endpoint import SOCKET, Endpoint, EngineClient, endpoint

LABEL = "antipaxos.run"
LABEL_ROLE = "antipaxos.role"
LABEL_NODE = "antipaxos.node"
LABEL_JOINED = "antipaxos.joined"
"""Of an agent in a container of others: the ids of the containers that its faults affect."""
API_TIMEOUT_S = 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_ENGINE_REMEDY = (
    "start Docker (on Debian as root: apt-get install docker.io iptables, then dockerd), set "
    "DOCKER_HOST, or run in the simulator: --on sim"
)
STREAM_ERRORS: Final = (DockerException, StreamParseError, HTTPError, OSError)
"""What reading one of docker-py's streams may raise: neither its parser's errors nor those of the
connection are of its own class."""
T = TypeVar("T")
_CERTIFICATES: Final = "look at the certificates in DOCKER_CERT_PATH, or in the context"
_WITH_TLS: Final = "set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or use a context that has TLS"
_TROUBLES: Final = (
    (
        "Permission",
        "this user may not use the Docker engine's socket",
        "add the user to the group docker (then log in again), run as root, or run in the "
        "simulator: --on sim",
    ),
    (
        "Missing Authority Key Identifier",
        "the engine at {} has a certificate that does not name its authority's key, which Python "
        "from 3.13 on requires",
        "make certificates with authorityKeyIdentifier=keyid, or use an earlier Python",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the engine at {} has a certificate that ca.pem does not vouch for",
        _CERTIFICATES,
    ),
    ("WRONG_VERSION_NUMBER", "the engine at {} does not speak TLS", "unset DOCKER_TLS_VERIFY"),
    ("HTTP request to an HTTPS server", "the engine at {} speaks TLS only", _WITH_TLS),
    ("SSL", "the engine at {} refuses our certificate", _CERTIFICATES),
)
"""Words of the libraries, what they mean in a sentence, and what helps."""
_CLOSED: Final = ("RemoteDisconnected", "ConnectionReset", "BrokenPipe", "ConnectionAborted")
"""The engine accepted the connection and closed it before it answered."""


class NoEngine(EngineError):
    """No engine is listening."""


class EngineTimeout(EngineError):
    """The engine did not end within the limit what it was asked for."""


def connect() -> EngineClient:
    """A client of the engine that DOCKER_HOST or a context names, else of the local one.

    Raises EngineError with a remedy if there is none or it cannot be used.
    """
    at = endpoint()
    try:
        api = EngineClient(
            base_url=at.url,
            tls=at.tls or False,
            version="auto",
            timeout=API_TIMEOUT_S,
            num_pools=32,
            max_pool_size=64,
        )
        api.ping()
    except (DockerException, OSError) as error:
        raise _explain(error, at) from None
    return api


def is_available() -> bool:
    """Does an engine answer? False only where none is there and none was asked for.

    Raises EngineError where there is one that cannot be used (its socket is not this user's to
    open, it is broken), or one that was named does not answer: to simulate in its place would hide
    that.
    """
    try:
        connect().close()
    except NoEngine:
        if endpoint().named:
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
    url = urlsplit(endpoint().url or "")
    host = url.hostname if url.scheme in ("tcp", "http", "https", "ssh") else None
    if host is None or host in LOOPBACK:
        return EngineHost("127.0.0.1", "127.0.0.1", is_here=True)
    return EngineHost("0.0.0.0", host, is_here=False)


def _explain(error: Exception, at: Endpoint) -> EngineError:
    text = str(error)
    if "paramiko" in text:
        return EngineError(
            f"the engine at {at.url} is reached over SSH, which needs the package paramiko",
            remedy="pip install paramiko, run antipaxos on the engine's machine, or run in the "
            "simulator: --on sim",
        )
    if any(word in text for word in _CLOSED):
        return _explain_closed(at)
    for words, sentence, remedy in _TROUBLES:
        if words in text:
            return EngineError(sentence.format(at.url), remedy=remedy)
    if any(
        word in text for word in ("FileNotFoundError", "ConnectionRefused", "Connection refused")
    ):
        where = f" at {at.url}" if at.named else ""
        return NoEngine(f"no Docker engine answers{where}", remedy=NO_ENGINE_REMEDY)
    return EngineError(f"the Docker engine cannot be used: {text}", remedy=NO_ENGINE_REMEDY)


def _explain_closed(at: Endpoint) -> EngineError:
    """With TLS 1.3 a client learns only after its handshake that its certificate is refused, and a
    reset may overtake the engine's alert: then there is no word of TLS in the error."""
    closed = f"the engine at {at.url or SOCKET} closed the connection before it answered"
    if at.tls is not None:
        return EngineError(f"{closed}; it may refuse our certificate", remedy=_CERTIFICATES)
    if urlsplit(at.url or "").scheme in ("tcp", "http", "https"):
        return EngineError(f"{closed}; it may want TLS", remedy=_WITH_TLS)
    return EngineError(closed, remedy="look at the engine's log; it may have been restarted")


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
    """The labels for everything that belongs to a run."""
    own = {LABEL: run_id, LABEL_ROLE: role}
    return own if node is None else own | {LABEL_NODE: str(node)}


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Converts the engine's errors into ours, with the failed action and a remedy."""
    try:
        yield
    except APIError as error:
        text = error.explanation or str(error)
        raise EngineError(f"{doing}: {text}", remedy=_remedy(text)) from error
    except STREAM_ERRORS as error:
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

"""Where the engine is: DOCKER_HOST, else the context of DOCKER_CONTEXT, else the current context of
Docker's configuration, else the local socket; and with which certificates it is reached, as
Docker's own command has it.

Certificates are those of the context, or ca.pem, cert.pem and key.pem of DOCKER_CERT_PATH where
DOCKER_TLS_VERIFY is set (or that path alone: then the engine's certificate is not verified).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import docker
from docker.errors import DockerException
from docker.tls import TLSConfig

from harness.errors import EngineError
from harness.runtimes.docker.creations import Creations
from histories.text import quoted
from histories.untrusted import Malformed, read_document

DEFAULT: Final = "default"
SOCKET: Final = "/var/run/docker.sock"
FILES: Final = ("ca.pem", "cert.pem", "key.pem")


TOO_FEW: Final = (
    "the SSH server of the engine's machine refuses more sessions: a run needs one for each node "
    "and ten more (MaxSessions in its sshd_config)"
)


class Endpoint(NamedTuple):
    """An engine's address, None for the local socket, and its certificates. `named`: the user has
    named it, so that it is an error if it does not answer."""

    url: str | None
    tls: TLSConfig | None
    named: bool

    @property
    def socket(self) -> str:
        """The path of the engine's socket on the engine's machine, as far as it is known."""
        is_socket = self.url is not None and self.url.startswith("unix://")
        return self.url.removeprefix("unix://") if self.url and is_socket else SOCKET


class EngineClient(docker.APIClient):
    """requests lets REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE override the authority of a session,
    which is the engine's own here; paramiko's errors are none of the library's; and streams that
    the engine refuses would end without an error.

    `creations`: those of containers, networks and volumes."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.creations = Creations()
        super().__init__(*arguments, **named)

    def create_container(self, *arguments: Any, **named: Any) -> Any:
        with self.creations.one():
            return super().create_container(*arguments, **named)

    def create_network(self, *arguments: Any, **named: Any) -> Any:
        with self.creations.one():
            return super().create_network(*arguments, **named)

    def create_volume(self, *arguments: Any, **named: Any) -> Any:
        with self.creations.one():
            return super().create_volume(*arguments, **named)

    def send(self, request: Any, **more: Any) -> Any:
        try:
            return super().send(request, **more)
        except Exception as error:
            if not type(error).__module__.startswith("paramiko"):
                raise
            words = TOO_FEW if "Connect failed" in str(error) else f"SSH: {error}"
            raise DockerException(words) from error

    def _stream_helper(self, response: Any, decode: bool = False) -> Any:
        """Raises APIError where the engine has refused: a stream of the library's that can be
        cancelled is just empty then."""
        self._raise_for_status(response)  # type: ignore[attr-defined]  # the stubs have no private names
        return super()._stream_helper(response, decode)  # type: ignore[misc]

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        authority = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, authority, cert)


def endpoint(environment: Mapping[str, str] = os.environ) -> Endpoint:
    """Raises EngineError for a context or certificates that are not there."""
    if host := environment.get("DOCKER_HOST"):
        return Endpoint(host, _from_environment(environment), named=True)
    folder = Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker")
    name = environment.get("DOCKER_CONTEXT") or _current_context(folder)
    return Endpoint(None, None, named=False) if name == DEFAULT else _of_context(name, folder)


def _current_context(folder: Path) -> str:
    try:
        found = read_document(folder / "config.json")
    except (OSError, Malformed):  # Docker's command itself goes on without
        return DEFAULT
    name = found.get("currentContext") if isinstance(found, dict) else None
    return name if isinstance(name, str) and name else DEFAULT


def _of_context(name: str, folder: Path) -> Endpoint:
    """As `docker context create` has stored it, in a folder that is named by a digest."""
    identity = hashlib.sha256(name.encode(errors="replace")).hexdigest()
    contexts = folder / "contexts"
    try:
        found: Any = read_document(contexts / "meta" / identity / "meta.json")
        engine = found["Endpoints"]["docker"]
        url, verify = engine["Host"], not engine.get("SkipTLSVerify", False)
    except FileNotFoundError:
        raise EngineError(
            f"there is no Docker context {quoted(name)}",
            remedy="docker context ls; unset DOCKER_CONTEXT, or docker context use default",
        ) from None
    except (OSError, Malformed, LookupError, TypeError, AttributeError):
        raise EngineError(
            f"the Docker context {quoted(name)} does not say where its engine is",
            remedy="docker context inspect; docker context use default",
        ) from None
    certificates = contexts / "tls" / identity / "docker"
    tls = _tls(certificates, verify=verify) if certificates.is_dir() else None
    return Endpoint(str(url), tls, named=True)


def _from_environment(environment: Mapping[str, str]) -> TLSConfig | None:
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    given = environment.get("DOCKER_CERT_PATH")
    if not verify and not given:
        return None
    return _tls(Path(given) if given else Path.home() / ".docker", verify=verify)


def _tls(folder: Path, *, verify: bool) -> TLSConfig:
    """An engine may ask for no certificate of ours; one of our own needs both of its files."""
    authority, *ours = (folder / name for name in FILES)
    needed = [authority] * verify + ours * any(path.is_file() for path in ours)
    if missing := [path.name for path in needed or [authority] if not path.is_file()]:
        raise EngineError(
            f"{folder} has no {' and no '.join(missing)}, which this engine's TLS needs",
            remedy="put it there, name another folder in DOCKER_CERT_PATH, or unset "
            "DOCKER_TLS_VERIFY and DOCKER_CERT_PATH",
        )
    certificate = (str(ours[0]), str(ours[1])) if ours[0].is_file() else None
    ca_cert = str(authority) if authority.is_file() else None
    return TLSConfig(client_cert=certificate, ca_cert=ca_cert, verify=verify)

"""The single entry point for results and errors of a target's own code.

A user-defined target is foreign code. Whatever it raises becomes a `TargetError`: one sentence,
without a traceback, that names the target, the call, the line and the error. Its results are
validated here, and a call that does not return is interrupted (`hang`). Such errors never count
against the cluster.

`GuardedTarget` is for targets from files. Clients of all targets are wrapped by `GuardedClient`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from types import NoneType
from typing import Any, Final

from faults.description import FaultError
from harness.errors import HarnessError, TargetError, UsageError
from harness.targets.hang import Hang, HangGuard
from harness.targets.interface import (
    Capabilities,
    ClusterSpec,
    Images,
    NodeClient,
    NodeSpec,
    Target,
)
from histories.errors import HistoryError
from histories.operations import freeze
from histories.text import one_line, quoted

WORDS_MAX: Final = 200
REMEDY: Final = "this says nothing about the cluster: correct the target and run again"
OWN: Final = (HarnessError, HistoryError, FaultError)
"""Errors that a target may raise on purpose; their messages are shown unchanged."""


def in_words(error: BaseException, path: str = "") -> str:
    """An error of a target's code in one short line, with the line number in its file if the
    traceback has one."""
    try:
        words = one_line(f"{type(error).__name__}: {error}".rstrip(": "), WORDS_MAX)
    except Exception:  # its __str__ raises
        words = one_line(type(error).__name__, WORDS_MAX)
    numbers = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == path
    ]
    return f"{words} (line {numbers[-1]})" if numbers else words


@contextmanager
def target_errors(name: str, what: str, path: str = "") -> Iterator[None]:
    """Convert exceptions of a target's own code into TargetError; `what` describes the call. Errors
    that a target raises on purpose (UsageError and the like) pass unchanged. SystemExit is
    converted too, since it would end the program with its exit code."""
    try:
        yield
    except OWN:
        raise
    except Hang as hang:
        raise TargetError(f"{name}: {what} {hang}", remedy=REMEDY) from None
    except (Exception, SystemExit, GeneratorExit) as error:
        words = in_words(error, path)
        raise TargetError(f"{name}: {what} raised {words}", remedy=REMEDY) from None


class GuardedTarget:
    """A target from the file `path`, with all results validated. Its attributes are read once.
    Raises UsageError if they do not match `harness.targets.interface.Target`."""

    def __init__(self, inner: Any, path: str) -> None:
        self._inner = inner
        self._path = path
        self.name: str = self._fact("name", str)
        self.summary: str = one_line(self._fact("summary", str), WORDS_MAX)
        self.client_port: int = self._fact("client_port", int)
        self.capabilities: Capabilities = self._fact("capabilities", Capabilities)
        self.artifacts: Mapping[str, str] = dict(self._fact("artifacts", Mapping))
        self._check_facts()

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = self._call("settings", lambda: self._saying(self._inner.settings, dict(given)))
        self._require("settings", isinstance(found, dict), found)
        try:
            freeze(found)
            names = all(isinstance(name, str) for name in found)
        except (HistoryError, RecursionError, TypeError):
            names = False
        self._require("settings", names, found)
        return dict(found)

    def check(self, cluster: ClusterSpec) -> None:
        self._call("check", lambda: self._saying(self._inner.check, cluster))

    def quorum(self, cluster: ClusterSpec) -> int:
        found = self._call("quorum", lambda: self._inner.quorum(cluster))
        self._require("quorum", type(found) is int and 1 <= found <= cluster.nodes, found)
        return int(found)

    def image(self, images: Images) -> str:
        with target_errors(self._path, "image", self._path):  # a build may take long
            found = self._inner.image(images)
        self._require("image", isinstance(found, str) and bool(found), found)
        return str(found)

    def node(
        self, node: int, addresses: Mapping[int, str], cluster: ClusterSpec, seed: int
    ) -> NodeSpec:
        found = self._call("node", lambda: self._inner.node(node, addresses, cluster, seed))
        self._require("node", isinstance(found, NodeSpec) and _is_node_spec(found), found)
        assert isinstance(found, NodeSpec)
        return found

    def client(self, node: int, host: str, port: int, cluster: ClusterSpec) -> NodeClient:
        found = self._call("client", lambda: self._inner.client(node, host, port, cluster))
        methods = ("connect", "send", "status", "close")
        able = self._call("client", lambda: [m for m in methods if callable(getattr(found, m))])
        self._require("client", len(able) == len(methods), found)
        client: NodeClient = found
        return client

    # ------------------------------------------------------------------ inside

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        with target_errors(self._path, what, self._path), HangGuard(self._path):
            return call()

    def _saying(self, check: Callable[[Any], Any], given: Any) -> Any:
        """Call a check of the target: a ValueError is a message about the user's input."""
        try:
            return check(given)
        except ValueError as error:
            if isinstance(error, OWN):
                raise
            raise UsageError(f"{self._path}: {in_words(error).partition(': ')[2]}") from None

    def _fact(self, name: str, kind: type[Any]) -> Any:
        found = self._call(name, lambda: getattr(self._inner, name))
        if not isinstance(found, kind) or isinstance(found, bool):
            raise UsageError(
                f"{self._path}: {name} is {quoted(found)}, and must be of the type {kind.__name__}"
            )
        return found

    def _check_facts(self) -> None:
        wrong = ""
        if not 0 < self.client_port < 65536:
            wrong = f"client_port is {self.client_port}, and must be from 1 to 65535"
        for path, suffix in self.artifacts.items():
            if not (isinstance(path, str) and isinstance(suffix, str) and _is_plain(suffix)):
                wrong = f"artifacts has {quoted(suffix)}, and must map paths to plain file names"
        for name in ("workloads", "reads", "mutants", "transports", "messages"):
            value = getattr(self.capabilities, name)
            if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
                wrong = f"capabilities.{name} is {quoted(value)}, and must be a tuple of texts"
        if wrong:
            raise UsageError(f"{self._path}: {wrong}")

    def _require(self, what: str, is_right: bool, found: Any) -> None:
        if not is_right:
            raise TargetError(f"{self._path}: {what} returned {quoted(found)}", remedy=REMEDY)


def guarded(inner: Any, path: str) -> Target:
    """A user-defined target, wrapped so that the rest of the program can rely on it."""
    return GuardedTarget(inner, path)


def _is_plain(suffix: str) -> bool:
    return bool(suffix) and PurePosixPath(suffix).name == suffix and suffix.isprintable()


def _is_node_spec(spec: NodeSpec) -> bool:
    entrypoint = () if spec.entrypoint is None else spec.entrypoint
    texts = isinstance(spec.command, tuple) and isinstance(entrypoint, tuple)
    environment = isinstance(spec.environment, Mapping)
    return (
        texts
        and environment
        and all(isinstance(word, str) for word in (*spec.command, *entrypoint))
        and all(isinstance(k, str) and isinstance(v, str) for k, v in spec.environment.items())
        and isinstance(spec.data, str)
        and spec.data.startswith("/")
        and all(isinstance(word, (str, NoneType)) for word in (spec.user, spec.image))
    )

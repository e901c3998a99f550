"""The clients of a run's nodes, and errors of their code in the loop that they share with the run.

Clients come from the target, and may be third-party code. Their answers pass `GuardedClient`.
Errors in tasks that are not awaited, calls that do not return, and `sys.exit` are caught here: the
run counts them, or ends with a TargetError, never with a traceback or a foreign exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import harness
from harness.errors import TargetError
from harness.run.config import RunConfig
from harness.runtimes.docker.engine import engine_host
from harness.runtimes.docker.pods import Pod
from harness.targets.guard import REMEDY, in_words
from harness.targets.guarded_client import (
    FAILURES,
    ClientProblems,
    GuardedClient,
    client_of,
    name_tasks,
)
from harness.targets.hang import LOOK_S, Hang, HangGuard
from harness.targets.interface import LeaderTold

OURS: Final = tuple(str(Path(harness.__file__).parent / name) for name in ("run", "runtimes"))
LOOP_CLOSED: Final = "Event loop is closed"
"""The message of asyncio for such errors."""
T = TypeVar("T")


class Clients:
    """`open` creates them. `fail` is called with an error that must end the run."""

    def __init__(
        self,
        config: RunConfig,
        loop: asyncio.AbstractEventLoop,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._config = config
        self._loop = loop
        self._fail = fail
        self._path = config.target if config.target.endswith(".py") else ""
        self._beating: asyncio.TimerHandle | None = None
        self.problems = ClientProblems()
        self.by_node: dict[int, GuardedClient] = {}
        loop.set_exception_handler(self._raised)
        name_tasks(loop)

    def open(self, pods: Mapping[int, Pod], told: LeaderTold) -> None:
        """Create one for each node, in the running loop. `told` is called when a node reports a
        leader. Raises TargetError."""
        cluster, host = self._config.cluster, engine_host().reach
        for node, pod in pods.items():
            inner = self._config.system.client(node, host, pod.client_port, cluster)
            self.by_node[node] = client = GuardedClient(
                inner,
                node,
                cluster.node_ids(),
                self.problems,
                path=self._path,
                broke=self._fail,
            )
            client.watch_leader(told)

    def require(self, node: int) -> None:
        """Raises TargetError if this node's client itself has already failed."""
        if (words := self.problems.first_failure(node)) is not None:
            raise TargetError(
                f"the target's client of n{node} raised an error: {words}", remedy=REMEDY
            )

    def finding(self) -> dict[str, Any] | None:
        """Their errors, in the form for the history; None if there were none."""
        for client in self.by_node.values():
            client.count()
        problems = self.problems.to_json()
        return {"role": "client", "problems": problems} if problems else None

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self.by_node.values()))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the loop to its end. Raises TargetError for code that does not return or calls
        sys.exit."""
        guard = HangGuard(self._path, self._hangs)
        task = self._loop.create_task(work)
        if self._path:
            self._beat(guard)
        try:
            with guard:
                return self._loop.run_until_complete(task)
        except (Hang, SystemExit) as error:
            task.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError, Hang, SystemExit):
                self._loop.run_until_complete(task)
            what = (
                str(error) if isinstance(error, Hang) else f"raised {in_words(error, self._path)}"
            )
            raise self._error(what) from None
        finally:
            if self._beating is not None:
                self._beating.cancel()

    # ------------------------------------------------------------------ inside

    def _raised(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error in a task that is not awaited. The run's own tasks are awaited, so it is of a
        client, or of a library that it uses, unless our own code is on its traceback."""
        error = context.get("exception")
        if isinstance(error, RuntimeError) and str(error) == LOOP_CLOSED:
            return  # gRPC's event queue is the process': a call of an earlier run ended only now
        if isinstance(error, Exception) and _is_ours(error):
            self._fail(error)
        elif error is not None:  # else it is about a task that was left behind
            node = client_of(context.get("task") or context.get("future"))
            self.problems.add(node, FAILURES, in_words(error, self._path))

    def _beat(self, guard: HangGuard) -> None:
        guard.beat()
        self._beating = self._loop.call_later(LOOK_S, self._beat, guard)

    def _hangs(self, sentence: str) -> None:
        self._fail(self._error(sentence))

    def _error(self, what: str) -> TargetError:
        return TargetError(f"{self._config.target}: its client {what}", remedy=REMEDY)


def _is_ours(error: BaseException) -> bool:
    """Whether code of the run or of a runtime is on an error's traceback."""
    return any(
        frame.f_code.co_filename.startswith(OURS)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )

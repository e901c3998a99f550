"""Jobs on a Dask cluster: `--dask ADDRESS`, the extra `antipaxos[distributed]`.

Workers must run the same version of the package, since other versions may draw other runs from a
seed. Dask retries an item whose worker dies; an item that repeatedly kills its workers is returned
as lost. Workers that have an engine are started with the Dask resource ENGINE (`dask worker ADDRESS
--resources "ENGINE=1"`): runs in containers go to those, at most as many at a time as the resource
says, and simulations to the others, where there are any.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

from harness import __version__
from harness.errors import HarnessError, UsageError
from harness.search.executors.interface import Item, Outcome, Result

if TYPE_CHECKING:
    from distributed import Client

AHEAD: Final = 4
"""How many items per worker thread are submitted in advance."""
RETRIES: Final = 2
CONNECT_TIMEOUT_S: Final = 10
LOOK_EVERY_S: Final = 2.0
"""How often the scheduler is asked for its workers."""
ENGINE: Final = "ENGINE"


class WrongVersion(UsageError):
    """A worker runs another version of the package."""


@dataclass(frozen=True)
class _SameVersion(Generic[Item, Result]):
    """The work, restricted to workers of one version, also for those that join later."""

    work: Callable[[Item], Result]
    version: str

    def __call__(self, item: Item) -> Result:
        if self.version != __version__:
            raise _wrong_version("a worker", __version__, self.version)
        return self.work(item)


class _Task(NamedTuple, Generic[Item]):
    """A submitted item; `workers`: the addresses that may run it, empty for any."""

    item: Item
    future: Any
    workers: tuple[str, ...]


class DaskExecutor:
    """The workers of the scheduler at `address`; with `engines` only those that have an engine.

    Raises HarnessError if the scheduler cannot be reached, if its workers run another version, or
    if engines are required and no worker has one.
    """

    def __init__(self, address: str, *, engines: bool = False) -> None:
        self._client = _connect(address)
        self._engines = engines
        self._looked_s = float("-inf")
        self._workers: dict[str, dict[str, Any]] = {}
        self._stopped = False
        try:
            self._check_versions()
            if engines and not self.engines():
                raise UsageError(
                    f"no worker at {address} has an engine",
                    remedy=f'start one with: dask worker {address} --resources "{ENGINE}=1"',
                )
        except HarnessError:
            self.close()
            raise

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def engines(self) -> int:
        """How many runs in containers the workers take at a time."""
        return int(sum(w.get("resources", {}).get(ENGINE, 0) for w in self._look().values()))

    def stop(self) -> None:
        """Submit no more items, and abandon running ones; may be called by another thread."""
        self._stopped = True

    def map(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        under_way: deque[_Task[Item]] = deque()
        source = iter(items)
        checked = _SameVersion(work, __version__)
        try:
            while not self._stopped:
                while len(under_way) < self._ahead():
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                    under_way.append(self._submit(checked, item))
                if not under_way:
                    return
                task = under_way.popleft()
                outcome: Outcome[Item, Result] | None = self._outcome(checked, task)
                if outcome is not None:
                    yield outcome
        finally:
            for task in under_way:
                task.future.cancel()

    def _submit(self, work: Callable[[Item], Result], item: Item) -> _Task[Item]:
        where: dict[str, Any] = {}
        workers = () if self._engines else self._without_engine()
        if self._engines:
            where = {"resources": {ENGINE: 1}}
        elif workers:
            where = {"workers": workers}
        future = self._client.submit(work, item, pure=False, retries=RETRIES, **where)
        return _Task(item, future, workers)

    def _ahead(self) -> int:
        if self._engines:
            return max(1, self.engines())
        return max(1, sum(int(w.get("nthreads", 1)) for w in self._look().values())) * AHEAD

    def _without_engine(self) -> tuple[str, ...]:
        """The workers without an engine, if some have one and some do not; else none."""
        workers = self._look()
        found = tuple(a for a, w in workers.items() if not w.get("resources", {}).get(ENGINE))
        return found if len(found) < len(workers) else ()

    def _look(self) -> dict[str, dict[str, Any]]:
        """The workers by address, as of a moment ago."""
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_EVERY_S:
            self._workers = self._client.scheduler_info(n_workers=-1)["workers"]
            self._looked_s = now_s
        return self._workers

    def _outcome(
        self, work: Callable[[Item], Result], task: _Task[Item]
    ) -> Outcome[Item, Result] | None:
        """The outcome of an item; None if it was abandoned. An item whose workers have all left the
        cluster is submitted again."""
        from distributed import wait  # noqa: PLC0415
        from distributed.scheduler import KilledWorker  # noqa: PLC0415

        while True:
            try:
                wait(task.future, timeout=LOOK_EVERY_S)  # type: ignore[no-untyped-call]
                break
            except TimeoutError:
                if self._stopped:
                    task.future.cancel()
                    return None
                if task.workers and not set(task.workers) & set(self._look()):
                    task.future.cancel()
                    task = self._submit(work, task.item)
        try:
            return Outcome(task.item, task.future.result())
        except KilledWorker as error:
            return Outcome(task.item, None, f"it killed its workers: {error.last_worker.address}")

    def _check_versions(self) -> None:
        found: dict[str, str] = self._client.run(_version)
        if not found:
            raise HarnessError("the Dask cluster has no workers", remedy="start some, then again")
        others = {address: version for address, version in found.items() if version != __version__}
        if others:
            address, version = next(iter(others.items()))
            raise _wrong_version(f"the worker {address}", version, __version__)


def _wrong_version(who: str, theirs: str, ours: str) -> WrongVersion:
    return WrongVersion(
        f"{who} runs antipaxos {theirs}, and this is {ours}",
        remedy="install the same version on every machine",
    )


def _version() -> str:
    """Runs on a worker."""
    try:
        from harness import __version__ as version  # noqa: PLC0415
    except ImportError:
        return "(none)"
    return str(version)


def _connect(address: str) -> Client:
    try:
        from distributed import Client  # noqa: PLC0415
    except ImportError:
        raise HarnessError(
            "--dask needs the package distributed", remedy="pip install 'antipaxos[distributed]'"
        ) from None
    try:
        return Client(address, timeout=CONNECT_TIMEOUT_S)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError):
        raise HarnessError(
            f"no Dask scheduler answers at {address!r}",
            remedy="start one with: dask scheduler",
        ) from None

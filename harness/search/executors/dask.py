"""Jobs over a Dask cluster: `--dask ADDRESS`, the extra `antipaxos[distributed]`.

Workers run the same version of the package, or the run is refused: other versions draw other runs
from a seed. Dask tries an item again whose worker dies; one that keeps killing its workers comes
back as lost. Workers that have an engine are started with the Dask resource ENGINE
(`dask worker ADDRESS --resources "ENGINE=1"`), and jobs in containers go to those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final

from harness import __version__
from harness.errors import HarnessError, UsageError
from harness.search.executors.interface import Item, Outcome, Result

if TYPE_CHECKING:
    from distributed import Client

AHEAD: Final = 4
"""So many items per worker thread are handed out beyond the one that is waited for."""
RETRIES: Final = 2
CONNECT_TIMEOUT_S: Final = 10
ENGINE: Final = "ENGINE"


class DaskExecutor:
    """The workers of the scheduler at `address`. Raises HarnessError where it cannot be reached, or
    where its workers run another version."""

    def __init__(self, address: str, *, needs_engine: bool = False) -> None:
        self._client = _connect(address)
        self._resources = {ENGINE: 1} if needs_engine else {}
        self._check_versions()
        if needs_engine and not self._has_engine():
            self.close()
            raise UsageError(
                f"no worker at {address} has an engine",
                remedy=f'start one with: dask worker {address} --resources "{ENGINE}=1"',
            )

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def map(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        under_way: deque[tuple[Item, Any]] = deque()
        source = iter(items)
        try:
            while True:
                for item in source:
                    under_way.append((item, self._submit(work, item)))
                    if len(under_way) >= self._ahead():
                        break
                if not under_way:
                    return
                item, future = under_way.popleft()
                yield self._outcome(item, future)
        finally:
            for _, future in under_way:
                future.cancel()

    def _submit(self, work: Callable[[Item], Result], item: Item) -> Any:
        return self._client.submit(
            work, item, pure=False, retries=RETRIES, resources=self._resources
        )

    def _ahead(self) -> int:
        return max(1, sum(self._threads())) * AHEAD

    def _threads(self) -> list[int]:
        found: dict[str, int] = self._client.nthreads()  # type: ignore[no-untyped-call]
        return list(found.values())

    def _outcome(self, item: Item, future: Any) -> Outcome[Item, Result]:
        from distributed.scheduler import KilledWorker  # noqa: PLC0415

        try:
            return Outcome(item, future.result())
        except KilledWorker as error:
            return Outcome(item, None, f"it killed its workers: {error.last_worker.address}")

    def _has_engine(self) -> bool:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker.get("resources", {}).get(ENGINE) for worker in workers)

    def _check_versions(self) -> None:
        found: dict[str, str] = self._client.run(_version)
        if not found:
            self.close()
            raise HarnessError("the Dask cluster has no workers", remedy="start some, then again")
        others = {address: version for address, version in found.items() if version != __version__}
        if others:
            self.close()
            address, version = next(iter(others.items()))
            raise UsageError(
                f"the worker {address} runs antipaxos {version}, and this is {__version__}",
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
    except (OSError, TimeoutError, ValueError) as error:
        raise HarnessError(
            f"no Dask scheduler answers at {address}: {type(error).__name__}",
            remedy="start one with: dask scheduler",
        ) from None

"""Where the jobs of a search run: in this process, in several processes, or on other machines.

An executor has one method, `map(work, items)`: it applies `work` to each item and yields an
`Outcome` per item, in the order of the items. The contract, which every executor keeps:

    order         outcomes are in the order of the items, not of completion
    bounded       only a limited number of items is taken in advance
    stop          closing the iterator, or an exception where it is used (Ctrl-C), cancels the rest,
                  and nothing is left running
    exceptions    what `work` raises is raised at that item's place
    lost workers  an item whose worker died is tried once more; then its outcome states how the
                  worker died, and the other items continue

`work` and items must be picklable if they leave this process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.search.executors.interface import Executor, Outcome
from harness.search.executors.local import InProcess
from harness.search.executors.processes import Processes


def local_executor(jobs: int) -> Executor:
    """One job at a time in this process, or several in child processes."""
    return InProcess() if jobs <= 1 else Processes(jobs)


@contextmanager
def executor_for(jobs: int, dask: str | None) -> Iterator[Executor]:
    """The executor for a command: `jobs` processes here, or the workers of the Dask scheduler at
    this address. Raises HarnessError if that cannot be used."""
    if dask is None:
        yield local_executor(jobs)
        return
    from harness.search.executors.dask import DaskExecutor  # noqa: PLC0415 (an extra)

    executor = DaskExecutor(dask)
    try:
        yield executor
    finally:
        executor.close()


__all__ = ["Executor", "InProcess", "Outcome", "Processes", "executor_for", "local_executor"]

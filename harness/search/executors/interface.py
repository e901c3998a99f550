"""The interface of executors; `harness.search.executors` has the contract."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Outcome(NamedTuple, Generic[Item, Result]):
    """The outcome of one item: its result, or `lost`, how its worker died."""

    item: Item
    result: Result | None
    lost: str | None = None


class Executor(Protocol):
    """Applies one function to many items."""

    def map(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Apply `work` to every item; outcomes in the order of the items."""
        ...

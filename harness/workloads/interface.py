"""The interface of a workload: it makes operations, sees their answers, and names its model.

To add one, write `harness/workloads/NAME.py` with a class that has these members, and assign the
class to `WORKLOAD` in that module: every module of the package with a `WORKLOAD` is registered
under the workload's `name`. A target serves it if its `Capabilities.workloads` has that name. Its
`model` is one of `histories.models`.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol


class Operation(NamedTuple):
    """One thing that a client asks: `f` on `key` with `value`."""

    f: str
    key: str
    value: Any


class Workload(Protocol):
    name: ClassVar[str]
    summary: ClassVar[str]
    """What clients do, in a few words."""
    model: ClassVar[str]
    """The name of the model, in `histories.models`, that judges what clients saw."""

    def __init__(self, seed: int, keys: int, skew: float = 0.0) -> None: ...

    def next(self) -> Operation:
        """The next operation of the chaos phase."""
        ...

    def saw(self, operation: Operation, value: Any) -> None:
        """An operation completed ok and returned `value`; lets later ones build on it."""
        ...

    def finale(self) -> list[Operation]:
        """The final round, after healing: operations that must all succeed."""
        ...

    def again(self, operation: Operation) -> Operation:
        """What to ask instead of an operation of the final round that did not succeed."""
        ...

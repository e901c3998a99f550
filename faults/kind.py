"""The definition of a kind of fault: everything that is not specific to one runtime.

Each file in `faults/kinds` defines one fault class and registers it as `KIND`. A new kind is one
such file, and a handler in each runtime that `runtimes` names.
"""

from __future__ import annotations

from dataclasses import dataclass

from faults.description import Fault
from faults.generators import Generator


@dataclass(frozen=True, kw_only=True)
class FaultKind:
    """One kind of fault.

    `summary` says in a few words what happens. `order` sorts the kinds wherever they are listed. It
    influences what a seed draws, so it never changes once a kind has been released. `runtimes`:
    those that support the kind, by their names on the command line. `mix_weight`: its weight in
    drawn mixes; 0: only when it is requested by name.
    """

    fault: type[Fault]
    summary: str
    generator: Generator
    order: int
    runtimes: tuple[str, ...]
    mix_weight: int = 0

    @property
    def name(self) -> str:
        return self.fault.kind

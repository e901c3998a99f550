"""Faults in terms of a session: with its numbers of containers, and with their names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from faults.description import Fault
from faults.kinds.partition import Partition
from faults.link_fault import LinkFault
from harness.runtimes.interface import FaultReport

_NODE: Final = re.compile(r"\bn\d+\b")


def placed(fault: Fault, numbers: Sequence[int]) -> Fault:
    """A resolved fault of the containers 1, 2, ..., as one of those with these numbers."""
    at = dict(enumerate(numbers, 1))
    changes: dict[str, Any] = {"nodes": tuple(at[int(node)] for node in fault.nodes)}
    if isinstance(fault, Partition):
        changes["cut"] = tuple((at[a], at[b]) for a, b in fault.cut)
    if isinstance(fault, LinkFault):
        changes["links"] = tuple((at[a], at[b]) for a, b in fault.links)
    return dataclasses.replace(fault, **changes)


def affected(fault: Fault) -> list[int]:
    """The numbers of all containers that a resolved fault names."""
    links = fault.cut if isinstance(fault, Partition) else ()
    links = fault.links if isinstance(fault, LinkFault) else links
    return sorted({int(node) for node in fault.nodes} | {end for link in links for end in link})


def named(report: FaultReport, names: Mapping[str, str]) -> FaultReport:
    """The report with these names in place of n1, n2, ..."""
    problem = report.problem and _NODE.sub(lambda m: names.get(m[0], m[0]), report.problem)
    return dataclasses.replace(report, evidence=_renamed(report.evidence, names), problem=problem)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Names in the keys and texts of evidence: "n1", "n1>n2", "n2 n3"."""
    if isinstance(value, dict):
        return {_renamed(key, names): _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, str):
        return value
    for separator in (">", " "):
        if separator in value:
            return separator.join(names.get(part, part) for part in value.split(separator))
    return names.get(value, value)

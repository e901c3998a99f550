"""Sessions that the blocks of this program share.

Two sessions cannot have faults in one container (`holders`). But blocks may be nested, such as
`with faults.clock("db-1", "+1h"), faults.partition(["db-1", "db-2"])`: the inner one uses the
session of the outer one, which joins the containers that it does not have yet. A session is closed
when the last block that uses it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

from harness.errors import UsageError
from harness.inject.containers import Container, find_containers
from harness.inject.session import Session
from harness.runtimes.docker.engine import connect


@dataclass(eq=False)
class _Shared:
    session: Session
    blocks: int = 0


_OPEN: Final[list[_Shared]] = []
_CHANGING: Final = threading.Lock()
"""Held while a session is opened or closed."""


@contextmanager
def session_with(names: Sequence[str]) -> Iterator[tuple[Session, list[int]]]:
    """A session that has these containers, for a block, and their numbers. Raises as Session does,
    and UsageError if the containers are in more than one session of this program already."""
    with _CHANGING:
        shared, numbers = _join(names)
        shared.blocks += 1
    try:
        yield shared.session, numbers
    finally:
        with _CHANGING:
            shared.blocks -= 1
            if not shared.blocks:
                _OPEN.remove(shared)
                shared.session.close()


def _join(names: Sequence[str]) -> tuple[_Shared, list[int]]:
    if not _OPEN:
        return _opened(names)
    with closing(connect()) as api:
        found = find_containers(api, names)
    using = [
        shared for shared in _OPEN if _namespaces(found) & _namespaces(shared.session.containers)
    ]
    if not using:
        return _opened(names)
    if len(using) > 1:
        listed = " and ".join(container.name for container in found)
        raise UsageError(
            f"{listed} have faults of different blocks of this program already, which cannot be "
            "joined",
            remedy="inject the fault that names all of them first, in the outermost block",
        )
    (shared,) = using
    shared.session.add(found)
    return shared, shared.session.numbers_of(found)


def _opened(names: Sequence[str]) -> tuple[_Shared, list[int]]:
    session = Session(names)
    session.__enter__()
    shared = _Shared(session)
    _OPEN.append(shared)
    return shared, session.numbers_of(session.containers)


def _namespaces(containers: Sequence[Container]) -> frozenset[str]:
    return frozenset[str]().union(*(container.namespaces for container in containers))

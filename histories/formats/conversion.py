"""A history of Jepsen's as one of our own format, which is stricter.

In Jepsen's formats a process may continue after an operation of unknown outcome, a lone `:info` is
not an operation, and an `:info` of another name (`:crash`) ends what is open. In ours a process
number is not used again, and a completion has the name and the key of its invocation.
"""

from __future__ import annotations

from itertools import count

from histories.events import NEMESIS, Event
from histories.formats.native import History


def as_native(history: History) -> History:
    """The history with the same operations, in events that our own format allows. Notes say what
    was changed. A history of our own format is returned unchanged."""
    if not history.jepsen:
        return history
    taken: set[int | str] = {event.process for event in history.events}
    names: dict[int | str, int | str] = {}
    begun: dict[int | str, Event] = {}
    gone: set[int | str] = set()
    events: list[Event] = []
    renamed = lone = 0
    for event in history.events:
        process = event.process
        if process == NEMESIS:
            events.append(event)
            continue
        if event.type == "invoke":
            if process in gone:
                names[process] = _new_name(process, taken)
                gone.discard(process)
                renamed += 1
            begun[process] = event
        elif event.type == "info":
            if process not in begun:
                lone += 1
                continue
            gone.add(process)
        done = None if event.type == "invoke" else begun.pop(process, None)
        name = names.get(process, process)
        if event.type == "info" and done is not None:
            events.append(event._replace(process=name, f=done.f, key=done.key))
        else:
            events.append(event._replace(process=name))
    notes = list(history.notes)
    if renamed:
        notes.append(
            f"processes continued after an operation of unknown outcome: {renamed} new names"
        )
    if lone:
        notes.append(f"events that complete no operation were left out: {lone}")
    return history._replace(events=events, notes=tuple(notes), jepsen=False)


def _new_name(process: int | str, taken: set[int | str]) -> str:
    name = next(name for number in count(2) if (name := f"{process}.{number}") not in taken)
    taken.add(name)
    return name

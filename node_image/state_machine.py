"""The replicated state machine: a key-value store with compare-and-set, append and sessions.

    read    the value, or null for a key that was never written
    write   sets the value; returns null
    cas     value is [expected, new]: sets `new` if the key holds `expected`; otherwise the error is
            "mismatch", with the value found. A key that was never written holds null
    append  appends the value to the list under the key (null counts as the empty list)
    noop    does nothing

**Sessions.** A client without an answer retries with the same (client, seq). The command may then
be decided twice, and must be applied once. For every client the machine keeps the last sequence
number and its answer. The same number again gets the recorded answer; a lower one is a late
duplicate, and is ignored. Therefore a client has at most one command in progress (client 0, the
cluster itself, has no session). Reads change nothing and are not recorded. All replicas must evict
the same sessions: they keep the `sessions_max` most recently active clients, in the order of the
log.

Values are never modified in place, so the result of a read does not change later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from node_image.protocols.interface import Answer, Command, Json, make

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
DONE: Final = Answer()
UNSUPPORTED: Final = Answer("unsupported")
LATE_COPY: Final = Answer("interrupted")


class KeyValue:
    """The store. The same commands in the same order give the same answers, everywhere."""

    def __init__(self, sessions_max: int = 10_000) -> None:
        if sessions_max < 1:
            raise ValueError(f"sessions_max must be at least 1, not {sessions_max}")
        self._sessions_max = sessions_max
        self._values: dict[str, Json] = {}
        self._sessions: dict[int, tuple[int, Answer]] = {}

    def apply(self, command: Command) -> Answer:
        client, seq, f, key, value = command
        if f == "read":
            return make(Answer, (None, self._values.get(key), None))
        if f == "noop":
            return DONE
        operation = OPERATIONS.get(f)
        if operation is None:
            return UNSUPPORTED
        if client == 0:
            return operation(self, key, value)
        return self._apply_once(client, seq, operation, key, value)

    def _apply_once(
        self, client: int, seq: int, operation: Operation, key: str, value: Json
    ) -> Answer:
        sessions = self._sessions
        last = sessions.pop(client, None)
        if last is not None and seq <= last[0]:
            sessions[client] = last
            return last[1] if seq == last[0] else LATE_COPY
        answer = operation(self, key, value)
        sessions[client] = (seq, answer)
        if len(sessions) > self._sessions_max:
            del sessions[next(iter(sessions))]
        return answer

    def _write(self, key: str, value: Json) -> Answer:
        self._values[key] = value
        return DONE

    def _cas(self, key: str, value: Json) -> Answer:
        if not isinstance(value, list | tuple) or len(value) != 2:
            return UNSUPPORTED
        expected, new = value
        seen = self._values.get(key)
        if not same_json(seen, expected):
            return Answer("mismatch", seen)
        self._values[key] = new
        return DONE

    def _append(self, key: str, value: Json) -> Answer:
        held = self._values.get(key)
        if held is not None and not isinstance(held, list):
            return UNSUPPORTED
        self._values[key] = [*(held or ()), value]
        return DONE

    def snapshot(self) -> Json:
        """The whole state, with sessions in order, as JSON that shares no container with the
        store."""
        sessions = [
            [client, seq, answer.error, answer.value]
            for client, (seq, answer) in self._sessions.items()
        ]
        return {"values": dict(self._values), "sessions": sessions}

    def restore(self, snapshot: Json) -> None:
        """Replace the state by `snapshot`."""
        self._values = dict(snapshot["values"])
        self._sessions = {
            client: (seq, Answer(error, value))
            for client, seq, error, value in snapshot["sessions"]
        }

    def size(self) -> int:
        """Keys, sessions, and elements of lists."""
        lists = [len(value) for value in self._values.values() if isinstance(value, list)]
        return len(self._values) + len(self._sessions) + sum(lists)

    def digest(self, *, in_order: bool = True) -> str:
        """64 bits, in hexadecimal: BLAKE2b of the state as JSON with sorted keys. Sessions are in
        their order, which determines the next eviction; or sorted by client, as long as there was
        no eviction."""
        items = list(self._sessions.items())
        if not in_order:
            if len(items) == self._sessions_max:
                return ""
            items.sort()
        sessions = [(client, seq, answer[0], answer[1]) for client, (seq, answer) in items]
        text = _encode([self._values, sessions])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


Operation: TypeAlias = Callable[[KeyValue, str, Json], Answer]
OPERATIONS: Final[dict[str, Operation]] = {
    "write": KeyValue._write,
    "cas": KeyValue._cas,
    "append": KeyValue._append,
}

SUPPORTED: Final = ("read", "noop", *OPERATIONS)
"""Every operation that `apply` supports."""


def same_json(one: Json, other: Json) -> bool:
    """Equality of JSON values: true is not 1, at any depth."""
    if isinstance(one, dict | list | tuple) or isinstance(other, dict | list | tuple):
        return canonical(one) == canonical(other)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)

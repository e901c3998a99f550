"""The reaper: removes everything of a run from the engine when its controller has died.

    python3 -m faults.agent.reaper LABEL=VALUE        with the engine's socket mounted at SOCKET

It is started and has reported that it is ready before anything else of a run is created. The
controller holds its standard input open. The line "done" ends it: the controller has removed
everything. When the input ends without that, the controller has died: the reaper removes all
containers, networks and volumes with the label, except itself, which the engine removes when it
ends.

The engine's API is used over its socket with the standard library alone; for paths without a
version every engine uses its default version.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

SOCKET: Final = "/var/run/docker.sock"
ROLE: Final = "antipaxos.role"
LIMIT_S: Final = 60.0
TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.1

Call = Callable[[str, str], Any]
"""(method, path) -> the JSON answer; None where there is none. Raises OSError."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def engine_call(method: str, path: str) -> Any:
    """One call to the engine. Raises OSError for an answer that is an error."""
    connection = _Connection(SOCKET)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status >= 400:
        raise OSError(f"{method} {path}: {answer.status} {body[:200]!r}")
    return json.loads(body) if body else None


def remove_all(label: str, call: Call) -> int:
    """Remove everything with the label; returns the number of items left, after at most LIMIT_S.

    Nodes are removed before the agents whose namespaces they use, networks and volumes last.
    """
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            found = _found(label, call)
        except (OSError, ValueError):  # the engine is busy, or being restarted
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)
            continue
        for path, name, items in found:
            try:
                call("DELETE", path.format(quote(items[name], safe="")))
            except (OSError, ValueError):
                continue  # in use: retry in the next round
        if not found or time.monotonic() > deadline:
            return len(found)
        time.sleep(PAUSE_S)


def _found(label: str, call: Call) -> list[tuple[str, str, dict[str, Any]]]:
    """(path of the deletion, field of the name, item) of everything with the label."""
    filters = quote(json.dumps({"label": [label]}))
    containers = call("GET", f"/containers/json?all=1&filters={filters}") or []
    others = [c for c in containers if (c.get("Labels") or {}).get(ROLE) != "reaper"]
    others.sort(key=lambda c: (c.get("Labels") or {}).get(ROLE) == "agent")
    found = [("/containers/{}?force=1&v=1", "Id", item) for item in others]
    networks = call("GET", f"/networks?filters={filters}") or []
    found += [("/networks/{}", "Id", item) for item in networks]
    volumes = (call("GET", f"/volumes?filters={filters}") or {}).get("Volumes") or []
    found += [("/volumes/{}?force=1", "Name", item) for item in volumes]
    return found


def main() -> None:
    label = sys.argv[1]
    engine_call("GET", "/version")  # fails at once where the socket cannot be used
    print(json.dumps({"hello": "reaper", "label": label}), flush=True)
    for line in sys.stdin:
        if line.strip() == "done":
            return
    left = remove_all(label, engine_call)
    print(json.dumps({"left": left}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

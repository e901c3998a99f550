"""One node: `python3 node.py SETTINGS_JSON`. Standard library and pysyncobj only.

Commands go through PySyncObj's log, reads too, so that both sides are linearizable. Its journal is
on (a memory-mapped file: it is not fsynced, ours are).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated


class Registers(SyncObj):  # type: ignore[misc, unused-ignore]
    """A dictionary with read, write and compare-and-set."""

    def __init__(self, own: str, others: list[str], journal: str) -> None:
        super().__init__(
            own,
            others,
            SyncObjConf(journalFile=journal, autoTickPeriod=0.005, appendEntriesPeriod=0.005),
        )
        self.data: dict[str, Any] = {}

    @replicated  # type: ignore[misc, untyped-decorator, unused-ignore]
    def apply(self, f: str, key: str, value: Any) -> list[Any]:
        """[error, value]"""
        if f == "write":
            self.data[key] = value
            return [None, None]
        seen = self.data.get(key)
        if f == "read":
            return [None, seen]
        if seen != value[0]:
            return ["mismatch", seen]
        self.data[key] = value[1]
        return [None, None]


async def serve(settings: dict[str, Any]) -> None:
    number = settings["node"]
    names = {int(n): f"{host}:{port}" for n, (host, port) in settings["addresses"].items()}
    others = [name for n, name in sorted(names.items()) if n != number]
    registers = Registers(names[number], others, f"{settings['data']}/journal")
    numbers = {name: n for n, name in names.items()}
    loop = asyncio.get_running_loop()

    def leader() -> int | None:
        found = registers._getLeader()
        return None if found is None else numbers.get(str(found))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def answer(request: dict[str, Any], result: list[Any]) -> None:
            body = {"id": request["id"], "node": number, "error": result[0], "leader": leader()}
            writer.write(json.dumps(body | {"value": result[1]}).encode() + b"\n")

        async for line in reader:
            request = json.loads(line)
            if request["f"] == "status":
                role = "leader" if leader() == number else "online_check"
                about = {"node": number, "role": role, "leader": leader(), "ballot": [0, number]}
                about |= {"wall_us": time.time_ns() // 1000, "monotonic_ns": time.monotonic_ns()}
                writer.write(json.dumps({"id": request["id"], **about}).encode() + b"\n")
            elif leader() != number:
                answer(request, ["not-leader" if leader() else "unavailable", None])
            else:

                def done(result: list[Any] | None, error: int, request: Any = request) -> None:
                    outcome = ["interrupted", None] if error or result is None else result
                    loop.call_soon_threadsafe(answer, request, outcome)

                registers.apply(request["f"], request["key"], request.get("value"), callback=done)

    server = await asyncio.start_server(client, "0.0.0.0", settings["client_port"])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))

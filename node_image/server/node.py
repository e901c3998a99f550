"""A whole node, from its settings until it stops or fails.

It recovers, listens for its peers and then for clients, logs "ready", and serves. It crashes
deliberately in two cases: if its disk fails (a node that cannot write must not vote), and if the
protocol raises an exception (after a bug its state is not reliable). Exit codes: 0 after SIGTERM or
SIGINT, 2 for invalid settings or an unsuitable environment, 3 for a damaged log, 4 for a failed
disk, 70 for a bug.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Final

from node_image.mutants import protocol_class
from node_image.protocols.context import Context
from node_image.server.clients import ClientPort
from node_image.server.codec import CodecError
from node_image.server.driver import Driver
from node_image.server.node_log import DecisionLog, NodeLog
from node_image.server.settings import BadSettings, Settings, parse_settings
from node_image.server.transport import Peers
from node_image.server.wal import CorruptLog, WriteAheadLog
from node_image.state_machine import KeyValue

EXIT_OK: Final = 0
EXIT_USAGE: Final = 2
EXIT_CORRUPT: Final = 3
EXIT_DISK: Final = 4
EXIT_BUG: Final = 70
LOG_COPIES_VARIABLE: Final = "ANTIPAXOS_LOG_COPIES"
"""The environment variable that enables two copies of the log, for runs with disk damage."""


class Server:
    """One node, from start to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._exit = EXIT_OK
        self._node_log = NodeLog(settings.node)
        context = Context(
            settings.node,
            settings.cluster,
            KeyValue(settings.cluster.sessions_max),
            Random(f"{settings.seed}:{settings.node}:protocol"),
            lambda: time.time_ns() // 1_000,
        )
        protocol = protocol_class(settings.protocol, settings.mutant)(context)
        copies = int(os.environ.get(LOG_COPIES_VARIABLE, "1"))
        recovery = getattr(protocol, "log_recovery", None)
        votes = settings.node in settings.cluster.voters
        self._wal = WriteAheadLog(settings.data, copies=copies, recovery=recovery, votes=votes)
        self._account = DecisionLog(settings.data)
        self._driver = Driver(
            protocol,
            settings.node,
            wal=self._wal,
            node_log=self._node_log,
            account=self._account,
            fail=self._fail,
        )
        self._peers = Peers(
            settings.node,
            settings.addresses,
            self._driver.messages,
            self._driver.deliver,
            self._node_log.log,
            self._driver.counters,
            lost=self._driver.peer_lost,
            connected=self._driver.peer_connected,
        )
        self._clients = ClientPort(self._driver, settings.node)
        self._driver.attach(self._peers, self._clients)

    async def run(self) -> int:
        """Serve until stopped. Returns the exit code. Raises OSError if a port is in use."""
        settings, driver = self._settings, self._driver
        self._node_log.log("started", protocol=settings.protocol, mutant=settings.mutant)
        records = self._read_log()
        self._wal.start(self._synced_from_thread, self._disk_error_from_thread)
        driver.start(records)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        peer_port = await self._peers.listen(settings.host, settings.peer_port, settings.transport)
        client_port = await self._clients.listen(settings.host, settings.client_port)
        self._peers.connect()
        self._node_log.log("ready", peer_port=peer_port, client_port=client_port)
        _tune_collector()
        await self._stop.wait()
        self._close()
        self._node_log.log("stopped", exit=self._exit)
        return self._exit

    def _read_log(self) -> list[tuple[object, ...]]:
        recovered = self._wal.recovered
        if self._wal.discarded:
            self._node_log.log("log-discarded", why=self._wal.discarded)
        if self._wal.repaired:
            self._node_log.log("log-repaired", kept=len(recovered.payloads))
        if recovered.torn:
            self._node_log.log("torn-tail", bytes=recovered.torn, kept=len(recovered.payloads))
        try:
            return [self._driver.records.decode(payload) for payload in recovered.payloads]
        except CodecError as error:
            raise CorruptLog(
                f"a record is whole but means nothing to this version: {error}"
            ) from None

    def _close(self) -> None:
        self._driver.stop()
        self._clients.close()
        self._peers.close()
        if self._exit == EXIT_OK:
            self._wal.close()
            self._account.close()

    # ------------------------------------------------------------------ from the log's thread

    def _synced_from_thread(self, count: int) -> None:
        self._loop.call_soon_threadsafe(self._driver.synced, count)

    def _disk_error_from_thread(self, error: OSError) -> None:
        self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: BaseException) -> None:
        """Crash-stop: log the reason, and exit."""
        if self._exit != EXIT_OK:
            return
        if isinstance(error, OSError):
            self._exit = EXIT_DISK
            self._node_log.log("disk-error", why=str(error), errno=error.errno)
        else:
            self._exit = EXIT_BUG
            self._node_log.log("bug", why=repr(error), traceback=traceback.format_exception(error))
        self._driver.halt()
        self._stop.set()


def _tune_collector() -> None:
    """Exclude existing objects from garbage collection: most new ones are freed without it."""
    sys.setswitchinterval(0.0005)  # the log's thread must not wait 5 ms for the interpreter lock
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def main(arguments: list[str]) -> int:
    """`python3 -m node_image CONFIG`: CONFIG is a JSON object, or the path of a file with one;
    without it the environment variable ANTIPAXOS_NODE is read."""
    try:
        settings = parse_settings(_configuration(arguments))
        return asyncio.run(_serve(settings))
    except CorruptLog as error:
        print(f"antipaxos node: damaged log: {error}", file=sys.stderr)
        return EXIT_CORRUPT
    except (BadSettings, OSError, ValueError) as error:
        print(f"antipaxos node: {error}", file=sys.stderr)
        return EXIT_USAGE


async def _serve(settings: Settings) -> int:
    return await Server(settings).run()


def _configuration(arguments: list[str]) -> str:
    if len(arguments) > 1:
        raise BadSettings("give one configuration: a JSON object, or the path of a file")
    text = arguments[0] if arguments else os.environ.get("ANTIPAXOS_NODE", "")
    if not text:
        raise BadSettings("no configuration: give it as the argument, or in ANTIPAXOS_NODE")
    return text if text.lstrip().startswith("{") else Path(text).read_text()

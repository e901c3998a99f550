"""A network that drops packets silently, and then heals: connections are closed and made again.
Needs root, `ip` and `tc`; everything it makes carries this process's number and is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from node_image.protocols.ballots import Ballot
from node_image.protocols.multi_paxos_messages import MESSAGES, Commit
from node_image.server.codec import Codec
from node_image.server.transport import Peers

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
    pytest.mark.skipif(not shutil.which("tc"), reason="needs ip and tc (iproute2)"),
]

PORT = 7000
DROP = "bpf da bytecode '1,6 0 0 2'"  # a classic BPF program: return TC_ACT_SHOT


def sh(command: str) -> None:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command}: {done.stderr.strip()}")


@pytest.fixture
def wire() -> Iterator[tuple[str, str, dict[int, tuple[str, int]]]]:
    """A namespace with a node behind a virtual cable: its name, our end, and both addresses."""
    space, ours, theirs = (f"ap{kind}{os.getpid()}" for kind in ("n", "a", "b"))
    block = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    try:
        try:
            sh(f"ip netns add {space}")
            sh(f"ip link add {ours} type veth peer name {theirs} netns {space}")
            sh(f"ip addr add {block}.1/30 dev {ours} && ip link set {ours} up")
            sh(f"ip -n {space} addr add {block}.2/30 dev {theirs}")
            sh(f"ip -n {space} link set {theirs} up && tc qdisc add dev {ours} clsact")
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield space, ours, {1: (f"{block}.1", PORT), 2: (f"{block}.2", PORT)}
    finally:
        with contextlib.suppress(OSError):
            sh(f"ip link del {ours}")
        with contextlib.suppress(OSError):
            sh(f"ip netns del {space}")


class Station:
    """One node that sends every few milliseconds, and records whether it receives."""

    def __init__(self, node: int, addresses: dict[int, tuple[str, int]]) -> None:
        self.node = node
        self.address = addresses[node]
        self.counters: Counter[str] = Counter()
        self.codec = Codec(MESSAGES)
        self.heard = 0
        self.peers = Peers(
            node,
            addresses,
            self.codec,
            self._hear,
            lambda *_, **__: None,
            self.counters,
            lost=lambda _: None,
            connected=lambda _: None,
        )

    def _hear(self, sender: int, message: tuple[Any, ...]) -> None:
        self.heard += 1

    async def talk(self) -> None:
        await self.peers.listen(*self.address, "tcp")
        self.peers.connect()
        while True:
            self.peers.send(3 - self.node, self.codec.frame(Commit(Ballot(1, 1), 1)))
            self.peers.flush()
            await asyncio.sleep(0.02)

    async def until_connected(self, connects: int) -> None:
        """Until messages arrive, and this node has made the given number of connections."""
        before = self.heard
        while self.heard < before + 3 or self.counters["transport.connects"] < connects:
            await asyncio.sleep(0.01)


async def scene(device: str, addresses: dict[int, tuple[str, int]]) -> None:
    station = Station(1, addresses)
    talking = asyncio.ensure_future(station.talk())
    try:
        async with asyncio.timeout(40):
            await station.until_connected(1)
            for cuts in (1, 2):
                for side in ("ingress", "egress"):
                    sh(f"tc filter add dev {device} {side} {DROP}")
                while station.counters["transport.disconnects"] < cuts:
                    await asyncio.sleep(
                        0.01
                    )  # the kernel alone would keep the connection for minutes
                sh(f"tc filter del dev {device} ingress; tc filter del dev {device} egress")
                await station.until_connected(cuts + 1)
    finally:
        talking.cancel()
        station.peers.close()


def test_a_silent_cut_is_detected_and_healed(wire: Any) -> None:
    space, device, addresses = wire
    try:
        sh(f"tc filter add dev {device} ingress {DROP} && tc filter del dev {device} ingress")
    except OSError as error:
        pytest.skip(f"this kernel's tc cannot drop packets: {error}")
    other = subprocess.Popen(
        ["ip", "netns", "exec", space, sys.executable, __file__, repr(addresses)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        asyncio.run(scene(device, addresses))
    finally:
        other.kill()
        other.wait()


if __name__ == "__main__":
    asyncio.run(Station(2, eval(sys.argv[1])).talk())

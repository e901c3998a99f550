"""Packets between real network namespaces: dropped, silently, one way, and let through again."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.agent.pods import Agent, lone_agent, pods

pytestmark = pytest.mark.netns
_nonces = itertools.count(1)


@pytest.fixture(scope="module")
def three() -> Iterator[list[Agent]]:
    with pods(3) as agents:
        yield agents


@pytest.fixture(autouse=True)
def healed(three: list[Agent]) -> Iterator[None]:
    yield
    for agent in three:
        agent.do("heal")


def everybody(agents: list[Agent], do: str, requests: list[dict[str, Any]]) -> list[Any]:
    """The same request to all at once, as the controller sends it."""
    answers: list[Any] = [None] * len(agents)

    def one(i: int) -> None:
        answers[i] = agents[i].do(do, **requests[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(agents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def open_links(
    agents: list[Agent], v6: bool = False, expect: set[tuple[int, int]] | None = None
) -> set[tuple[int, int]]:
    """The directed links on which probes arrive."""
    names = range(1, len(agents) + 1)
    address = (lambda n: f"fd98::{n}") if v6 else (lambda n: agents[n - 1].address)
    nonce = next(_nonces)
    requests: list[dict[str, Any]] = [
        {"peers": {str(n): address(n) for n in names if n != own}, "nonce": nonce, "listen_ms": 150}
        for own in names
    ]
    for own, request in zip(names, requests, strict=True):
        if expect is not None:
            request["expect"] = [a for a, b in sorted(expect) if b == own]
    answers = everybody(agents, "probe_links", requests)
    return {(int(a), b) for b in names for a in answers[b - 1]["arrived"]}


ALL = {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b}


def test_at_first_all_links_are_open(three: list[Agent]) -> None:
    assert three[0].hello["can"]["links"] == {"ok": True, "how": "clsact+bpf"}
    assert open_links(three, expect=ALL) == ALL
    assert open_links(three, v6=True, expect=ALL) == ALL


def test_a_drop_has_a_direction_and_is_healed(three: list[Agent]) -> None:
    three[0].do("links", drop_to=[three[1].address])
    assert open_links(three) == ALL - {(1, 2)}
    assert open_links(three, v6=True) == ALL, "the IPv6 address was not named"
    three[0].do("links", drop_to=[three[2].address])
    assert open_links(three) == ALL - {(1, 3)}, "each request is the whole set"
    three[0].do("links", drop_to=[])
    assert open_links(three, expect=ALL) == ALL


def test_ipv6_is_dropped_by_its_address(three: list[Agent]) -> None:
    three[2].do("links", drop_to=["fd98::1"])
    assert open_links(three, v6=True) == ALL - {(3, 1)}
    assert open_links(three) == ALL


def test_two_halves_of_a_cut_at_the_same_time(three: list[Agent]) -> None:
    at_ns = time.monotonic_ns() + 30_000_000
    everybody(
        three,
        "links",
        [
            {"drop_to": [three[1].address, three[2].address], "at_ns": at_ns},
            {"drop_to": [three[0].address], "at_ns": at_ns},
            {"drop_to": [three[0].address], "at_ns": at_ns},
        ],
    )
    assert open_links(three) == {(2, 3), (3, 2)}


def test_the_requested_time_is_waited_for(three: list[Agent]) -> None:
    at_ns = time.monotonic_ns() + 20_000_000
    answer = three[0].do("links", drop_to=[three[1].address], at_ns=at_ns)
    assert at_ns <= answer["began_ns"] <= answer["done_ns"] <= time.monotonic_ns()


SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: errors of the network would be raised
for _ in range(3):
    sender.sendto(b"x", (sys.argv[1], 9))
print("sent")
"""


def test_a_drop_is_silent_for_tcp(three: list[Agent]) -> None:
    """No error reaches a connected sender: data waits and arrives after healing."""
    here, there = three[0], three[1]
    with _listener(there) as listener, _in_netns_of(here) as connect:
        sender = connect(there.address, listener.getsockname()[1])
        receiver, _ = listener.accept()
        here.do("links", drop_to=[there.address])
        sender.sendall(b"into the void")
        receiver.settimeout(0.2)
        with pytest.raises(TimeoutError):
            receiver.recv(100)
        here.do("links", drop_to=[])
        receiver.settimeout(20)
        assert receiver.recv(100) == b"into the void"
        sender.close()
        receiver.close()


def test_loss_drops_only_some_packets(three: list[Agent]) -> None:
    """200 datagrams at one half: fewer than 20 or more than 180 have a probability of 10^-30."""
    here, there = three[0], three[1]
    here.do("links", drop_to=[], loss={there.address: 0.5})
    assert here.do("status")["loss"] == {there.address: 0.5}
    with _receiver(there) as receiver, _in_netns_of(here) as connect:
        sender = connect(there.address, receiver.getsockname()[1], socket.SOCK_DGRAM)
        for _ in range(200):
            sender.send(b"x")
        here.do("links", drop_to=[])
        sender.send(b"end")
        arrived = list(iter(lambda: receiver.recv(10), b"end"))
        sender.close()
    assert 20 <= len(arrived) <= 180


def test_the_filter_does_not_affect_the_loopback_and_other_hosts(three: list[Agent]) -> None:
    three[0].do("links", drop_to=["10.98.0.77", "fd98::77"])
    assert open_links(three, expect=ALL) == ALL


GROUPS = ("broadcast", "multicast", "multicast6")


def open_groups(agents: list[Agent]) -> dict[str, set[tuple[int, int]]]:
    """By kind of group, the directed links on which broadcasts or multicasts arrive."""
    names = range(1, len(agents) + 1)
    peers = {str(n): addresses_of(agents[n - 1]) for n in names}
    nonce = next(_nonces)
    requests = [
        {
            "peers": {n: a for n, a in peers.items() if n != str(own)},
            "expect": [],
            "nonce": nonce,
            "listen_ms": 150,
            "groups": True,
        }
        for own in names
    ]
    answers = everybody(agents, "probe_links", requests)
    return {
        kind: {(int(a), b) for b in names for a in answers[b - 1]["groups"][kind]}
        for kind in GROUPS
    }


def addresses_of(agent: Agent) -> list[str]:
    found = agent.do("addresses")["interfaces"]
    return [address for one in found.values() for address in one["addresses"]]


def test_broadcast_and_multicast_are_cut_by_the_receiver(three: list[Agent]) -> None:
    assert open_groups(three) == dict.fromkeys(GROUPS, ALL)
    three[1].do("links", drop_from=addresses_of(three[0]))
    assert open_groups(three) == dict.fromkeys(GROUPS, ALL - {(1, 2)})
    assert open_links(three) == ALL - {(1, 2)}, "and unicast as well"
    three[1].do("links", drop_from=[])
    assert open_groups(three) == dict.fromkeys(GROUPS, ALL)


def test_broadcasts_are_lost_at_the_receiver(three: list[Agent]) -> None:
    three[1].do("links", loss_from=dict.fromkeys(addresses_of(three[0]), 0.999_999))
    assert open_groups(three) == dict.fromkeys(GROUPS, ALL - {(1, 2)})
    assert open_links(three, expect=ALL) == ALL


def test_a_hardware_address_cuts_every_protocol(three: list[Agent]) -> None:
    hardware = three[0].do("addresses")["interfaces"]["eth0"]["hardware"]
    three[1].do("links", drop_from=[hardware], drop_to=[hardware])
    assert open_links(three) == ALL - {(1, 2), (2, 1)}
    assert open_links(three, v6=True) == ALL - {(1, 2), (2, 1)}
    assert open_groups(three) == dict.fromkeys(GROUPS, ALL - {(1, 2)})


def test_address_resolution_is_cut_on_request_and_reported(three: list[Agent]) -> None:
    both = {"drop_to": [three[1].address], "drop_from": [three[1].address]}
    assert "arp" in three[0].do("links", **both)["passes"]
    assert _resolves(three[1], three[0])
    assert three[0].do("links", **both, cut_neighbours=True)["passes"] == []
    assert not _resolves(three[1], three[0])
    assert _resolves(three[1], three[2])
    three[0].do("links", drop_to=[])
    assert _resolves(three[1], three[0])


def _resolves(asking: Agent, asked: Agent) -> bool:
    """Whether an ARP request is answered, checked with an empty neighbour table."""
    enter = ["nsenter", f"--net=/proc/{asking.pid}/ns/net", "ip", "neigh"]
    subprocess.run([*enter, "flush", "dev", "eth0"], check=True, capture_output=True)
    asking.do("probe_links", peers={"x": asked.address}, nonce=next(_nonces), listen_ms=40)
    shown = subprocess.run([*enter, "show", asked.address], check=True, capture_output=True)
    return b"lladdr" in shown.stdout


def test_invalid_input_is_refused_and_changes_nothing(three: list[Agent]) -> None:
    three[0].do("links", drop_to=[three[1].address])
    for wrong in (
        {"drop_to": ["n2"]},
        {"drop_to": "10.98.0.2"},
        {"loss": {"10.98.0.2": 2}},
        {"loss": {"10.98.0.2": "much"}},
        {"drop_to": [], "at_ns": time.monotonic_ns() + 10**12},
    ):
        answer = three[0].ask("links", **wrong)
        assert not answer["ok"] and answer["error"] and answer["remedy"], wrong
        assert answer["kind"] == "bad-request"
    assert three[0].do("status")["drop_to"] == [three[1].address]


def test_an_answered_probe_does_not_wait_but_a_closed_link_is_waited_for() -> None:
    with pods(2) as two:
        both = {(1, 2), (2, 1)}
        assert open_links(two, expect=both) == both
        two[0].do("links", drop_to=[two[1].address])
        started = time.monotonic()
        assert open_links(two, expect={(2, 1)}) == {(2, 1)}
        assert time.monotonic() - started >= 0.15


def test_a_namespace_without_an_interface_is_an_error() -> None:
    with lone_agent() as agent:
        netns = f"/proc/{agent.pid}/ns/net"
        down = ["nsenter", f"--net={netns}", "ip", "link", "set", "eth0", "down"]
        subprocess.run(down, check=True)
        answer = agent.ask("links", drop_to=["10.0.0.1"])
        assert not answer["ok"] and "no interface" in answer["error"]
        agent.do("links")


def test_the_filters_are_removed_when_the_input_ends() -> None:
    with pods(2, linger_s=60) as two:
        two[0].do("links", drop_to=[two[1].address])
        assert '"healed"' in two[0].hang_up()
        answer = two[1].do("probe_links", peers={"1": two[0].address}, nonce="x", listen_ms=1)
        assert answer["arrived"] == []
        with _receiver(two[1]) as receiver, _in_netns_of(two[0]) as connect:
            sender = connect(two[1].address, receiver.getsockname()[1], socket.SOCK_DGRAM)
            sender.send(b"healed")
            assert receiver.recv(10) == b"healed"
            sender.close()


# ------------------------------------------------------------- sockets in other network namespaces


def test_a_datagram_sender_sees_no_error(three: list[Agent]) -> None:
    three[0].do("links", drop_to=[three[1].address])
    netns = f"--net=/proc/{three[0].pid}/ns/net"
    command = ["nsenter", netns, sys.executable, "-c", SEND, three[1].address]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (0, "sent\n"), shown.stderr


def _inside(agent: Agent, make: Any) -> Any:
    """The result of `make`, called by a thread that has joined the agent's network namespace."""
    import ctypes  # noqa: PLC0415

    box: list[Any] = []

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{agent.pid}/ns/net") as namespace:  # noqa: PTH123
            assert libc.setns(namespace.fileno(), 0) == 0
        box.append(make())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return box[0]


def _listener(agent: Agent) -> Any:
    return _inside(agent, lambda: socket.create_server(("", 0)))


def _receiver(agent: Agent) -> Any:
    def make() -> socket.socket:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("", 0))
        receiver.settimeout(20)
        return receiver

    return _inside(agent, make)


class _in_netns_of:  # noqa: N801
    """`with _in_netns_of(agent) as connect`: sockets that are connected from there."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def __enter__(self) -> Any:
        def connect(address: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
            def make() -> socket.socket:
                made = socket.socket(socket.AF_INET, kind)
                made.connect((address, port))
                return made

            return _inside(self._agent, make)  # type: ignore[no-any-return]

        return connect

    def __exit__(self, *_: object) -> None:
        return None

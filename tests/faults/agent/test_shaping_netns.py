"""Delays, copies, disorder and rates on real links, seen by the agents' own measurements."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.agent.pods import Agent, pods, until
from tests.faults.agent.real_links import inside, measured, nonces

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def three() -> Iterator[list[Agent]]:
    with pods(3) as agents:
        yield agents


@pytest.fixture(autouse=True)
def healed(three: list[Agent]) -> Iterator[None]:
    yield
    for agent in three:
        agent.do("heal")


def test_a_delay_has_a_direction_and_affects_no_other_link(three: list[Agent]) -> None:
    assert three[0].hello["can"]["shaping"]["ok"]
    three[0].do("shape", shapes={three[1].address: {"delay_us": 40_000}})
    links = measured(three)
    assert all(link["received"] == 50 for link in links.values()), links
    assert links[1, 2]["delay_us"]["min"] >= 40_000
    assert all(links[other]["delay_us"]["p50"] < 40_000 for other in links if other != (1, 2))
    three[0].do("shape", shapes={})
    assert measured(three)[1, 2]["delay_us"]["p50"] < 40_000


def test_each_link_has_its_own_shape_and_is_changed_in_place(three: list[Agent]) -> None:
    second, third = three[1].address, three[2].address
    three[0].do("shape", shapes={second: {"delay_us": 30_000}, third: {"duplicate": 1.0}})
    links = measured(three)
    assert links[1, 2]["delay_us"]["min"] >= 30_000 and links[1, 2]["duplicates"] == 0
    assert links[1, 3]["delay_us"]["p50"] < 30_000 and links[1, 3]["duplicates"] == 50
    three[0].do("shape", shapes={second: {"delay_us": 60_000}})
    links = measured(three)
    assert links[1, 2]["delay_us"]["min"] >= 60_000
    assert links[1, 3]["duplicates"] == 0


def test_jitter_and_holding_back_reorder_packets(three: list[Agent]) -> None:
    second, third = three[1].address, three[2].address
    three[0].do(
        "shape",
        shapes={
            second: {"delay_us": 20_000, "jitter_us": 20_000},
            third: {"reorder": 0.3, "reorder_us": 20_000},
        },
    )
    links = measured(three)
    for link in (links[1, 2], links[1, 3]):
        assert link["received"] == 50 and link["reordered"] > 0
    assert links[1, 2]["delay_us"]["deviation"] > 5_000
    assert links[2, 3]["reordered"] == 0


def test_corrupt_packets_do_not_arrive_and_copies_come_later(three: list[Agent]) -> None:
    second, third = three[1].address, three[2].address
    copies = {"duplicate": 1.0, "duplicate_us": 10_000}
    three[0].do("shape", shapes={second: {"corrupt": 1.0}, third: copies})
    links = measured(three)
    assert links[1, 2]["received"] == 0, "every checksum must fail, except for some IP headers"
    assert links[1, 3]["received"] == 50 and links[1, 3]["duplicates"] == 50


def test_damaged_packets_are_told_from_lost_ones(three: list[Agent]) -> None:
    second, third = three[1].address, three[2].address
    three[0].do("shape", shapes={second: {"corrupt": 1.0}, third: {"corrupt": 0.5}})
    three[0].do("links", drop_to=[], loss={second: 0.5})
    names = {str(n): agent.address for n, agent in enumerate(three, 1)}
    nonce = f"m{next(nonces)}"
    for agent in three:
        assert agent.do("capture_links", nonce=nonce, sources=names)["captures"]
    links = measured(three, nonce=nonce, count=200, size=1_400)
    assert links[1, 2]["received"] == 0 and 0 < links[1, 2]["damaged"] < 150
    assert links[1, 3]["received"] < 200
    assert links[1, 3]["received"] + links[1, 3]["damaged"] > 180, "a bridge drops bad headers"
    assert links[2, 3]["received"] == 200 and links[2, 3]["damaged"] == 0
    assert "damaged" not in measured(three)[1, 2], "of that round alone"


def test_datagrams_that_are_sent_at_once_overtake_one_another_in_a_short_time(
    three: list[Agent],
) -> None:
    three[0].do("shape", shapes={three[1].address: {"reorder": 0.5, "reorder_us": 5_000}})
    links = measured(three, count=200, gap_us=6_000, together=4)
    assert links[1, 2]["reordered"] > 0, "a pause of 6 ms between any two would be too long"
    assert links[1, 3]["received"] == 200 and links[1, 3]["reordered"] == 0


def test_a_class_of_packets_is_told_apart_by_what_it_holds(three: list[Agent]) -> None:
    second = three[1].address
    classes = {"Accept": {"delay_us": 40_000}, "Promise": {"loss": 1}}
    three[0].do("shape", shapes={second: {"classes": classes}})
    accept = measured(three, text="Accept")
    assert accept[1, 2]["delay_us"]["min"] >= 40_000 and accept[1, 3]["delay_us"]["p50"] < 40_000
    assert measured(three, text="Promise")[1, 2]["received"] == 0
    assert measured(three)[1, 2]["delay_us"]["p50"] < 40_000
    three[0].do("shape", shapes={})
    assert measured(three, text="Promise")[1, 2]["received"] == 50


def test_a_rate_limits_one_link(three: list[Agent]) -> None:
    """30 datagrams of 1,042 bytes take at least 250 ms at one megabit a second."""
    three[0].do("shape", shapes={three[1].address: {"rate_bps": 1_000_000}})
    links = measured(three, count=30, gap_us=0, size=1000, listen_ms=400)
    assert links[1, 2]["received"] == 30
    assert links[1, 2]["rate_bps"] <= 1_050_000
    assert links[1, 3]["rate_bps"] > 1_050_000


def test_the_addresses_of_one_host_share_the_rate_and_the_queue(three: list[Agent]) -> None:
    """Each would otherwise have a whole one, and the link twice as much."""
    both, slow = [three[1].address, "fd98::2"], {"rate_bps": 1_000_000}
    shapes = dict.fromkeys(both, slow)
    asked: dict[str, Any] = {"count": 30, "gap_us": 0, "size": 1000, "listen_ms": 700}
    for together, bits in (([both], 30 * 8_000), ([], 15 * 8_000)):
        three[0].do("shape", shapes=shapes, same_link=together)
        asked["nonce"] = f"m{next(nonces)}"
        three[0].send("measure_links", peers={"2": both}, **asked)
        sources = {"1": [three[0].address, "fd98::1"]}
        link = three[1].do("measure_links", peers={}, sources=sources, traffic=True, **asked)
        three[0].read()
        link = link["links"]["1"]
        assert link["received"] == 30 and link["duplicates"] == 0
        assert bits <= link["took_us"] < 1.6 * bits
        assert 30 * 1_042 <= link["carried_bytes"] < 36 * 1_042
    limited = dict.fromkeys(both, slow | {"limit": 10})
    three[0].do("shape", shapes=limited, same_link=[both])
    asked["nonce"] = f"m{next(nonces)}"
    three[0].send("measure_links", peers={"2": both}, **asked)
    got = three[1].do("measure_links", peers={}, sources=sources, **asked)["links"]["1"]
    three[0].read()
    assert 10 <= got["received"] <= 12
    other = shapes | {"fd98::2": {"delay_us": 5}}
    for wrong in (
        {"shapes": shapes, "same_link": both},
        {"shapes": other, "same_link": [both]},
        {"shapes": shapes, "same_link": [both, both]},
    ):
        answer = three[0].ask("shape", **wrong)
        assert not answer["ok"] and answer["kind"] == "bad-request", wrong


@pytest.mark.parametrize(
    ("shape", "lost"),
    [
        ({"delay_us": 200_000, "limit": 10}, 20),
        ({"delay_us": 200_000, "limit": 30}, 0),
        ({"classes": {"antipaxos": {"delay_us": 200_000}}, "limit": 10}, 20),
        ({"rate_bps": 64_000, "limit": 10}, 0),
    ],
)
def test_packets_that_a_delay_has_no_room_for_are_told_once(
    three: list[Agent], shape: dict[str, Any], lost: int
) -> None:
    """A queue of limited rate drops as a router's does; a delay should drop none."""
    if "netem" in three[0].hello["can"]["shaping"]["how"]:
        pytest.skip("netem does not tell it")
    there = three[1].address
    for then in ({there: shape}, {}):
        assert not three[0].do("shape", shapes={there: shape})["failed"]
        asked = {"peers": {"2": there}, "nonce": f"m{next(nonces)}", "listen_ms": 20}
        three[0].do("measure_links", count=30, gap_us=0, **asked)
        told = three[0].do("shape", shapes=then)["failed"]
        assert told.startswith(f"{lost} packets were dropped") if lost else not told
        assert not three[0].do("shape", shapes={})["failed"]


def test_held_packets_are_sent_when_the_shape_ends(three: list[Agent]) -> None:
    if "netem" in three[0].hello["can"]["shaping"]["how"]:
        pytest.skip("netem drops what it holds")
    three[0].do("shape", shapes={three[1].address: {"delay_us": 30_000_000}})
    peers = {"2": three[1].address}
    three[0].do("measure_links", peers=peers, nonce="held", count=20, gap_us=0, listen_ms=0)
    assert three[0].do("status")["shapes"]["wire"]["links"][three[1].address]["held"] == 20
    three[0].do("shape", shapes={})
    back = {"1": three[0].address}
    came = until(
        lambda: (
            three[1]
            .do("measure_links", peers=back, nonce="held", count=1, gap_us=0, listen_ms=5)["links"][
                "1"
            ]
            .get("received")
        ),
        "the packets that were held",
    )
    assert came == 20


def test_all_other_destinations_can_be_shaped(three: list[Agent]) -> None:
    """As for a link to clients, whose addresses are unknown."""
    three[0].do("shape", shapes={three[1].address: {}, "*": {"delay_us": 30_000}})
    links = measured(three)
    assert links[1, 2]["delay_us"]["min"] >= 30_000, "an empty shape is none"
    assert links[1, 3]["delay_us"]["min"] >= 30_000
    assert links[2, 1]["delay_us"]["p50"] < 30_000


def test_cuts_and_shapes_work_together(three: list[Agent]) -> None:
    three[0].do("shape", shapes={three[1].address: {"delay_us": 20_000}})
    three[0].do("links", drop_to=[three[2].address], loss={three[1].address: 0.5})
    links = measured(three)
    assert links[1, 3]["received"] == 0
    assert 0 < links[1, 2]["received"] < 50
    assert links[1, 2]["delay_us"]["min"] >= 20_000


@pytest.mark.parametrize("shape", [{}, {"delay_us": 20_000, "duplicate": 1.0}, {"loss": 1}])
def test_packets_are_seen_once_whatever_happens_to_them(
    three: list[Agent], shape: dict[str, Any]
) -> None:
    """Where the node has sent them: before the wire delays, copies or drops them."""
    to = three[1].address
    three[0].do("shape", shapes={to: {"classes": {"Accept": shape}}} if shape else {})
    seen = three[0].send("await_packets", pattern='["Accept",', count=20, within_s=3)
    settle(three[0])
    sent = {"peers": {"2": to}, "count": 10, "gap_us": 1_000, "listen_ms": 0}
    three[0].send("measure_links", nonce=f"m{next(nonces)}", text='["Accept",', **sent)
    answers = {answer["id"]: answer for answer in (three[0].read(), three[0].read())}
    assert answers[seen]["seen"] == 10, "not 20, and not none"


def settle(agent: Agent) -> None:
    """Until it captures packets: the kernel lists its sockets."""
    until(lambda: "0003" in inside(agent, "cat", "/proc/net/packet"), "a socket that captures")


TUNNEL = """
import fcntl, os, select, socket, struct, subprocess, time
device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))
for words in ("addr add 10.97.0.1/24 dev tun0", "addr add fd97::1/64 dev tun0 nodad",
              "link set tun0 up"):
    subprocess.run(["ip", *words.split()], check=True)
ipv4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ipv6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
print("ready", flush=True)
while text := input():
    sender = ipv6 if ":" in text else ipv4
    sent = time.monotonic()
    sender.sendto(b"datagram", (text, 9))
    came = []
    while len(came) < 2 and select.select([device], [], [], 0.5)[0]:
        packet = os.read(device, 2000)
        if packet.endswith(b"datagram"):
            came.append(int(1e6 * (time.monotonic() - sent)))
    print(*came, flush=True)
"""


def test_packets_of_an_interface_without_ethernet_headers_are_shaped(three: list[Agent]) -> None:
    """As of a VPN that the node has joined: a packet begins with its IP header."""
    if "netem" in three[0].hello["can"]["shaping"]["how"]:
        pytest.skip("the wire alone looks at headers")
    enter = ["nsenter", f"--net=/proc/{three[0].pid}/ns/net", sys.executable, "-c", TUNNEL]
    with subprocess.Popen(
        enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tunnel:
        assert tunnel.stdin is not None and tunnel.stdout is not None
        assert tunnel.stdout.readline() == "ready\n"

        def times(address: str) -> list[int]:
            assert tunnel.stdin is not None and tunnel.stdout is not None
            tunnel.stdin.write(f"{address}\n")
            tunnel.stdin.flush()
            return [int(word) for word in tunnel.stdout.readline().split()]

        for second, third in (("10.97.0.2", "10.97.0.3"), ("fd97::2", "fd97::3")):
            late, twice = {"delay_us": 80_000}, {"duplicate": 1.0, "duplicate_us": 1_000}
            three[0].do("shape", shapes={second: late, third: twice})
            took_us = times(second)
            assert len(took_us) == 1 and took_us[0] >= 80_000
            assert len(times(third)) == 2
            three[0].do("shape", shapes={second: {"corrupt": 1.0}})
            assert len(times(second)) <= 1, "the text may be damaged"
            counts = three[0].do("status")["shapes"]["wire"]["links"][second]
            assert (counts["passed"], counts["corrupted"]) == (2, 1)
            three[0].do("links", drop_to=[third])
            assert times(third) == []
        tunnel.stdin.write("\n")


def _index(agent: Agent) -> str:
    return inside(agent, "ip", "-o", "link", "show", "eth0").partition(":")[0]


def test_if_the_wire_fails_its_filter_is_removed_and_packets_pass(three: list[Agent]) -> None:
    """Its device is closed while it runs: reading then fails, as after any error of the thread."""
    three[0].do("shape", shapes={three[1].address: {"delay_us": 20_000}})
    inside(three[0], "ip", "link", "del", "apx-wire" + _index(three[0]))
    until(lambda: three[0].do("status")["shapes"]["wire"]["failure"], "the wire's end")
    link = measured(three)[1, 2]
    assert link["received"] == 50 and link["delay_us"]["p50"] < 20_000
    answer = three[0].do("shape", shapes={three[1].address: {"delay_us": 20_000}})
    assert measured(three)[1, 2]["delay_us"]["min"] >= 20_000, "it is started again"
    assert "the wire ended" in answer["failed"], "and tells that links were not shaped meanwhile"
    assert three[0].do("shape", shapes={})["failed"] == "", "once"


CROWDED = """
import resource, socket, sys, time
from faults.agent.link_shape import Shape
from faults.agent.traffic import TrafficCounter
from faults.agent.wire import Wire

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
wire, here, there = Wire(), *sys.argv[1:]
files = [open("/dev/null") for _ in range(1100)]
wire.set({there: Shape(delay_us=1000)}, lambda: None)
deadline = time.monotonic() + 20

def wait(condition):
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)

sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
with TrafficCounter() as counter:
    sender.sendto(b"x", (there, 9))
    sender.sendto(b"x", (here, 9))
    wait(lambda: "passed" in wire.state()["links"][there] and here in counter.bytes_from)
print(wire.state()["failure"], wire.state()["links"][there]["passed"], here in counter.bytes_from)
wire.close()
"""


def test_an_agent_with_many_open_files_shapes_and_counts(three: list[Agent]) -> None:
    """As that of a node that has many files open on its disk with faults: select() takes no
    descriptor from 1024 on."""
    here, there = three[0].address, three[1].address
    three[0].do("heal")
    shown = inside(three[0], sys.executable, "-c", CROWDED, here, there)
    assert shown == " 1 True\n"


def test_invalid_input_is_refused_and_changes_nothing(three: list[Agent]) -> None:
    wanted = {three[1].address: {"delay_us": 1_000}}
    three[0].do("shape", shapes=wanted)
    for wrong in (
        [],
        {"n2": {"delay_us": 1}},
        {"10.98.0.2": 5},
        {"10.98.0.2": {"delay_us": -1}},
        {"10.98.0.2": {"delay_us": 1.5}},
        {"10.98.0.2": {"delay_ms": 1}},
        {"10.98.0.2": {"duplicate": 1.1}},
        {"10.98.0.2": {"distribution": "cauchy"}},
        {"10.98.0.2": {"reorder": 0.5}},
        {"10.98.0.2": {"rate_bps": 10}},
        {"02:42:ac:11:00:02": {"delay_us": 1}},
    ):
        answer = three[0].ask("shape", shapes=wrong)
        assert not answer["ok"] and answer["kind"] == "bad-request" and answer["remedy"], wrong
    assert (
        wanted[three[1].address].items()
        <= three[0].do("status")["shapes"]["wire"]["links"][three[1].address].items()
        or three[0].do("status")["shapes"]["netem"]
    )


def test_the_requested_time_is_waited_for(three: list[Agent]) -> None:
    at_ns = time.monotonic_ns() + 20_000_000
    shapes = {three[1].address: {"delay_us": 1_000}}
    answer = three[0].do("shape", shapes=shapes, at_ns=at_ns)
    assert at_ns <= answer["began_ns"] <= answer["done_ns"] <= time.monotonic_ns()

"""Interfaces that come, go, or are changed by others while links are cut and shaped, and what is
left on them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.agent.pods import Agent, lone_agent, pods, until
from tests.faults.agent.real_links import SIDES, inside, measured, settings

pytestmark = pytest.mark.netns
CUT = str(0x0A630003)  # 10.99.0.3, as it is shown in a filter


def test_healing_restores_the_interface() -> None:
    with pods(2) as (here, there):
        inside(here, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf",
               "rate", "1gbit", "burst", "1mb", "latency", "50ms")  # fmt: skip
        here.do("heal")
        before = settings(here)
        here.do("links", drop_to=[there.address], drop_from=[there.address])
        here.do("shape", shapes={there.address: {"delay_us": 10_000}})
        assert settings(here) != before
        here.do("links", drop_to=[])
        assert measured([here, there])[1, 2]["delay_us"]["min"] >= 10_000
        here.do("heal")
        assert settings(here) == before and "tbf" in before


@pytest.mark.parametrize("first", ["links", "shape"])
def test_healing_removes_what_a_cut_and_a_shape_share(first: str) -> None:
    with pods(2) as (here, there):
        here.do("heal")
        before = settings(here)
        how: dict[str, Any] = {
            "links": {"drop_to": [there.address]},
            "shape": {"shapes": {there.address: {"delay_us": 10_000}}},
        }
        for do in sorted(how, reverse=first == "shape"):
            here.do(do, **how[do])
        assert "clsact" in settings(here)
        here.do("heal")
        assert settings(here) == before and "clsact" not in before


@pytest.mark.parametrize("removed", ["qdisc", "filters"])
def test_filters_that_somebody_else_has_removed_are_told_and_set_again(removed: str) -> None:
    def remove() -> None:
        if removed == "qdisc":
            inside(here, "tc", "qdisc", "del", "dev", "eth0", "clsact")
        else:
            inside(here, "tc", "filter", "del", "dev", "eth0", "egress")

    with pods(2) as (here, there):
        here.do("heal")
        before = settings(here)
        shapes = {there.address: {"delay_us": 20_000}}
        for _ in range(2):
            assert here.do("links", drop_to=["10.98.0.9"])["problems"] == []
            assert here.do("shape", shapes=shapes)["failed"] == ""
            remove()
            (problem,) = here.do("links", drop_to=["10.98.0.8"])["problems"]
            assert problem == "somebody else has removed the filters of eth0"
            assert "redirection of eth0" in here.do("shape", shapes=shapes)["failed"]
            assert measured([here, there])[1, 2]["delay_us"]["min"] >= 20_000
            assert here.do("shape", shapes={})["failed"] == ""
            assert here.do("links")["problems"] == []
        here.do("heal")
        assert settings(here) == before


def test_shapes_are_removed_when_the_input_ends() -> None:
    with pods(2, linger_s=60) as (here, there):
        here.do("heal")
        before = settings(here)
        here.do("shape", shapes={there.address: {"delay_us": 10_000}})
        assert '"problems": []' in here.hang_up()
        assert settings(here) == before


def test_filters_of_others_are_kept() -> None:
    with pods(2) as (here, there):
        here.do("heal")
        inside(here, "tc", "qdisc", "add", "dev", "eth0", "clsact")
        inside(here, "tc", "filter", "add", "dev", "eth0", "egress", "prio", "7", "protocol", "ip",
               "u32", "match", "ip", "dst", "10.98.0.99", "classid", "1:1")  # fmt: skip
        before = settings(here)
        here.do("links", drop_to=[there.address])
        here.do("shape", shapes={there.address: {"delay_us": 10_000}})
        here.do("heal")
        assert settings(here) == before and "u32" in before


def second_network(here: Agent, there: Agent) -> None:
    """As `docker network connect` adds it: 10.99.0.1 here, 10.99.0.2 and 10.99.0.3 there."""
    inside(here, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1",
           "netns", str(there.pid))  # fmt: skip
    for agent, address in ((there, "10.99.0.2"), (here, "10.99.0.1")):
        inside(agent, "ip", "addr", "add", f"{address}/24", "dev", "eth1")
        inside(agent, "ip", "link", "set", "eth1", "up")
    inside(there, "ip", "addr", "add", "10.99.0.3/24", "dev", "eth1")


def test_an_interface_added_later_is_shaped_and_cut_too() -> None:
    with pods(2) as (here, there):
        here.do("shape", shapes={"10.99.0.2": {"delay_us": 20_000}})
        here.do("links", drop_to=["10.99.0.3"])
        second_network(here, there)
        until(
            lambda: "mirred" in inside(here, "tc", "filter", "show", "dev", "eth1", "egress"),
            "filters on the new interface",
        )
        asked = {"count": 10, "gap_us": 1000, "listen_ms": 100, "nonce": "later"}
        here.send("measure_links", peers={"2": "10.99.0.2", "3": "10.99.0.3"}, **asked)
        got = there.do("measure_links", peers={"1": "10.99.0.1"}, **asked)
        here.read()
        assert got["links"]["1"]["received"] == 10, "the ten to 10.99.0.2, none to 10.99.0.3"
        assert got["links"]["1"]["delay_us"]["min"] >= 20_000


def set_interface(agent: Agent, state: str) -> None:
    inside(agent, "ip", "link", "set", "eth1", state)
    time.sleep(0.1)  # until the agent has noticed, which does not show


def rules_of(agent: Agent) -> str:
    shown = [inside(agent, "tc", "filter", "show", "dev", "eth1", side) for side in SIDES]
    return "".join(shown)


def test_what_ends_while_an_interface_is_down_has_ended_when_it_comes_up_again() -> None:
    with pods(2) as (here, there):
        second_network(here, there)
        here.do("heal")
        until(lambda: "NO-CARRIER" not in settings(here), "the carrier")
        before = settings(here)
        for heal in ("one by one", "all"):
            here.do("links", drop_to=["10.99.0.3"], drop_from=["10.99.0.3"])
            here.do("shape", shapes={"10.99.0.2": {"delay_us": 20_000}})
            assert "mirred" in rules_of(here) and CUT in rules_of(here)
            set_interface(here, "down")
            if heal == "one by one":
                here.do("links")
                here.do("shape")
            assert here.do("heal")["problems"] == []
            set_interface(here, "up")
            assert "mirred" not in rules_of(here) and CUT not in rules_of(here), heal
            until(lambda: settings(here) == before, "the interface as it was")


def test_what_begins_while_an_interface_is_down_has_begun_when_it_comes_up() -> None:
    with pods(2) as (here, there):
        second_network(here, there)
        here.do("links", drop_to=["10.99.0.9"])
        here.do("links")
        set_interface(here, "down")
        here.do("links", drop_to=["10.99.0.3"])
        set_interface(here, "up")
        until(lambda: CUT in rules_of(here), "the filter of 10.99.0.3")
        set_interface(here, "down")
        here.do("shape", shapes={"10.99.0.2": {"delay_us": 20_000}})
        set_interface(here, "up")
        until(lambda: "mirred" in rules_of(here), "the redirection")
        asked = {"count": 10, "gap_us": 1000, "listen_ms": 100, "nonce": "up again"}
        here.send("measure_links", peers={"2": "10.99.0.2", "3": "10.99.0.3"}, **asked)
        got = there.do("measure_links", peers={"1": "10.99.0.1"}, **asked)
        here.read()
        assert got["links"]["1"]["received"] == 10, "the ten to 10.99.0.2, none to 10.99.0.3"
        assert got["links"]["1"]["delay_us"]["min"] >= 20_000


def test_packets_that_a_larger_mtu_allows_are_not_cut_short() -> None:
    with pods(2) as (here, there):
        second_network(here, there)
        here.do("shape", shapes={"10.99.0.2": {"delay_us": 20_000}})
        for agent in (there, here):
            inside(agent, "ip", "link", "set", "eth1", "mtu", "9000")
        time.sleep(0.1)  # until the agent has noticed, which does not show
        receive = (
            "import socket\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.bind(('10.99.0.2', 5000))\n"
            "s.settimeout(5)\n"
            "print('ready', flush=True)\n"
            "print(len(s.recv(10000)))"
        )
        send = (
            "import socket\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.sendto(bytes(8900), ('10.99.0.2', 5000))"
        )
        enter = ["nsenter", f"--net=/proc/{there.pid}/ns/net", sys.executable, "-c", receive]
        with subprocess.Popen(enter, stdout=subprocess.PIPE, text=True) as receiver:
            assert receiver.stdout is not None and receiver.stdout.readline() == "ready\n"
            inside(here, sys.executable, "-c", send)
            assert receiver.communicate(timeout=20)[0] == "8900\n"


def test_a_killed_agent_leaves_no_rules_where_its_namespace_remains() -> None:
    """As when it has joined an existing container: there it is not process 1."""
    with pods(2) as (_, there), lone_agent() as outer:
        del outer
        netns = f"/proc/{there.pid}/ns/net"
        there.do("heal")
        before = settings(there)
        command = ["nsenter", f"--net={netns}", "python3", "-m", "faults.agent"]
        with subprocess.Popen(
            [*command, "--probe-port", "7899"],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            joined = Agent(process)
            joined.do("links", drop_to=["10.98.0.1"])
            joined.do("shape", shapes={"10.98.0.1": {"delay_us": 10_000}})
            assert "mirred" in settings(there)
            process.kill()
        until(lambda: settings(there) == before, "the guard")

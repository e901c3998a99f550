"""Faults of links: what was asked, what the agents measured, and how quickly it was there."""

from __future__ import annotations

import itertools
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.agent.pods import Agent, pods

MS = 1e6
REPEATS = 20
_nonces = itertools.count(1)

LOAD_C = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
/* Without arguments: receives until a second passes without a datagram; prints how many came, and
   percentiles of their delay in us. With an address, a rate and a count: sends. */
static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
static int order(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return x < y ? -1 : x > y;
}
int main(int n, char **v) {
    int s = socket(AF_INET, SOCK_DGRAM, 0), space = 8 << 20;
    struct sockaddr_in peer = {AF_INET, htons(9999)};
    char data[100] = {0};
    if (n > 3) {
        long start = now(), rate = atol(v[2]), count = atol(v[3]);
        inet_pton(AF_INET, v[1], &peer.sin_addr);
        for (long i = 0; i < count; i++) {
            long left = start + i * 1000000000L / rate - now();
            struct timespec pause = {0, left};
            if (left > 50000) nanosleep(&pause, 0);
            *(long *)data = now();
            sendto(s, data, sizeof data, 0, (void *)&peer, sizeof peer);
        }
        return 0;
    }
    struct timeval patience = {1, 0};
    long *delays = malloc(8 << 21), count = 0;
    setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space);
    bind(s, (void *)&peer, sizeof peer);
    puts("ready"), fflush(stdout);
    recv(s, data, sizeof data, 0);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    do delays[count++] = now() - *(long *)data;
    while (count < 1 << 21 && recv(s, data, sizeof data, 0) > 0);
    qsort(delays, count, 8, order);
    printf("%ld %ld %ld %ld\n", count, delays[count / 2] / 1000, delays[count / 10 * 9] / 1000,
           delays[count / 100 * 99] / 1000);
}
"""


def measure(agents: list[Agent], links: list[tuple[int, int]], **how: Any) -> list[Any]:
    """What these directed links, by positions, did to datagrams sent over all of them at once."""
    asked = {"count": 1000, "gap_us": 1000, "listen_ms": 300, "nonce": f"b{next(_nonces)}", **how}
    for own, agent in enumerate(agents):
        to = {str(b): agents[b].address for a, b in links if a == own}
        of = {str(a): agents[a].address for a, b in links if b == own}
        agent.send("measure_links", peers=to, sources=of, **asked)
    answers = [agent.read() for agent in agents]
    return [answers[b]["links"][str(a)] for a, b in links]


def shapes() -> None:
    """what a link did, beside what was asked of it (1,000 datagrams; delays one way, in ms)"""
    print(f"{'asked':44} {'received':>8} {'copies':>6} {'disorder':>8} {'min':>7} {'median':>7} "
          f"{'p99':>7} {'deviation':>9} {'Mbit/s':>7}")  # fmt: skip
    copies = {"duplicate": 0.1, "duplicate_us": 10_000}
    normal = {"delay_us": 50_000, "jitter_us": 5_000, "distribution": "normal"}
    pareto = {"delay_us": 50_000, "jitter_us": 5_000, "distribution": "pareto"}
    asked: list[tuple[str, dict[str, Any], float, dict[str, Any]]] = [
        ("nothing", {}, 0, {}),
        ("delay 1 ms", {"delay_us": 1_000}, 0, {}),
        ("delay 10 ms", {"delay_us": 10_000}, 0, {}),
        ("delay 50 ms", {"delay_us": 50_000}, 0, {}),
        ("delay 50 ms, evenly 10 ms around it", {"delay_us": 50_000, "jitter_us": 10_000}, 0, {}),
        ("delay 50 ms, normal, deviation 5 ms", normal, 0, {}),
        ("delay 50 ms, Pareto, deviation 5 ms", pareto, 0, {}),
        ("loss 1 %", {}, 0.01, {}),
        ("loss 10 %", {}, 0.1, {}),
        ("loss 50 %", {}, 0.5, {}),
        (
            "10 % twice, the copy up to 10 ms later",
            copies,
            0,
            {},
        ),
        ("30 % held back up to 10 ms", {"reorder": 0.3, "reorder_us": 10_000}, 0, {}),
        ("10 % corrupt", {"corrupt": 0.1}, 0, {}),
        ("1 Mbit/s", {"rate_bps": 10**6}, 0, {"count": 60, "gap_us": 0, "size": 1400}),
        ("10 Mbit/s", {"rate_bps": 10**7}, 0, {"count": 200, "gap_us": 0, "size": 1400}),
    ]
    with pods(2) as agents:
        print(f"mechanism: {agents[0].hello['can']['shaping']['how']}")
        for what, shape, loss, how in asked:
            peer = agents[1].address
            agents[0].do("shape", shapes={peer: shape} if shape else {})
            agents[0].do("links", drop_to=[], loss={peer: loss} if loss else {})
            (seen,) = measure(agents, [(0, 1)], **({"listen_ms": 800} | how))
            delay = seen["delay_us"]
            rate = f"{seen['rate_bps'] / 1e6:7.2f}" if how else ""
            print(f"{what:44} {seen['received']:8} {seen['duplicates']:6} {seen['reordered']:8} "
                  f"{delay['min'] / 1e3:7.2f} {delay['p50'] / 1e3:7.2f} {delay['p99'] / 1e3:7.2f} "
                  f"{delay['deviation'] / 1e3:9.2f} {rate}", flush=True)  # fmt: skip


def times() -> None:
    """from the command to its effect (ms; median and largest of 20)"""
    print(f"{'':60} {'median':>8} {'largest':>8}")
    with pods(5) as agents:
        for agent in agents:
            agent.do("prepare_shaping")
        for count in (1, 5):
            some = agents[:count]
            where = f"{count} node{'s' * (count > 1)}"
            other = agents[-1].address
            cut = {"drop_to": [other], "drop_from": [other]}
            shape = {"shapes": {other: {"delay_us": 10_000}}}
            _show(f"partition, {where}: all answered", _commands(some, "links", cut, {}))
            _show(f"delay, {where}: all answered", _commands(some, "shape", shape, {"shapes": {}}))
            _show(f"healing a partition, {where}", _commands(some, "links", {}, cut))
            _show(f"healing a delay, {where}", _commands(some, "shape", {"shapes": {}}, shape))
        cut = {"drop_to": [agents[1].address]}
        _show("a link is cut: its last datagram", _seen(agents, cut, {}, "last_sent_ns"))
        _show("a cut is healed: its first datagram", _seen(agents, {}, cut, "first_sent_ns"))
        _show("at one common time 6 ms ahead, 5 nodes: first to last", _spread(agents))


def _show(what: str, values: list[float]) -> None:
    print(f"{what:60} {statistics.median(values):8.2f} {max(values):8.2f}", flush=True)


def _commands(
    agents: list[Agent], do: str, change: dict[str, Any], back: dict[str, Any]
) -> list[float]:
    """From sending the first command to the last agent's word of when it had taken effect."""
    spans = []
    for _ in range(REPEATS):
        for agent in agents:
            agent.do(do, **back)
        started = time.monotonic_ns()
        for agent in agents:
            agent.send(do, **change)
        done = [agent.read()["done_ns"] for agent in agents]
        spans.append((max(done) - started) / MS)
    for agent in agents:
        agent.do("heal")
        agent.do("prepare_shaping")
    return spans


def _seen(
    agents: list[Agent], change: dict[str, Any], back: dict[str, Any], which: str
) -> list[float]:
    """The same, by the datagrams of a stream of 5,000 a second over the link."""
    spans = []
    sender, receiver = agents[0], agents[1]
    for _ in range(REPEATS):
        sender.do("links", **back)
        asked = {"count": 1500, "gap_us": 200, "listen_ms": 50, "nonce": f"s{next(_nonces)}"}
        receiver.send("measure_links", peers={}, sources={"1": sender.address}, **asked)
        sender.send("measure_links", peers={"2": receiver.address}, **asked)
        time.sleep(0.1)
        started = time.monotonic_ns()
        sender.send("links", **change)
        sender.read(), sender.read()
        spans.append((receiver.read()["links"]["1"][which] - started) / MS)
    sender.do("heal")
    return spans


def _spread(agents: list[Agent]) -> list[float]:
    spreads = []
    for i in range(2 * REPEATS):
        request = {
            "drop_to": [] if i % 2 else [agents[0].address],
            "at_ns": time.monotonic_ns() + 6_000_000,
        }
        for agent in agents:
            agent.send("links", **request)
        done = [agent.read()["done_ns"] for agent in agents]
        spreads.append((max(done) - min(done)) / MS)
    return spreads


def load() -> None:
    """delay of 50 ms under load, five seconds each (a sender and a receiver in C, 100 bytes)"""
    print(f"{'a second':>9} {'of':>7} {'came':>7} {'median':>8} {'p90':>8} {'p99':>8} "
          f"{'late, mean':>11} {'processor':>10}")  # fmt: skip
    with pods(2) as (here, there), tempfile.TemporaryDirectory() as folder:
        program = _compiled(folder)
        for rate in (5_000, 20_000, 40_000, 60_000):
            here.do("heal")
            here.do("shape", shapes={there.address: {"delay_us": 50_000}})
            receiver = subprocess.Popen(
                [*_enter(there), program], stdout=subprocess.PIPE, text=True
            )
            assert receiver.stdout is not None
            receiver.stdout.readline()
            before = _processor_s(here)
            send = [*_enter(here), program, there.address, str(rate), str(5 * rate)]
            subprocess.run(send, check=True)
            busy = (_processor_s(here) - before) / 5
            came, *percentiles = map(int, receiver.communicate()[0].split())
            wire = here.do("status")["shapes"]["wire"]
            late = wire["links"].get(there.address, {}).get("late_us_mean", 0)
            shown = " ".join(f"{us / 1000:8.2f}" for us in percentiles)
            print(f"{rate:9} {5 * rate:7} {came:7} {shown} {late / 1000:11.2f} {busy:10.0%}",
                  flush=True)  # fmt: skip
        print(f"priority of the wire's thread: {here.do('status')['shapes']['wire']['priority']}")


def _compiled(folder: str) -> str:
    source, program = Path(folder) / "load.c", Path(folder) / "load"
    source.write_text(LOAD_C)
    subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
    return str(program)


def _enter(agent: Agent) -> list[str]:
    return ["nsenter", f"--net=/proc/{agent.pid}/ns/net"]


def _processor_s(agent: Agent) -> float:
    user, system = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / 100


def leftovers() -> None:
    """1,000 random states of the network, set and healed in a row: what is left afterwards"""
    rng = random.Random(1)
    with pods(3) as agents:
        for agent in agents:
            agent.do("heal")
        before = [_settings(agent) for agent in agents]
        started = time.monotonic()
        for number in range(1, 1001):
            for agent in agents:
                others = [other.address for other in agents if other is not agent]
                agent.do("links", **_random_rules(rng, others))
                agent.do("shape", shapes=_random_shapes(rng, others))
            for agent in agents:
                problems = agent.do("heal")["problems"]
                assert not problems, problems
            for agent, settings in zip(agents, before, strict=True):
                assert _settings(agent) == settings, f"after {number}: {_settings(agent)}"
        quick = measure(agents, [(0, 1), (1, 2), (2, 0)], count=50)
        assert all(link["received"] == 50 for link in quick), quick
        elapsed_s = time.monotonic() - started
        print(f"1,000 states on three nodes in {elapsed_s:.0f} s; after each, devices, qdiscs and "
              "filters were as before the first")  # fmt: skip


def _random_rules(rng: random.Random, others: list[str]) -> dict[str, Any]:
    cut = [a for a in others if rng.random() < 0.3]
    return {
        "drop_to": cut,
        "drop_from": [a for a in others if rng.random() < 0.3],
        "loss": {a: rng.uniform(0.01, 0.9) for a in others if a not in cut and rng.random() < 0.3},
        "cut_neighbours": rng.random() < 0.3,
    }


def _random_shapes(rng: random.Random, others: list[str]) -> dict[str, Any]:
    draw: dict[str, Callable[[], Any]] = {
        "delay_us": lambda: rng.randrange(200_000),
        "jitter_us": lambda: rng.randrange(50_000),
        "duplicate": rng.random,
        "corrupt": rng.random,
        "rate_bps": lambda: rng.randrange(10_000, 10**9),
    }
    return {
        a: {name: make() for name, make in draw.items() if rng.random() < 0.4}
        for a in others
        if rng.random() < 0.7
    }


def _settings(agent: Agent) -> str:
    shown = ""
    for command in ("ip -o link", "tc qdisc", "tc filter show dev eth0 ingress",
                    "tc filter show dev eth0 egress"):  # fmt: skip
        run = [*_enter(agent), *command.split()]
        shown += subprocess.run(run, check=True, capture_output=True, text=True).stdout
    return shown

"""How quickly the agent acts: `python -m benchmarks.agent`, as root on Linux with gcc.

Agents run in separate network and PID namespaces, without containers. Prints a table of medians and
maxima, as quoted in docs/faults.md.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.agent.pods import Agent, beside, lone_agent, pods

MS, US = 1e6, 1e3
CLOCKS_C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#define NOW(id, t) clock_gettime(id, &t)
/* argument: the true second of now. How long until the clock is 1000 s ahead of it, in us; then
   for each line of input the cost of a call, in ns, over two million. */
int main(int n, char **v) {
    struct timespec a, t, m;
    char line[9];
    long ahead = atol(v[1]) + 1000;
    NOW(CLOCK_MONOTONIC, a);
    do {
        NOW(CLOCK_REALTIME, t);
        NOW(CLOCK_MONOTONIC, m);
    } while (ahead > 1000 && t.tv_sec < ahead);
    printf("%ld\n", (m.tv_sec - a.tv_sec) * 1000000L + (m.tv_nsec - a.tv_nsec) / 1000);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        NOW(CLOCK_MONOTONIC, a);
        for (int i = 0; i < 2000000; i++) NOW(CLOCK_REALTIME, t);
        NOW(CLOCK_MONOTONIC, m);
        printf("%ld\n", ((m.tv_sec - a.tv_sec) * 1000000000L + m.tv_nsec - a.tv_nsec) / 2000000);
        fflush(stdout);
    }
}
"""


def at_once(agents: list[Agent], do: str, requests: list[dict[str, Any]]) -> list[Any]:
    """The answers to the same request, sent to all agents at once."""
    answers: list[Any] = [None] * len(agents)

    def ask(i: int) -> None:
        answers[i] = agents[i].do(do, **requests[i])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(agents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def show(what: str, values: list[float], unit: str) -> None:
    print(f"{what:58} {statistics.median(values):9.2f} {max(values):9.2f} {unit}", flush=True)


def measure_links(agents: list[Agent]) -> None:
    spreads = []
    for i in range(40):
        cut = [] if i % 2 else [a.address for a in agents[:2]]
        request = {"drop_to": cut, "at_ns": time.monotonic_ns() + 6_000_000}
        done = [a["done_ns"] for a in at_once(agents, "links", [request] * len(agents))]
        spreads.append((max(done) - min(done)) / MS)
    show("five agents, one moment: first to last", spreads, "ms")
    spans = []
    for nonce in range(20):
        requests = [
            {"peers": {b.address: b.address for b in agents if b is not a}, "nonce": nonce}
            for a in agents
        ]
        started = time.monotonic_ns()
        at_once(agents, "probe_links", requests)
        spans.append((time.monotonic_ns() - started) / MS)
    show("probing 20 open links", spans, "ms")


def measure_processes(agent: Agent) -> None:
    figures: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        figures.setdefault(what, []).append(value)

    for _ in range(20):
        with beside(agent, "cat") as node:
            node.ask()
            for what, offset_ns in (("first", 10**9), ("later", 2 * 10**9)):
                asked = time.monotonic_ns()
                done = agent.do("clock", offset_ns=offset_ns)["done_ns"]
                note(f"a {what} clock fault, from asking to done (ms)", (done - asked) / MS)
            asked = time.monotonic_ns()
            answer = agent.do("kill")
            note("the kill itself (us)", (answer["done_ns"] - answer["began_ns"]) / US)
            note("from asking for a kill to gone (ms)", (answer["gone_ns"] - asked) / MS)
            agent.do("clock", offset_ns=0)
    for what, values in figures.items():
        show(what, values, "")


def measure_clocks(agent: Agent, program: str) -> None:
    spans = []
    for _ in range(20):
        agent.do("clock", offset_ns=3600 * 10**9)
        agent.send("await_process", timeout_s=5)
        with beside(agent, program, str(int(time.time()))) as node:
            agent.read()
            spans.append(node.read()[0] / 1000)
            agent.do("kill")
        agent.do("clock", offset_ns=0)
    show("a restarted program's true time, awaited", spans, "ms")
    with beside(agent, program, "0") as node:
        node.read()
        for what, offset_ns in (("true", 0), ("false", 10**12), ("healed", 0)):
            agent.do("clock", offset_ns=offset_ns)
            show(f"a call of clock_gettime, {what}", [node.ask()[0] for _ in range(5)], "ns")


def compiled(folder: str) -> str:
    source, program = Path(folder) / "clocks.c", Path(folder) / "clocks"
    source.write_text(CLOCKS_C)
    subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
    return str(program)


def main() -> None:
    print(f"{'':58} {'median':>9} {'largest':>9}")
    with pods(5) as agents:
        measure_links(agents)
    with lone_agent() as agent, tempfile.TemporaryDirectory() as folder:
        measure_processes(agent)
        measure_clocks(agent, compiled(folder))


if __name__ == "__main__":
    main()

"""The behaviour of links under netem, as JSON: run in an emulated machine by `test_stock_kernel`.

The machine is slow: datagrams are sent every 20 ms, and delays are long compared with its own.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import Any

from tests.faults.agent.pods import Agent, pods

_nonces = itertools.count(1)
SHAPES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "delay": {"delay_us": 300_000},
    "longer": {"delay_us": 600_000},
    "normal": {"delay_us": 500_000, "jitter_us": 100_000, "distribution": "normal"},
    "uniform": {"delay_us": 500_000, "jitter_us": 200_000},
    "corrupt": {"corrupt": 1.0},
    "nothing corrupt": {"delay_us": 1_000},
    "reorder": {"reorder": 0.4, "reorder_us": 800_000},
    "rate": {"rate_bps": 32_000},
    "duplicate": {"duplicate": 1.0},
}


def measured(agents: list[Agent], gap_us: int = 20_000) -> dict[str, Any]:
    """The effect of the links from the first to the others on 30 datagrams."""
    nonce = f"n{next(_nonces)}"
    first, *others = agents
    peers = {other.address: other.address for other in others}
    first.do(
        "measure_links", peers=peers, sources={}, nonce=nonce, count=30, gap_us=gap_us, listen_ms=0
    )
    of = {"sources": {"1": first.address}, "nonce": nonce}
    for other in others:
        other.send("collect_links", **of, listen_ms=4_000)
    second, third = (other.read()["links"]["1"] for other in others)
    return {"second": second, "third": third}


def settings(agent: Agent) -> str:
    """Qdiscs, classes and filters of the pod."""
    shown = ""
    for what in ("qdisc", "class show dev eth0", "filter show dev eth0"):
        command = ["nsenter", f"--net=/proc/{agent.pid}/ns/net", "tc", *what.split()]
        shown += subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return shown


def main() -> None:
    found: dict[str, Any] = {}
    with pods(3) as agents:
        first, peer = agents[0], agents[1].address
        found["how"] = first.hello["can"]["shaping"]
        first.do("heal")
        before = settings(first)
        measured(agents)  # the first packets wait for address resolution
        for name, shape in SHAPES.items():
            answer = first.do("shape", shapes={peer: shape} if shape else {})
            by = [how for how in ("netem",) if peer in answer[how]]
            by += ["wire"] if peer in answer["wire"]["links"] else []
            at_once = {"gap_us": 0} if "rate_bps" in shape else {}
            found[name] = {"by": by, **measured(agents, **at_once)}
        first.do("shape", shapes={peer: {"delay_us": 1_000}, agents[2].address: {"corrupt": 0.5}})
        found["two classes"] = settings(first)
        first.do("heal")
        found["left"] = settings(first) != before
    print("found:", json.dumps(found))


if __name__ == "__main__":
    main()

"""Removes what a killed agent has left in namespaces that it had joined: rules, false clocks, and
processes that it had paused.

An agent that joins an existing container begins with this: only one session at a time may have
agents in a container, so what is found there was left. What cannot be seen from there has to be
known: that an agent was killed, so that a qdisc without filters was its own and not somebody
else's; and that it had paused the processes, which somebody else may have stopped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from faults.agent import netem, tc
from faults.agent.clock import Clock
from faults.agent.errors import AgentError
from faults.agent.links import GONE, outward
from faults.agent.netlink import Netlink, NetlinkError
from faults.agent.node_processes import NodeProcesses


class Known(NamedTuple):
    """What is known of an earlier agent."""

    was_killed: bool = False
    had_paused: bool = False


def remove_left_behind(clock: Clock, node: NodeProcesses, known: Known) -> dict[str, Any]:
    """`rules`: how many filters and qdiscs were removed; `clocks`: the processes that have the true
    time again; `resumed`: those that were stopped, and run again; `problems`, in sentences."""
    done: dict[str, Any] = {"rules": 0, "clocks": [], "resumed": [], "problems": []}

    def attempt(name: str, act: Any) -> None:
        try:
            done[name] = act()
        except (AgentError, NetlinkError, OSError) as error:
            done["problems"].append(f"{name}: {error}")

    attempt("rules", lambda: remove_rules(was_killed=known.was_killed))
    attempt("clocks", clock.end_false_clocks)
    if known.had_paused:
        attempt("resumed", node.resume_stopped)
    return done


def remove_rules(*, was_killed: bool) -> int:
    """Every filter and qdisc of an agent in this network namespace; how many there were. One that
    cannot be removed does not keep the others; raises NetlinkError then. `was_killed`: an agent
    was, so that a qdisc which has no filters is its own, too."""
    netlink = Netlink()
    removed, failed = 0, None
    try:
        for one in outward(netlink):
            try:
                removed += _remove_from(netlink, one.index, was_killed=was_killed)
            except NetlinkError as error:
                failed = failed or error
    finally:
        netlink.close()
    if failed is not None:
        raise failed
    return removed


def _remove_from(netlink: Netlink, interface: int, *, was_killed: bool) -> int:
    ours, removed = {tc.WIRE_PRIORITY, tc.DROP_PRIORITY}, 0
    for parent in (tc.EGRESS, tc.INGRESS):
        for priority in sorted(ours & tc.filter_priorities(netlink, interface, parent)):
            netlink.ask_quietly(tc.remove_filter(interface, parent, priority), *GONE)
            removed += 1
    if (removed or was_killed) and not any(
        tc.filter_priorities(netlink, interface, parent) for parent in (tc.EGRESS, tc.INGRESS)
    ):
        netlink.ask_quietly(tc.remove_clsact(interface), *GONE)
    for root in tc.qdiscs(netlink, interface):
        if root.parent == tc.TC_H_ROOT and root.handle == netem.ROOT:
            netlink.ask_quietly(tc.remove_root(interface, netem.ROOT), *GONE)
            removed += 1
    return removed

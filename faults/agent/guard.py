"""Removes the agent's rules when the agent is killed and its namespaces remain.

In a pod the agent is process 1: when it dies, the kernel kills every process of the pod, and with
the last of them the network namespace is removed with all rules in it. An agent that has joined the
namespaces of an existing container would leave its rules there. So where it is not process 1, it
starts this guard: a process that only waits for the agent's end of a pipe to close.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from faults.agent import netem, tc
from faults.agent.links import GONE, usable
from faults.agent.netlink import Netlink, NetlinkError


def start() -> bool:
    """Forks the guard, unless this is process 1. Call it before any thread is started."""
    if os.getpid() == 1:
        return False
    waits_for, _held_open = os.pipe()  # the agent's end closes with the agent
    os.set_inheritable(_held_open, False)
    if os.fork():
        os.close(waits_for)
        return True
    os.close(_held_open)
    os.setsid()  # Ctrl-C is for the agent
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, waits_for)
    os.closerange(waits_for + 1, 1024)
    try:
        os.read(waits_for, 1)
        remove_rules()
    finally:
        os._exit(0)
    return True


def remove_rules() -> None:
    """Every filter and qdisc of an agent in this network namespace."""
    netlink = Netlink()
    for one in usable(netlink):
        with suppress(NetlinkError):
            for parent in (tc.EGRESS, tc.INGRESS):
                for priority in (tc.WIRE_PRIORITY, tc.DROP_PRIORITY):
                    message = tc.remove_filter(one.index, parent, priority)
                    netlink.ask_quietly(message, *GONE)
            if not any(
                tc.filter_priorities(netlink, one.index, p) for p in (tc.EGRESS, tc.INGRESS)
            ):
                netlink.ask_quietly(tc.remove_clsact(one.index), *GONE)
            for root in tc.qdiscs(netlink, one.index):
                if root.parent == tc.TC_H_ROOT and root.handle == netem.ROOT:
                    netlink.ask_quietly(tc.remove_root(one.index, netem.ROOT), *GONE)
    netlink.close()


if __name__ == "__main__":
    remove_rules()
    sys.exit(0)

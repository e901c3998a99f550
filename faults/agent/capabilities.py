"""The capabilities of this agent on this machine: tested once, before its first line."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from faults.agent.assembly import Skew, Skews, this_machine
from faults.agent.errors import AgentError, Unsupported
from faults.agent.network import Network
from faults.agent.node_processes import NodeProcesses, require_own_namespace
from faults.agent.packets import can_see_packets
from faults.agent.vdso import Memory, base_of
from faults.agent.vdso_patch import PatchedProcess

LINUX_CAPABILITIES: Final = {"DAC_OVERRIDE": 1, "KILL": 5, "NET_ADMIN": 12, "SYS_PTRACE": 19}
TRIAL_NS: Final = 3_600_000_000_000


def probe_capabilities(network: Network) -> dict[str, dict[str, Any]]:
    """By name: {"ok": true, "how": ...}, or {"ok": false, "error": ..., "remedy": ...}."""
    return {
        "links": _try(network.cuts.probe),
        "shaping": _try(network.shaper.probe),
        "processes": _try(_can_signal),
        "clock": _try(can_set_clocks),
        "packets": _try(can_see_packets),
    }


def _try(capability: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"ok": True, "how": capability()}
    except AgentError as error:
        return {"ok": False, "error": str(error), "remedy": error.remedy}
    except OSError as error:
        return {"ok": False, "error": f"unexpected: {error}", "remedy": "report this"}


def require_linux_capabilities(*names: str) -> None:
    """Raises Unsupported when this process lacks one of them."""
    status = Path("/proc/self/status").read_text()
    held = int(next(line.split()[1] for line in status.splitlines() if "CapEff" in line), 16)
    lacking = [name for name in names if not held >> LINUX_CAPABILITIES[name] & 1]
    if lacking:
        raise Unsupported(
            f"the agent lacks the capabilities {', '.join(lacking)}",
            f"start its container with --cap-add {' --cap-add '.join(lacking)}",
        )


def _can_signal() -> str:
    require_own_namespace()
    require_linux_capabilities("KILL")
    return "signals to the PID namespace"


def can_set_clocks() -> str:
    """Sets the clock of a child one hour ahead, and has the child read the time.

    Raises Unsupported. Forks: call it before any thread is started.
    """
    this_machine()
    require_linux_capabilities("SYS_PTRACE", "DAC_OVERRIDE")
    asking, ask = os.pipe()
    answers, answering = os.pipe()
    child = os.fork()
    if child == 0:
        _tell_time_when_asked(asking, answering)
    try:
        _set_ahead(child)
        os.write(ask, b"?")
        difference_ns = int(os.read(answers, 64) or b"0") - time.time_ns()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for end in (asking, ask, answers, answering):
            os.close(end)
    if abs(difference_ns - TRIAL_NS) > TRIAL_NS // 2:
        raise Unsupported(
            f"a clock set {TRIAL_NS} ns ahead showed {difference_ns} ns",
            "programs here do not take the time from the vDSO: the host's clock source may be slow",
        )
    return "vdso"


def _tell_time_when_asked(asking: int, answering: int) -> None:
    os.read(asking, 1)
    os.write(answering, str(time.time_ns()).encode())
    os._exit(0)


def _set_ahead(pid: int) -> None:
    base = base_of(pid)
    if base is None:
        raise Unsupported("processes here have no vDSO", "boot the kernel without vdso=0")
    with Memory(pid) as memory:
        target = PatchedProcess(pid, memory.read_library(base), memory)
        target.write_code(Skews(Skew(0, TRIAL_NS, 0)))
        target.patch(NodeProcesses())

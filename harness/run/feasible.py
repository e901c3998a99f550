"""Whether the faults of a schedule are possible in a run.

Checked before anything is started: what the target and the runtime do not support is refused here,
with a message, and not in the middle of the run. The capabilities of the machine are tested when
the agents start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from faults.description import LEADER, Fault
from faults.kinds import kinds_of
from faults.kinds.aimed import Aimed
from faults.kinds.rate import Rate
from faults.link_fault import LinkFault
from faults.schedule import Schedule
from harness.errors import UsageError
from harness.run.config import RunConfig

DISK_KINDS: Final = frozenset(("power", "slow-disk", "disk-stall", "disk-full", "disk-damage"))
"""With one of these a container run mounts the agent's file system on the nodes' volumes."""
REAL_MOMENTS: Final = ("elected", "log-line")
"""Triggers that the simulator does not support."""


def prepared_for(faults: Iterable[Fault]) -> tuple[str, ...]:
    """Kinds that a run must be prepared for: those of its faults, and `power` for an aimed power
    cut."""
    cut = any(isinstance(fault, Aimed) and fault.action == "power" for fault in faults)
    return ("power",) if cut else ()


def check_feasible(config: RunConfig, schedule: Schedule) -> None:
    """Raises UsageError for the first fault that is not possible in this run."""
    able = kinds_of(config.on)
    for fault in schedule.faults:
        if fault.kind not in able:
            raise UsageError(
                f"the runtime {config.on} has no {fault.kind} faults",
                remedy=f"it has {', '.join(able)}",
            )
        _check_nodes(config, fault)
        _check_effect(config, fault)
        if isinstance(fault, Aimed):
            _check_aimed(config, fault)
        elif isinstance(fault, LinkFault):
            _check_link_fault(config, fault)


def _check_nodes(config: RunConfig, fault: Fault) -> None:
    """A recorded schedule may have been edited."""
    nodes = config.cluster.node_ids()
    if strange := [n for n in fault.nodes if n != LEADER and n not in nodes]:
        raise UsageError(
            f"{fault.id}: there is no node n{strange[0]}",
            remedy=f"the cluster has n{nodes[0]} to n{nodes[-1]}",
        )


def _check_effect(config: RunConfig, fault: Fault) -> None:
    """A fault that changes nothing would be verified, and the run's pass would not be earned."""
    nodes = config.cluster.node_ids()
    for leader in nodes[:1] if fault.is_resolved else nodes:
        for step in fault.resolve(leader, nodes).steps():
            if why := step.resolve(leader, nodes).lacks_effect(nodes):
                among = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"
                raise UsageError(
                    f"{fault.id}: {fault.describe()}: {why} among {among}",
                    remedy="name other nodes or links, or leave the fault out",
                )


def _check_aimed(config: RunConfig, fault: Aimed) -> None:
    if config.on == "sim":
        if fault.moment in REAL_MOMENTS:
            raise UsageError(
                f"{fault.id}: the simulator has no moment {fault.moment!r}",
                remedy="aim at after-send or before-reply, or run in containers: --on docker",
            )
    elif fault.action == "power" and not DISK_KINDS.intersection(config.faults.kinds):
        raise UsageError(
            f"{fault.id}: an aimed power cut needs nodes whose disks are prepared for one",
            remedy="add power to --faults, or let the action be kill",
        )
    if fault.moment == "elected" and not config.system.capabilities.leader:
        raise UsageError(
            f"{fault.id}: {config.target} has no leader that could be elected",
            remedy="aim at before-reply or log-line",
        )
    if fault.moment == "after-send":
        if not fault.message and config.on != "sim":
            raise UsageError(
                f"{fault.id}: in containers after-send needs a class of messages",
                remedy="give message",
            )
        _check_message(config, fault.id, fault.message)


def _check_link_fault(config: RunConfig, fault: LinkFault) -> None:
    if fault.message and isinstance(fault, Rate) and config.on != "sim":
        raise UsageError(
            f"{fault.id}: containers limit the rate of all packets of a link, not of one class",
            remedy="leave out message",
        )
    _check_message(config, fault.id, fault.message)


def _check_message(config: RunConfig, name: str, message: str) -> None:
    known = sorted(set(config.system.capabilities.messages))
    if message and message not in known:
        said = f"it has {', '.join(known)}" if known else "leave out message, or aim otherwise"
        raise UsageError(f"{name}: {config.target} has no messages {message!r}", remedy=said)

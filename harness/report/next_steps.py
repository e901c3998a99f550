"""What to do about a reason for the verdict `unknown`. `docs/troubleshooting.md` says more."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Step(NamedTuple):
    """Reasons that match `reason`, and what to do next; FOLDER stands for the run's."""

    reason: re.Pattern[str]
    action: str


def _step(reason: str, action: str) -> Step:
    return Step(re.compile(reason), action)


AGAIN: Final = "run it again with the same seed"
STEPS: Final = (
    _step(
        r"it is not verified that",
        "antipaxos show FOLDER gives what was seen; antipaxos doctor tries every kind of fault on "
        f"this machine; if it is busy, wait, and {AGAIN}",
    ),
    _step(r"there is no report that", f"the run ended before the fault was reported: {AGAIN}"),
    _step(
        r"by interference from outside",
        "another user of the engine, or another program, has acted on this container; docker "
        f"events shows what happens there; {AGAIN}",
    ),
    _step(
        r"the engine did not deliver its events",
        f"the engine was restarted, or its connection ended: see the engine's log, and {AGAIN}",
    ),
    _step(
        r"^n[\dN]+ did not answer within",
        "the node ran, and was silent: read its log in FOLDER/nodes; if it is slow, wait for the "
        f"machine to be idle, and {AGAIN}",
    ),
    _step(r"^the agent of ", f"read nodes/nN.agent.log in FOLDER, and {AGAIN}"),
    _step(
        r"client of (n\d+|nN|the target) raised an error",
        "the code of the target's client has raised an exception: correct the target file",
    ),
    _step(
        r"could not be collected|was not collected|logs were not collected",
        "files of the nodes are copied within 60 s: see whether a disk is full or the engine is "
        f"slow, and {AGAIN}",
    ),
    _step(
        r"is missing|changed or cut since|added to the folder|does not say what was recorded",
        "the folder is not as the run left it: restore it, or replay it",
    ),
    _step(
        r"undecided after|the (time|memory) limit",
        "give the checker more: antipaxos check FOLDER --time-limit 10min --memory-limit 4G; or "
        "run with fewer operations per key (--rate, --keys)",
    ),
    _step(
        r"did not end in time",
        "the machine is too slow for the run, or a fault could not be healed: antipaxos show "
        f"FOLDER says which; wait until the machine is idle, and {AGAIN}",
    ),
    _step(
        r"was interrupted|was cut off|was stopped",
        f"the run has no final round, so liveness was not checked: {AGAIN}, and let it end",
    ),
    _step(
        r"no operation was answered|nothing was answered",
        "the cluster served no client: read the nodes' logs, and try it without faults "
        "(--faults none)",
    ),
)


def next_step(reason: str, folder: str) -> str:
    """What to do about a reason; empty where nothing is known."""
    for step in STEPS:
        if step.reason.search(reason):
            return step.action.replace("FOLDER", folder)
    return ""

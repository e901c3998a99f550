"""The checker: is there an order of the operations that one object, used by one client at a time,
could have executed, and in which every operation takes effect between its call and its return?

    check(source, model="kv") -> Verdict

`source` is a run's folder, a history file, a `History`, or a sequence of events or of operations.
The exit codes are in the verdict: 0 valid, 1 invalid, 2 unknown.
"""

from histories.checker.api import check, judged_operations, which_kernel
from histories.checker.live import LiveChecker, Progress
from histories.checker.verdict import EXIT_CODES, Evidence, PartitionVerdict, Verdict

__all__ = [
    "EXIT_CODES",
    "Evidence",
    "LiveChecker",
    "PartitionVerdict",
    "Progress",
    "Verdict",
    "check",
    "judged_operations",
    "which_kernel",
]

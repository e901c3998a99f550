"""The injectors of faults into pods, one module per group of kinds.

Each module has a class that takes a `Cluster` and offers `handlers()`: for every fault class that
it supports, how to inject and heal it, and the capability of the agents that it needs. Both
coroutines return a report with evidence from probes that do not share the mechanism's code.

network     partitions, loss, delay and other link faults (`link_state`, `link_measurement`,
            `link_evidence`)
processes   kill, stop, pause
clocks      wall clocks and monotonic clocks
disks       power cuts, slow, stalled, full and damaged disks
resources   limits of processor and memory
data        start with empty data
triggers    aimed faults
"""

from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers, OwnClocks

__all__ = ["Cluster", "Handler", "Handlers", "OwnClocks"]

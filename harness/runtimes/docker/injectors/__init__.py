"""What injects each kind of fault into pods, one module per group of kinds.

Each module has a class that takes a `Cluster` and offers `handlers()`: for every fault class that
it can inject, how to do it, how to undo it, and what the agents must be able to do. Both coroutines
return a report with evidence from probes that do not share the mechanism's code.

network partitions processes kill, stop, pause clocks wall clocks and monotonic clocks resources
processor and memory limits data loss of everything that a node had stored
"""

from harness.runtimes.docker.injectors.cluster import Cluster, Handler, Handlers, OwnClocks

__all__ = ["Cluster", "Handler", "Handlers", "OwnClocks"]

"""The agent: a small program that runs as process 1 of a pod and injects faults into it.

A pod is two containers. This agent owns the network and the PID namespaces; the node's container
joins both, and needs no tools, no privileges and no knowledge of this. So what the agent does to
the namespaces outlives a kill and restart of the node, and it may act on any image.

Standard library only, and nothing else of this distribution: the agent's container holds a Python
and this package. See `server` for its requests.
"""

VERSION = 1
"""The version of the protocol, sent in the first line; raised by an incompatible change."""

"""What is under test: which image the nodes run, and what their containers are told.

The pod around a node (the agent, its namespaces, the published client port) is the same for every
target. A target's nodes serve clients at CLIENT_PORT in the way of `node_image.server.clients`
(JSON lines); the benchmarks' foreign cluster does it with thirty lines around a library.
"""

from harness.targets.interface import NodeImage, Target

__all__ = ["NodeImage", "Target"]

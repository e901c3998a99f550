"""PySyncObj (Raft in Python, https://github.com/bakwc/PySyncObj, MIT).

It is behind the client port of our own nodes: `node.py` is thirty lines around the library, and the
image has the installed package.

Needs the extra `antipaxos[bench]`. Its journal is a memory-mapped file that is not fsynced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

from harness.errors import HarnessError, UsageError
from harness.targets.interface import (
    Capabilities,
    ClusterSpec,
    Images,
    NodeSpec,
    Target,
    majority,
)
from harness.targets.json_lines import JsonLinesClient

CLIENT_PORT: Final = 7001
PEER_PORT: Final = 7000
DOCKERFILE: Final = """FROM {base}
ENTRYPOINT ["python3", "/opt/antipaxos/node.py"]
COPY . /opt/antipaxos/
"""
DEFINITE: Final = {"mismatch": True, "not-leader": True, "unavailable": True, "interrupted": False}


class PySyncObj:
    """A dictionary that PySyncObj replicates. It has no sessions: a write is never repeated."""

    name: ClassVar[str] = "pysyncobj"
    summary: ClassVar[str] = "PySyncObj: Raft as a library in Python"
    client_port: ClassVar[int] = CLIENT_PORT
    artifacts: ClassVar[Mapping[str, str]] = {}
    capabilities: ClassVar[Capabilities] = Capabilities(observes_mismatch=True, own_clock=True)

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given:
            raise UsageError(f"pysyncobj has no settings, so not {', '.join(given)}")
        return {}

    def check(self, cluster: ClusterSpec) -> None:
        self.settings(cluster.settings)

    def quorum(self, cluster: ClusterSpec) -> int:
        return majority(cluster)

    def image(self, images: Images) -> str:
        found = find_spec("pysyncobj")
        if found is None or found.origin is None:
            raise HarnessError(
                "the package pysyncobj is not installed",
                remedy="pip install 'antipaxos[bench]'",
            )
        package = Path(found.origin).parent
        files = {
            f"pysyncobj/{path.relative_to(package).as_posix()}": path.read_bytes()
            for path in sorted(package.rglob("*.py"))
        }
        files["node.py"] = (Path(__file__).parent / "node.py").read_bytes()
        return images.build("antipaxos/pysyncobj", DOCKERFILE.format(base=images.own()), files)

    def node(
        self, node: int, addresses: Mapping[int, str], cluster: ClusterSpec, seed: int
    ) -> NodeSpec:
        settings = {
            "node": node,
            "addresses": {str(n): [host, PEER_PORT] for n, host in addresses.items()},
            "client_port": CLIENT_PORT,
            "data": "/data",
        }
        return NodeSpec(command=(json.dumps(settings),))

    def client(self, node: int, host: str, port: int, cluster: ClusterSpec) -> JsonLinesClient:
        return JsonLinesClient(node, host, port, DEFINITE)


TARGETS: Final[tuple[Target, ...]] = (PySyncObj(),)

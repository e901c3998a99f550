"""A node's settings: one JSON object, validated at start.

    {"protocol": "multi-paxos", "mutant": null, "node": 1,
     "addresses": {"1": ["10.0.0.2", 7000], "2": ["10.0.0.3", 7000]},
     "peer_port": 7000, "client_port": 7001, "data": "/data", "transport": "tcp", "seed": 7,
     "cluster": {"heartbeat_us": 100000, "reads": "log"}}

`cluster` holds fields of ClusterConfig; `nodes` defaults to the nodes that have an address. The
node listens on `peer_port` (its port in `addresses` by default) and `client_port`, on `host`
(every interface by default).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node_image.mutants import protocol_class
from node_image.protocols.interface import ClusterConfig, NodeId

TRANSPORTS: Final = ("tcp", "udp")
KNOWN: Final = (
    "protocol",
    "mutant",
    "node",
    "addresses",
    "host",
    "peer_port",
    "client_port",
    "data",
    "transport",
    "seed",
    "cluster",
)


class BadSettings(ValueError):
    """Invalid settings; the message is one sentence that names the setting and the reason."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """See the top of this file."""

    protocol: str
    mutant: str | None
    node: NodeId
    addresses: dict[NodeId, tuple[str, int]]
    host: str | None
    peer_port: int
    client_port: int
    data: Path
    transport: str
    seed: int
    cluster: ClusterConfig


def parse_settings(text: str) -> Settings:
    """The settings in a JSON text. Raises BadSettings."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise BadSettings(f"the configuration is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadSettings("the configuration must be a JSON object")
    unknown = sorted(set(given) - set(KNOWN))
    if unknown:
        raise BadSettings(f"unknown setting {unknown[0]!r}; the settings are {', '.join(KNOWN)}")
    try:
        return _settings(given)
    except KeyError as error:
        raise BadSettings(f"the setting {error.args[0]!r} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise BadSettings(str(error)) from None


def _settings(given: dict[str, Any]) -> Settings:
    addresses = _addresses(given["addresses"])
    node = _whole("node", given["node"])
    if node not in addresses:
        raise BadSettings(f"node {node} has no address; those given are of {sorted(addresses)}")
    transport = given.get("transport", "tcp")
    if transport not in TRANSPORTS:
        raise BadSettings(f"transport must be tcp or udp, not {transport!r}")
    protocol_class(given["protocol"], given.get("mutant"))
    return Settings(
        protocol=given["protocol"],
        mutant=given.get("mutant"),
        node=node,
        addresses=addresses,
        host=given.get("host"),
        peer_port=_port("peer_port", given.get("peer_port", addresses[node][1])),
        client_port=_port("client_port", given.get("client_port", 7001)),
        data=Path(given["data"]),
        transport=transport,
        seed=_whole("seed", given.get("seed", 0)),
        cluster=_cluster(given.get("cluster", {}), tuple(sorted(addresses))),
    )


def _addresses(given: Any) -> dict[NodeId, tuple[str, int]]:
    if not isinstance(given, dict) or not given:
        raise BadSettings('addresses must be an object such as {"1": ["host", 7000]}')
    try:
        return {
            int(node): (str(host), _port(f"the port of node {node}", port))
            for node, (host, port) in given.items()
        }
    except (TypeError, ValueError) as error:
        raise BadSettings(f"addresses: {error}") from None


def _cluster(given: Any, nodes: tuple[NodeId, ...]) -> ClusterConfig:
    names = [f.name for f in dataclasses.fields(ClusterConfig)]
    if not isinstance(given, dict):
        raise BadSettings("cluster must be a JSON object")
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise BadSettings(
            f"unknown cluster setting {unknown[0]!r}; the settings are {', '.join(names)}"
        )
    fields: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
    }
    for name, value in fields.items():
        if name not in ("nodes", "learners", "reads", "options"):
            _whole(name, value)
    fields.setdefault("nodes", nodes)
    return ClusterConfig(**fields)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadSettings(f"{name} must be a whole number, not {value!r}")
    return value


def _port(name: str, value: Any) -> int:
    if not 0 <= _whole(name, value) <= 65535:
        raise BadSettings(f"{name} must be a port, not {value}")
    return int(value)

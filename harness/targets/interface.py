"""The seam of a target, and the one that is used unless another is given: our own node image."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

import docker

from harness.runtimes.docker.images import ensure_image


class Target(Protocol):
    """Which image a node runs, and with which arguments."""

    def image(self, api: docker.APIClient, say: Callable[[str], None]) -> str:
        """The image's name; it is there when this returns. Raises EngineError."""
        ...

    def command(self, settings: dict[str, Any]) -> list[str]:
        """The arguments of a node's container. `settings` is what our own nodes are told: node,
        addresses ({"1": [host, port]}), client_port, peer_port, data, seed, and more."""
        ...


class NodeImage:
    """Our own nodes."""

    def image(self, api: docker.APIClient, say: Callable[[str], None]) -> str:
        return ensure_image(api, say).name

    def command(self, settings: dict[str, Any]) -> list[str]:
        return [json.dumps(settings, separators=(",", ":"))]

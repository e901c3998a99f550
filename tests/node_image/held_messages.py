"""A world in which a test holds messages back, and releases them one by one."""

from __future__ import annotations

from typing import Any

from tests.node_image.cluster import World

Link = tuple[int, int]


class HeldMessages:
    """Holds messages of chosen classes on chosen links of `world`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held: list[tuple[int, int, Any]] = []
        self.rules: list[tuple[type[Any], set[Link]]] = []
        world.intercept = self._intercept

    def _intercept(self, sender: int, to: int, message: Any) -> bool:
        for kind, links in self.rules:
            if isinstance(message, kind) and (sender, to) in links:
                self.held.append((sender, to, message))
                return True
        return False

    def hold(self, kind: type[Any], *links: Link) -> None:
        self.rules.append((kind, set(links)))

    def release(self, kind: type[Any], link: Link, which: int = 0) -> None:
        """Deliver one of the messages of this kind that were held on this link."""
        found = [h for h in self.held if h[:2] == link and isinstance(h[2], kind)]
        sender, to, message = found[which]
        self.world._arrive(to, sender, message)

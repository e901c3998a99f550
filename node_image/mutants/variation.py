"""How a planted bug is made: a class of its protocol with one method, or one part, replaced.

    vary(protocol, name=function)                    the protocol's own method
    vary_part(protocol, "election", name=function)   a method of a part that the protocol owns
    vary_part(protocol, "leadership.reads", ...)     a method of a part of a part

A part can be replaced where its owner names its type: `election_type` for "election". Bugs that
several protocols can have are functions from a protocol's class to such a class; the others are
ordinary subclasses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from node_image.protocols.context import Context
from node_image.protocols.interface import ClusterConfig

Protocol: TypeAlias = type[Any]
Variation: TypeAlias = Callable[[Protocol], Protocol]
"""Makes the variant of a protocol that has the bug."""


def vary(cls: type[Any], **attributes: Any) -> type[Any]:
    """A subclass with these attributes in place of its own."""
    unknown = [name for name in attributes if not hasattr(cls, name)]
    if unknown:
        raise TypeError(f"{cls.__name__} has no {', '.join(unknown)} to replace")
    return type(cls.__name__, (cls,), attributes)


def vary_part(owner: type[Any], path: str, **attributes: Any) -> type[Any]:
    """A subclass of `owner` whose part at `path` has these attributes in place of its own."""
    name, _, rest = path.partition(".")
    part = getattr(owner, f"{name}_type")
    changed = vary_part(part, rest, **attributes) if rest else vary(part, **attributes)
    return vary(owner, **{f"{name}_type": changed})


def part_of(owner: type[Any], path: str) -> type[Any]:
    """The type of the part at `path`: for a method that calls the one it replaces."""
    for name in path.split("."):
        owner = getattr(owner, f"{name}_type")
    return owner


def configured(protocol: Protocol, change: Callable[[ClusterConfig], dict[str, Any]]) -> Protocol:
    """The protocol with some settings changed."""

    def init(self: Any, context: Context) -> None:
        context.config = replace(context.config, **change(context.config))
        protocol.__init__(self, context)

    return vary(protocol, __init__=init)

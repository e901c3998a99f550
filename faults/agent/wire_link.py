"""One directed link of the wire: when a packet is sent on, and whether it is lost or changed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

from faults.agent.link_shape import SIGMA, TABLE_SIZE, Shape, table

ETHERNET: Final = 14


@dataclass(eq=False)
class Link:
    """Its current shape, how many packets it holds, and counters."""

    shape: Shape
    held: int = 0
    busy_until_ns: int = 0
    """When the last packet will have passed, at the link's rate."""
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("passed", "lost", "over_limit", "duplicated", "held_back", "corrupted", "send_errors"),
            0,
        )
    )
    dropped: int = 0
    """Of those over the limit, the ones that no rate held up: they should have passed."""
    told: int = 0
    """Of these, those that have been told of."""
    late_ns_sum: int = 0
    late_ns_max: int = 0

    def take_shape(self, shape: Shape) -> None:
        """From now on it has this one; packets that are held stay held."""
        self.shape = shape
        if not shape.rate_bps:
            self.busy_until_ns = 0

    def take(self, now_ns: int, size: int, of_class: Shape | None = None) -> list[int]:
        """The same as `due_ns`, for packets that are held from now on; nothing where there is no
        room. A packet that is dropped takes none of the rate."""
        room = self.shape.limit - self.held
        due = self.due_ns(now_ns, size, of_class, room=room) if room > 0 else []
        if room <= 0:
            self.counts["over_limit"] += 1
            self.dropped += not (of_class or self.shape).rate_bps
        self.held += len(due)
        return due

    def due_ns(
        self, now_ns: int, size: int, of_class: Shape | None = None, *, room: int = 2
    ) -> list[int]:
        """When to send a packet of `size` bytes that comes now, and its copy if it has one;
        nothing where it is lost. `of_class`: its shape, where its class has one of its own; `room`:
        for how many packets there is.

        The rate counts copies, and is applied before holding back: a packet that is held back can
        be overtaken by later ones.
        """
        shape = of_class or self.shape
        if shape.loss and random.random() < shape.loss:
            self.counts["lost"] += 1
            return []
        due = now_ns + shape.delay_us * 1000
        if shape.jitter_us:
            due = max(now_ns, due + _jitter_ns(shape))
        copies = 1
        if shape.duplicate and random.random() < shape.duplicate:
            if room > 1:
                self.counts["duplicated"] += 1
                copies = 2
            else:
                self.counts["over_limit"] += 1
        last = due
        if shape.rate_bps:
            passing_ns = size * 8_000_000_000 // shape.rate_bps
            due = max(due, self.busy_until_ns) + passing_ns
            last = self.busy_until_ns = due + (copies - 1) * passing_ns
        if shape.reorder and random.random() < shape.reorder:
            due += int(random.random() * shape.reorder_us * 1000)
            self.counts["held_back"] += 1
        if copies == 1:
            return [due]
        return [due, max(due, last) + int(random.random() * shape.duplicate_us * 1000)]

    def damaged(self, frame: bytes, of_class: Shape | None = None, header: int = ETHERNET) -> bytes:
        """The frame, with one bit flipped with the shape's probability, after the link layer's
        header of so many bytes."""
        if len(frame) <= header or random.random() >= (of_class or self.shape).corrupt:
            return frame
        self.counts["corrupted"] += 1
        changed = bytearray(frame)
        changed[random.randrange(header, len(frame))] ^= 1 << random.randrange(8)
        return bytes(changed)

    def take_dropped(self) -> int:
        """Those since this was asked last."""
        new = self.dropped - self.told
        self.told += new
        return new

    def sent(self, late_ns: int) -> None:
        self.held -= 1
        self.counts["passed"] += 1
        self.late_ns_sum += late_ns
        self.late_ns_max = max(self.late_ns_max, late_ns)

    def to_json(self) -> dict[str, Any]:
        happened = {name: count for name, count in self.counts.items() if count}
        mean_us = self.late_ns_sum // max(1, self.counts["passed"]) // 1000
        late = {"late_us_mean": mean_us, "late_us_max": self.late_ns_max // 1000}
        return {**self.shape.to_json(), "held": self.held, **happened, **late}


def _jitter_ns(shape: Shape) -> int:
    values = table(shape.distribution)
    return values[random.randrange(TABLE_SIZE)] * shape.jitter_us * 1000 // SIGMA

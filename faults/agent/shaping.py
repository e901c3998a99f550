"""Shaping of the node's links: a `link_shape.Shape` is carried out by the kernel (`netem`) or, if
it has no netem, by this process (`wire`). Which one is found out by trying."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from faults.agent.bpf import ANY_OTHER
from faults.agent.errors import AgentError, Unsupported
from faults.agent.link_shape import Shape
from faults.agent.links import Clsacts
from faults.agent.netem import Netem
from faults.agent.synchronized_start import Wait, no_wait
from faults.agent.wire import Wire


class Shaper:
    """`set` takes the complete set of shaped links, as for cuts; an empty one heals."""

    def __init__(self, clsacts: Clsacts) -> None:
        self._lock = threading.Lock()
        self._wire = Wire(clsacts)
        self._netem: Netem | None = None
        self._usable: dict[str, str] = {}

    def probe(self) -> str:
        """Determines what this kernel and this container support: "netem", "wire" or "netem+wire".

        Raises Unsupported when neither works, with both reasons.
        """
        netem, reasons, remedies = Netem(), [], []
        for name, probe in (("netem", netem.probe), ("wire", self._wire.probe)):
            try:
                self._usable[name] = probe()
            except AgentError as error:
                reasons.append(f"{name}: {error}")
                remedies.append(error.remedy)
        if not self._usable:
            raise Unsupported("; ".join(reasons), "; ".join(dict.fromkeys(remedies)))
        self._netem = netem if "netem" in self._usable else None
        return "+".join(self._usable)

    def prepare(self) -> None:
        """Makes the wire's device and thread in advance, which takes some milliseconds."""
        with self._lock:
            if "wire" in self._usable:
                self._wire.prepare()

    def set(
        self,
        shapes: Mapping[str, Shape],
        wait: Wait = no_wait,
        leads: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """After `wait` these links are shaped and no others. Raises Unsupported, Failed. `leads`:
        of an address that shares a link with another one, the first of them.

        The answer's `began_ns` and `done_ns` enclose the time at which it took effect. `failed`:
        why links were not shaped for a while since the last answer, "" where they were.
        """
        with self._lock:
            by_netem, by_wire = self._shared_out(shapes)
            began_ns = 0

            def begin() -> None:
                nonlocal began_ns
                wait()
                began_ns = time.monotonic_ns()

            # A link that changes from one to the other is briefly shaped twice, but never unshaped.
            if self._netem is not None:
                self._netem.set(by_netem, begin, leads)
                self._wire.set(by_wire, no_wait, leads)
            else:
                self._wire.set(by_wire, begin, leads)
            done_ns = time.monotonic_ns()
            failed = self._wire.take_failure()
            return {"began_ns": began_ns, "done_ns": done_ns, "failed": failed} | self.state()

    def refresh(self) -> None:
        """Apply the shapes to interfaces added since. For the thread that watches them."""
        with self._lock:
            self._wire.refresh()
            if self._netem is not None:
                self._netem.refresh()

    def heal(self) -> None:
        """No link is shaped; the mechanisms' devices and qdiscs are removed."""
        with self._lock:
            self._wire.close()
            if self._netem is not None:
                self._netem.close()

    def state(self) -> dict[str, Any]:
        """By mechanism and address: the shape, and the mechanism's counters."""
        netem = self._netem.state() if self._netem is not None else {}
        return {"netem": netem, "wire": self._wire.state()}

    def _shared_out(self, shapes: Mapping[str, Shape]) -> tuple[dict[str, Shape], dict[str, Shape]]:
        """The shapes for netem and for the wire. Only the wire can keep a root qdisc of others."""
        if self._netem is None and "wire" not in self._usable and shapes:
            raise Unsupported(
                "links cannot be shaped here", "see the capabilities in the agent's first line"
            )
        if self._netem is None or not self._netem.is_free():
            return {}, dict(shapes)
        by_netem = {a: s for a, s in shapes.items() if s.fits_netem}
        by_wire = {a: s for a, s in shapes.items() if a not in by_netem}
        if by_wire and "wire" not in self._usable:
            raise Unsupported(
                "netem alone neither duplicates here, nor reorders what it delays",
                "give the agent's container /dev/net/tun, for the wire",
            )
        # "All others" of the wire would include the links of netem.
        return ({}, dict(shapes)) if by_wire and ANY_OTHER in shapes else (by_netem, by_wire)

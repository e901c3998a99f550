"""How the packets of one directed link are shaped: the description that both mechanisms share.

`netem` in the kernel and the agent's own wire implement the same `Shape`; `Shape.fits_netem` says
which shapes netem supports. Delays are drawn from the same tables in both.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from faults.agent.bpf import ANY_OTHER, packed
from faults.agent.errors import BadRequest

DISTRIBUTIONS: Final = ("uniform", "normal", "pareto", "paretonormal")
DELAY_US_MAX: Final = 60_000_000
RATE_BPS_LEAST, RATE_BPS_MAX = 1_000, 100_000_000_000
LIMIT_MAX: Final = 1_000_000
LIMIT: Final = 20_000
"""Packets held at most: netem's default of 1,000 drops packets at 20,000 a second and 50 ms."""
LINKS_MAX: Final = 1_000

TABLE_SIZE: Final = 4096
SIGMA: Final = 8192
"""One standard deviation in a table: NETEM_DIST_SCALE."""
_SHORT_MAX: Final = 32_767
PARETO_ALPHA: Final = 3.0


@dataclass(frozen=True)
class Shape:
    """What happens to each packet of a link. Probabilities are from 0 to 1.

    delay_us      how much later each packet arrives; `jitter_us` is the half width of a uniform
                  distribution, or the standard deviation of another; packets may overtake
    reorder       this share is held back, up to `reorder_us` longer (evenly distributed)
    duplicate     this share arrives twice, the copy up to `duplicate_us` later
    corrupt       in this share one bit is flipped, after the Ethernet header (netem: anywhere).
                  Checksums detect that: UDP and TCP drop the packet (but UDP without checksums)
    rate_bps      bits per second that pass, Ethernet header included; 0: no limit
    limit         packets that are held at most; more are dropped
    loss          this share is dropped (of a class of packets; filters do it for whole links)
    classes       by a text that a packet holds, the shape of such packets in place of this one
    """

    delay_us: int = 0
    jitter_us: int = 0
    distribution: str = "uniform"
    reorder: float = 0.0
    reorder_us: int = 0
    duplicate: float = 0.0
    duplicate_us: int = 0
    corrupt: float = 0.0
    rate_bps: int = 0
    limit: int = LIMIT
    loss: float = 0.0
    classes: tuple[tuple[bytes, Shape], ...] = ()

    def of(self, frame: bytes) -> Shape:
        """The shape of this packet: of the first class whose text it holds, else this one."""
        for text, shape in self.classes:
            if text in frame:
                return shape
        return self

    @property
    def fits_netem(self) -> bool:
        """Whether a netem qdisc for this link alone can implement it.

        Its copies have no delay of their own, and from Linux 6.16 on it refuses to duplicate beside
        other netem qdiscs. It reorders by sending some packets at once and delaying the others, so
        that excludes a delay for all. It cannot tell classes of packets apart.
        """
        if self.classes or self.loss:
            return False
        return not self.duplicate and not (self.reorder and (self.delay_us or self.jitter_us))

    def to_json(self) -> dict[str, Any]:
        """Only the fields that differ from their defaults."""
        shown: dict[str, Any] = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        if self.classes:
            shown["classes"] = {text.decode(): shape.to_json() for text, shape in self.classes}
        return shown


_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "delay_us": (0, DELAY_US_MAX),
    "jitter_us": (0, DELAY_US_MAX),
    "reorder": (0, 1),
    "reorder_us": (0, DELAY_US_MAX),
    "duplicate": (0, 1),
    "duplicate_us": (0, DELAY_US_MAX),
    "corrupt": (0, 1),
    "rate_bps": (0, RATE_BPS_MAX),
    "limit": (1, LIMIT_MAX),
    "loss": (0, 1),
}
CLASSES_MAX: Final = 32
TEXT_MAX: Final = 64
"""Maximum length in bytes of the text that identifies packets of a class."""


def wanted_shapes(shapes: object) -> dict[str, Shape]:
    """`{"address": {"delay_us": ...}}`, validated; "*" is for every other destination.

    Raises BadRequest.
    """
    if not isinstance(shapes, Mapping) or len(shapes) > LINKS_MAX:
        raise BadRequest("shapes is not an object", 'give {"address": {"delay_us": 50000}}')
    wanted = {}
    for address, values in shapes.items():
        if address != ANY_OTHER and len(packed(address)) == 6:
            raise BadRequest(f"{address} is a hardware address", "shape links by IP address")
        shape = _shape(str(address), values)
        if shape != Shape(limit=shape.limit):
            wanted[str(address)] = shape
    return wanted


def wanted_leads(together: object, shapes: Mapping[str, Shape]) -> dict[str, str]:
    """`[["address", ...], ...]`, each the addresses of one host: by each of those that are shaped,
    the first of them. Their packets share one rate and one queue. Raises BadRequest."""
    if not isinstance(together, list) or not all(isinstance(group, list) for group in together):
        raise BadRequest(f"same_link is {together!r}", 'give [["address", ...], ...]')
    leads: dict[str, str] = {}
    for group in together:
        shaped = [address for address in shapes if address in group]
        if any(shapes[a] != shapes[shaped[0]] for a in shaped) or any(a in leads for a in shaped):
            raise BadRequest(f"same_link has {group}", "give them one shape, and each once")
        leads |= dict.fromkeys(shaped, *shaped[:1])
    return leads


def _shape(address: str, values: object) -> Shape:
    if not isinstance(values, Mapping):
        raise BadRequest(f"the shape of {address} is {values!r}", 'give {"delay_us": 50000}')
    fields = dict(values)
    classes = _classes(address, fields.pop("classes", {}))
    for name, value in fields.items():
        if name == "distribution":
            if value not in DISTRIBUTIONS:
                raise BadRequest(f"no distribution {value!r}", f"one of {', '.join(DISTRIBUTIONS)}")
            continue
        if name not in _BOUNDS:
            raise BadRequest(f"a shape has no {name!r}", f"it has {', '.join(_BOUNDS)}")
        least, most = _BOUNDS[name]
        whole = most > 1
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise BadRequest(f"{name} of {address} is {value!r}", "give a number")
        if not least <= value <= most:
            raise BadRequest(f"{name} of {address} is {value}", f"from {least} to {most}")
    shape = Shape(**fields, classes=classes)
    if 0 < shape.rate_bps < RATE_BPS_LEAST:
        raise BadRequest(f"rate_bps of {address} is {shape.rate_bps}", f"from {RATE_BPS_LEAST} on")
    if bool(shape.reorder) != bool(shape.reorder_us):
        raise BadRequest(f"reorder and reorder_us of {address}", "give both, or neither")
    return shape


def _classes(address: str, classes: object) -> tuple[tuple[bytes, Shape], ...]:
    if not isinstance(classes, Mapping) or len(classes) > CLASSES_MAX:
        raise BadRequest(f"classes of {address} is not an object", 'give {"text": {"loss": 0.1}}')
    found = []
    for text, values in classes.items():
        if not text or len(str(text).encode()) > TEXT_MAX:
            raise BadRequest(f"a class of packets is {text!r}", f"1 to {TEXT_MAX} bytes of text")
        shape = _shape(f"{address} {text}", values)
        if shape.classes:
            raise BadRequest(f"a class of packets in {text!r}", "give classes of links only")
        found.append((str(text).encode(), shape))
    return tuple(found)


@functools.cache
def table(distribution: str) -> tuple[int, ...]:
    """Quantiles of a distribution of mean 0 and standard deviation SIGMA; of "uniform" SIGMA is
    half the width.

    Pareto has the exponent 3, moved to mean 0; paretonormal is a quarter normal, the rest Pareto.
    """
    normal = statistics.NormalDist()
    mean = PARETO_ALPHA / (PARETO_ALPHA - 1)
    deviation = (PARETO_ALPHA / ((PARETO_ALPHA - 1) ** 2 * (PARETO_ALPHA - 2))) ** 0.5

    def pareto(p: float) -> float:
        return float(((1 - p) ** (-1 / PARETO_ALPHA) - mean) / deviation)

    quantiles: dict[str, Callable[[float], float]] = {
        "uniform": lambda p: 2 * p - 1,
        "normal": normal.inv_cdf,
        "pareto": pareto,
        "paretonormal": lambda p: 0.25 * normal.inv_cdf(p) + 0.75 * pareto(p),
    }
    quantile = quantiles[distribution]
    values = (round(quantile((i + 0.5) / TABLE_SIZE) * SIGMA) for i in range(TABLE_SIZE))
    return tuple(max(-_SHORT_MAX, min(_SHORT_MAX, value)) for value in values)

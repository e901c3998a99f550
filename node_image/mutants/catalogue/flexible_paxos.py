"""Flexible Paxos: quorums that do not meet, and a control."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import (
    Mutant,
)

BUGS = (
    Mutant(
        id="F1",
        protocols=("flexible-paxos",),
        change="Q1 + Q2 = N is not refused",
        exposed_by="disjoint partition, then a new leader",
        shows="acknowledged write lost",
    ),
    Mutant(
        id="F2",
        protocols=("flexible-paxos",),
        change="Q1 and Q2 swapped, their sum still more than N",
        exposed_by="as F1",
        shows="nothing: it is safe",
        control=True,
    ),
)

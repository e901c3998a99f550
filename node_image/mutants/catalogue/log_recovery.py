"""The bugs of reading a damaged log, which any protocol can have."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import BASIC, FAST, MULTI, RAFT, Mutant

ALL = (*MULTI, *FAST, *BASIC, *RAFT)
LOSES = "acknowledged write lost"

BUGS = (
    Mutant(
        id="D1",
        protocols=ALL,
        change="cuts the log at the first bad record, as if it were torn, in whatever place",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
    ),
    Mutant(
        id="D2",
        protocols=ALL,
        change="skips bad records of the log, and uses those behind them",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
    ),
    Mutant(
        id="D3",
        protocols=ALL,
        change="takes a copy of the log that ends at the end of a record to be whole",
        exposed_by="a truncated log, then a quorum with the damaged node",
        shows=LOSES,
    ),
    Mutant(
        id="D4",
        protocols=ALL,
        change="cuts off what is not in both copies of the log, as never acknowledged",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
    ),
    Mutant(
        id="D5",
        protocols=ALL,
        change="starts with an empty log where it is damaged, and votes",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
    ),
    Mutant(
        id="D0",
        protocols=ALL,
        change="asks the copies of the log in the other order",
        exposed_by="nothing: every good record is as good as its copy",
        shows="nothing",
        control=True,
    ),
)

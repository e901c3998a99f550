"""Bugs of reading a damaged log, which any protocol can have."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import BASIC, FAST, MULTI, RAFT, Mutant

ALL = (*MULTI, *FAST, *BASIC, *RAFT)
LOSES = "acknowledged write lost"

BUGS = (
    Mutant(
        id="D1",
        protocols=ALL,
        change="cuts the log at the first bad record, as if it were torn, anywhere in the log",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
        scenario="test_log_recovery.test_each_bug_matches_its_description",
    ),
    Mutant(
        id="D2",
        protocols=ALL,
        change="skips bad records of the log, and uses those behind them",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
        scenario="test_log_recovery.test_each_bug_matches_its_description",
    ),
    Mutant(
        id="D3",
        protocols=ALL,
        change="takes a copy of the log that ends at the end of a record to be complete",
        exposed_by="a truncated log, then a quorum with the damaged node",
        shows=LOSES,
        scenario="test_log_recovery.test_each_bug_matches_its_description",
    ),
    Mutant(
        id="D4",
        protocols=ALL,
        change="truncates what is not in both copies of the log, as if unacknowledged",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
        scenario="test_log_recovery.test_each_bug_matches_its_description",
    ),
    Mutant(
        id="D5",
        protocols=ALL,
        change="starts with an empty log where it is damaged, and votes",
        exposed_by="disk damage, then a quorum with the damaged node",
        shows=LOSES,
        scenario="test_log_recovery.test_each_bug_matches_its_description",
    ),
    Mutant(
        id="D0",
        protocols=ALL,
        change="reads the copies of the log in the other order",
        exposed_by="nothing: every good record is as good as its copy",
        shows="nothing",
        scenario="test_log_recovery.test_each_bug_matches_its_description",
        control=True,
    ),
)

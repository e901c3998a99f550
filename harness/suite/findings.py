"""The failures of a night by signature: what failed, how reproducibly, and whether it is new.

A signature names the subject (a target, with its planted bug), the detector, and the kind of its
evidence: "raft+M3:linearizability:dirty-read". Failures with the same signature are one finding,
whose first run is confirmed and, if possible, shrunk.
"""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.errors import HarnessError
from harness.reproduce.replay import load, replay_real, replay_simulated
from harness.reproduce.shrink import shrink
from harness.run.observer import Observer
from harness.run.simulation import judge_fully, simulate, write_folder
from harness.suite.jobs import Job, JobResult
from harness.suite.location import location_of
from harness.suite.plan import Expected
from histories.errors import HistoryError

DETECTORS: Final = (
    "linearizability",
    "agreement",
    "liveness",
    "crash",
    "failover",
    "harness",
    "verdict",
)
"""What a signature may name as its detector."""


@dataclass(kw_only=True)
class Finding:
    """All failures of a night with the same signature. `status`: new, known, expected, or overdue
    (the date of its acceptance has passed). `since`: the first night that had it."""

    signature: str
    subject: str
    detector: str
    kind: str
    results: list[JobResult] = field(default_factory=list)
    status: str = "new"
    since: str | None = None
    reason: str = ""
    confirmed: str = ""
    shrunk: str | None = None
    shrunk_words: str = ""
    location: str = ""
    """Where in the protocol it arose (`harness.suite.location`); simulated runs only."""
    words: str = ""
    """The sentence, if it is not that of the first run."""

    @property
    def sentence(self) -> str:
        return self.words or self.results[0].sentence

    @property
    def is_failure(self) -> bool:
        """Whether the target failed, not the harness, and the outcome is not merely unknown."""
        return self.detector != "harness" and (
            self.detector == "failover" or any(r.outcome == "invalid" for r in self.results)
        )

    @property
    def folder(self) -> str | None:
        return next((r.folder for r in self.results if r.folder), None)

    @property
    def again(self) -> str:
        """The command that shows the failure."""
        folder = self.shrunk or self.folder
        if not folder:
            return ""
        quoted = shlex.quote(str(folder))
        if self.detector == "failover":
            return f"antipaxos check {quoted}" if self.results[0].outcome != "valid" else ""
        return f"antipaxos replay {quoted}"

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["results"] = [result.identity for result in self.results]
        return document | {"sentence": self.sentence, "folder": self.folder, "again": self.again}


def signature_of(job: Job, result: JobResult) -> tuple[str, str, str]:
    """(signature, detector, kind) of a failure. An earlier failure that is run again keeps its
    signature where the same detector objects: shrunk, it may show another anomaly."""
    detector, kind = result.symptoms[0] if result.symptoms else ("verdict", result.outcome)
    if job.known is not None and any(job.known[0] == found for found, _ in result.symptoms):
        detector, kind = job.known
    return f"{job.subject}:{detector}:{kind}", detector, kind


def gather(results: Iterable[tuple[Job, JobResult]]) -> list[Finding]:
    """The findings in some results, in the order of their first failures. Failures of the harness
    are findings too, but not about the target."""
    found: dict[str, Finding] = {}
    for job, result in results:
        if result.outcome == "valid":
            continue
        signature, detector, kind = signature_of(job, result)
        finding = found.setdefault(
            signature,
            Finding(signature=signature, subject=job.subject, detector=detector, kind=kind),
        )
        finding.results.append(result)
    return list(found.values())


def classify(
    finding: Finding, since: str | None, expected: Sequence[Expected], today: datetime.date
) -> None:
    """Determine whether a finding is new, known since an earlier night, or accepted."""
    finding.since = since
    accepted = next((e for e in expected if e.signature == finding.signature), None)
    if accepted is None:
        finding.status = "new" if since is None else "known"
    else:
        finding.status = "expected" if today <= accepted.until else "overdue"
        finding.reason = f"{accepted.reason} (until {accepted.until})"


def unmatched(expected: Sequence[Expected], findings: Sequence[Finding]) -> list[str]:
    """Of accepted failures that are none of the findings, in sentences: why they may not be."""
    found = {finding.signature for finding in findings}
    return [
        f"[[expected]] {one.signature}: {_why_unmatched(one.signature)}"
        for one in expected
        if one.signature not in found
    ]


def _why_unmatched(signature: str) -> str:
    detector = next((name for name in DETECTORS if f":{name}:" in signature), None)
    if detector is None:
        return f"it is not TARGET:DETECTOR:KIND, with one of the detectors {', '.join(DETECTORS)}"
    kind = signature.rpartition(f":{detector}:")[2]
    if " " in kind and detector in ("linearizability", "agreement"):
        return f"there is no such kind of evidence; kinds have hyphens: {kind.replace(' ', '-')}"
    return "it matched no failure of this night; leave it out when the failure is corrected"


def confirm(finding: Finding, times: int, store: Path) -> None:
    """Replay the finding's first failure, and record how often it failed in the same way."""
    if finding.folder is None or times < 1 or finding.detector in ("harness", "failover"):
        return
    try:
        recorded = load(finding.folder)
        if recorded.config.on == "sim":
            again = replay_simulated(recorded)
            same = "identical" if again.identical else "another history"
            finding.confirmed = f"replayed: {again.outcome}, {same}"
            return
        result = replay_real(recorded, times, store, Observer())
        finding.confirmed = f"{result.reproduced} of {times} replays failed in the same way"
    except (HarnessError, HistoryError) as error:
        finding.confirmed = f"could not be replayed: {error}"


def shrink_finding(finding: Finding, limit_s: float, store: Path) -> None:
    """Shrink the finding's first failure, if it was simulated."""
    if finding.folder is None or limit_s <= 0 or finding.detector in ("harness", "failover"):
        return
    try:
        recorded = load(finding.folder)
        if recorded.config.on != "sim":
            return
        result = shrink(recorded.config, recorded.schedule, limit_s=limit_s)
        run = simulate(*result.smallest, traced=True)
        judge_fully(run)
        name = f"shrunk-{Path(finding.folder).name}"
        finding.shrunk = str(write_folder(run, store, name).path)
        finding.shrunk_words = f"{result.before.describe()} -> {result.after.describe()}"
        finding.location = location_of(Path(finding.shrunk))
    except (HarnessError, HistoryError) as error:
        finding.shrunk_words = f"could not be shrunk: {error}"

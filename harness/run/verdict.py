"""The verdict on a run, from its history and the replicas' files alone.

    linearizability   what the clients saw was possible
    agreement         what replicas decided does not contradict itself or what was acknowledged, and
                      their states were the same after the same slots
    liveness          after healing, the cluster answered within the bound
    crashes           no node crashed by itself

Any detector's `invalid` makes the run invalid. Otherwise the run is `unknown`, never a pass, when
the checker ran out of time, a fault was not proven to have taken effect and to have ended, evidence
that should be recorded is missing, a client's own code failed, nothing was answered, or the run was
cut off or interrupted: it may be linearizable so far, and the output says both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from harness.run.expected import DECIDED, STATES, Expected, missing_evidence
from harness.run.node_findings import client_findings, node_findings
from harness.run.recorded_faults import faults_of, unproven
from histories.agreement import AgreementVerdict, check_folder
from histories.availability import Availability, measure
from histories.checker import EXIT_CODES, Verdict, check
from histories.errors import BadFolder, BadHistory, in_words
from histories.events import NEMESIS, Event, Json
from histories.folder import CRASHES, RunFolder
from histories.formats.native import History, read
from histories.text import one_line
from histories.untrusted import Malformed, read_document

WORDS_MAX: Final = 1_000
SENTENCE_MAX: Final = 4_000
"""The length of reasons and notes, which quote nodes and files."""


@dataclass(frozen=True)
class Liveness:
    """`outcome` is valid, invalid, or unknown if the run ended before its final round."""

    outcome: str
    reason: str = ""
    waived: bool = False
    """The run was configured without a final round."""


@dataclass(frozen=True, kw_only=True)
class RunVerdict:
    """The detectors' results, and the outcome. `faults` is one JSON object per fault."""

    outcome: str
    linearizability: Verdict
    agreement: AgreementVerdict | None
    liveness: Liveness
    availability: Availability
    faults: list[dict[str, Json]] = field(default_factory=list)
    crashes: tuple[str, ...] = ()
    """Nodes that crashed by themselves, and exceptions of a simulated protocol, as sentences."""
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    def detectors(self) -> dict[str, str]:
        """Each detector's own outcome."""
        return {
            "linearizability": self.linearizability.outcome,
            "agreement": self.agreement.outcome if self.agreement else "not judged",
            "liveness": self.liveness.outcome,
            "crashes": "invalid" if self.crashes else "valid",
        }

    def to_json(self) -> dict[str, Json]:
        """verdict.json."""
        return {
            "verdict": self.outcome,
            "detectors": self.detectors(),
            "reasons": self.reasons,
            "notes": self.notes,
            "availability": self.availability.to_json(),
            "linearizability": self.linearizability.to_json(),
            "agreement": self.agreement.to_json() if self.agreement else None,
            "liveness": {"outcome": self.liveness.outcome, "reason": self.liveness.reason},
            "faults": self.faults,
        }


Checker: TypeAlias = Callable[[History, str], Verdict]
"""Judges what clients saw, given the name of a model."""


def judge_folder(
    folder: RunFolder,
    *,
    model: str | None = None,
    initial: Json = None,
    time_limit_s: float | None = None,
    checker: Checker | None = None,
) -> RunVerdict:
    """Judge a recorded run, complete or cut off: at its end and whenever it is checked again.

    `checker`, if given, judges what clients saw, in place of the default with `initial` and
    `time_limit_s`. Raises HistoryError for what cannot be read.
    """
    history = read(folder.history)
    expected = Expected.of(folder)
    name = model or expected.model
    if checker is None:
        found = check(history, model=name, initial=initial, time_limit_s=time_limit_s)
    else:
        found = checker(history, name)
    missing = missing_evidence(folder, expected)
    lacking = {problem.what for problem in missing}
    agreement, unreadable = None, []
    if DECIDED not in lacking:
        try:
            agreement = check_folder(folder, history.events, with_states=STATES not in lacking)
        except BadHistory as error:  # the rest is judged despite a malformed file
            unreadable = [f"agreement was not judged: {error}"]
    return combine(
        history,
        found,
        agreement,
        crashes_of(folder),
        expected=expected,
        missing=[*(problem.sentence for problem in missing), *unreadable, *history.notes],
    )


def crashes_of(folder: RunFolder) -> list[str]:
    """The recorded exceptions of a simulated protocol, in words."""
    path = folder.nodes / CRASHES
    if not path.exists():
        return []
    try:
        return [str(crash["describe"]) for crash in read_document(path)]
    except Malformed as error:
        raise BadFolder(f"{path} {error}") from None
    except OSError as error:
        raise BadFolder(f"{path} cannot be read: {in_words(error)}") from None
    except (TypeError, KeyError, IndexError):
        raise BadFolder(f"{path} cannot be read: it is not a list of crashes") from None


def combine(
    history: History,
    linearizability: Verdict,
    agreement: AgreementVerdict | None,
    crashes: Sequence[str] = (),
    *,
    expected: Expected,
    missing: Sequence[str] = (),
) -> RunVerdict:
    """The verdict from the detectors' findings, for a run with this history. A protocol that raised
    an exception is a finding of its own: `crashes` has them, in words. `missing`: missing evidence,
    in sentences."""
    events = history.events
    availability = measure(events)
    faults = faults_of(events)
    nodes, clients = node_findings(events), client_findings(events)
    failed = [finding.sentence for finding in clients if finding.failed]
    liveness = _liveness(events, failed)
    crashes = [*crashes, *(finding.sentence for finding in nodes if finding.by_itself)]
    invalid = [*crashes, *_invalid_reasons(linearizability, agreement, liveness)]
    doubtful = [f.sentence for f in nodes if not f.by_itself and not f.explained]
    doubtful += failed
    doubtful += [*missing, *unproven(faults, kept=expected.keeps_faults)]
    doubtful += _doubts(linearizability, liveness, availability)
    return RunVerdict(
        outcome="invalid" if invalid else "unknown" if doubtful else "valid",
        linearizability=linearizability,
        agreement=agreement,
        liveness=liveness,
        availability=availability,
        faults=faults,
        crashes=tuple(crashes),
        reasons=[one_line(reason, SENTENCE_MAX) for reason in invalid + doubtful],
        notes=[
            one_line(note, SENTENCE_MAX)
            for note in [
                *_notes(history, agreement, liveness, expected),
                *(finding.sentence for finding in nodes if finding.explained),
                *(finding.sentence for finding in clients if not finding.failed),
            ]
        ],
    )


def _invalid_reasons(
    linearizability: Verdict, agreement: AgreementVerdict | None, liveness: Liveness
) -> list[str]:
    reasons = []
    if linearizability.outcome == "invalid":
        reasons.append(linearizability.sentence)
    if agreement is not None and agreement.outcome == "invalid":
        reasons += [finding.sentence for finding in agreement.findings[:3]]
    if liveness.outcome == "invalid":
        reasons.append(liveness.reason)
    return reasons


def _doubts(linearizability: Verdict, liveness: Liveness, availability: Availability) -> list[str]:
    doubts = [liveness.reason] if liveness.outcome == "unknown" and not liveness.waived else []
    if linearizability.outcome == "unknown":
        doubts.append(linearizability.sentence)
    if not availability.latencies:
        doubts.append("no operation was answered: there is nothing to judge")
    return doubts


def _notes(
    history: History,
    agreement: AgreementVerdict | None,
    liveness: Liveness,
    expected: Expected,
) -> list[str]:
    notes: list[str] = []
    if agreement is None and not expected.decided_logs:
        notes.append("the target has no decided logs: agreement was not judged")
    elif agreement is not None:
        notes += agreement.notes
    if liveness.waived:
        notes.append(liveness.reason)
    return notes


def _liveness(events: Sequence[Event], failed: Sequence[str]) -> Liveness:
    phase = next((e for e in reversed(events) if e.f == "phase" and e.process == NEMESIS), None)
    if phase is None or phase.value != "done":
        return Liveness("unknown", "the run was cut off: liveness was not checked")
    end = phase.extra or {}
    if end.get("not_live"):
        reason = one_line(str(end["not_live"]), WORDS_MAX)
        return Liveness("unknown" if failed else "invalid", reason)
    if end.get("why"):
        why = one_line(str(end["why"]), WORDS_MAX)
        return Liveness("unknown", f"the run was stopped {why}")
    if end.get("interrupted"):
        return Liveness("unknown", "the run was interrupted: liveness was not checked")
    if end.get("finale") is False:
        reason = "the run had no final round: liveness was not checked"
        return Liveness("unknown", reason, waived=True)
    return Liveness("valid")

"""The errors of the harness itself, and the exit code of each.

HarnessError (71)           any other failure of the harness
  +-- UsageError (64)       invalid options or input; nothing was started
      |     +-- UnknownChoice   a name that does not exist; lists the ones that do
      +-- EngineError (69)      no Docker engine, or it refused a request
      +-- StartError (70)       the cluster did not start; has the node's last log lines
      +-- TargetError (70)      a target's own code raised, returned a wrong value, or hung

Verdicts have the exit codes 0, 1 and 2; everything else is 64 or above.
"""

from __future__ import annotations

from collections.abc import Iterable


class HarnessError(Exception):
    """Base class. The message says what happened, `remedy` what to do next."""

    exit_code = 71

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class UsageError(HarnessError):
    exit_code = 64


class UnknownChoice(UsageError):
    def __init__(self, what: str, name: str, choices: Iterable[str]) -> None:
        super().__init__(
            f"no {what} {name!r}", remedy=f"choose one of: {', '.join(sorted(choices))}"
        )


class EngineError(HarnessError):
    exit_code = 69


class StartError(HarnessError):
    exit_code = 70


class TargetError(HarnessError):
    """The code of the target failed, not the cluster."""

    exit_code = 70

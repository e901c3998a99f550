"""Kinds of option values: numbers within bounds, durations such as 30s, lists such as
partition,kill, settings a=b.

What is refused is refused in one sentence that names the option (click does), the value, and what
is allowed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from functools import partial
from types import ModuleType
from typing import Any, Final

import click

from harness.run.limits import (
    CONCURRENCY_MAX,
    JOBS_MAX,
    KEYS_MAX,
    NODES_MAX,
    RATE_MAX,
    RATE_MIN,
    SEEDS_MAX,
    TIME_MAX_US,
)


def _durations() -> ModuleType:
    """`antipaxos check` imports nothing of `faults` unless it needs it."""
    from faults import durations  # noqa: PLC0415

    return durations


class Whole(click.ParamType):  # type: ignore[type-arg]
    """A whole number from `least` to `most`."""

    name = "integer"

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        number = int(text) if re.fullmatch(r"[+-]?\d{1,30}", text) else None
        if number is None or not self.least <= number <= self.most:
            allowed = f"from {self.least:,} to {self.most:,}"
            self.fail(f"{text!r} is not a whole number {allowed}", param, ctx)
        return number


class Number(click.ParamType):  # type: ignore[type-arg]
    """A finite number from `least` to `most`."""

    name = "number"

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = self._read(str(value))
        if not self.least <= number <= self.most:  # false of nan, too
            allowed = f"from {self.least:g} to {self.most:,.15g}"
            self.fail(f"{str(value)!r} is not a {self.name} {allowed}{self._hint()}", param, ctx)
        return number

    def _read(self, text: str) -> float:
        """The value; nan if it is none."""
        try:
            return float(text)
        except ValueError:
            return math.nan

    def _hint(self) -> str:
        return ""


class Duration(click.ParamType):  # type: ignore[type-arg]
    """ "30s", "500ms", "2min" or plain seconds, at most seven days; the value is microseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        durations = _durations()
        micros = durations.parse_us(str(value), bare="s")
        if micros is None or not 1 <= micros <= TIME_MAX_US:
            self.fail(
                f"{str(value)!r} is not a duration from 1us to 168h, such as "
                f"{durations.EXAMPLES}; a number without a unit means seconds",
                param,
                ctx,
            )
        return int(micros)


class Seconds(Number):
    """A limit: the same as a duration, but the value is seconds from `least` to `most`."""

    name = "duration"

    def _read(self, text: str) -> float:
        if not math.isnan(seconds := super()._read(text)):
            return seconds
        micros = _durations().parse_us(text)
        return math.nan if micros is None else micros / 1e6

    def _hint(self) -> str:
        return f" seconds, such as {_durations().EXAMPLES}; a number without a unit means seconds"


NODES: Final = Whole(1, NODES_MAX)
LEARNERS: Final = Whole(0, NODES_MAX)
CONCURRENCY: Final = Whole(1, CONCURRENCY_MAX)
KEYS: Final = Whole(1, KEYS_MAX)
RATE: Final = Number(RATE_MIN, RATE_MAX)
JOBS: Final = Whole(1, JOBS_MAX)
SEEDS: Final = Whole(1, SEEDS_MAX)
SEED: Final = Whole(-(2**63), 2**63 - 1)
FIRST_SEED: Final = Whole(0, SEEDS_MAX)


class Command(click.Command):
    """Refuses an option that is given twice: the first value would be ignored."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            for option, times in Counter(map(id, order)).items():
                parameter = next(one for one in order if id(one) == option)
                if times > 1 and isinstance(parameter, click.Option) and not parameter.multiple:
                    raise click.UsageError(f"{parameter.opts[0]} was given {times} times", ctx)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """How durations are written, if an option is one."""
        if any(isinstance(parameter.type, Duration | Seconds) for parameter in self.params):
            formatter.write_paragraph()
            formatter.write_text(
                f"A DURATION is written as {_durations().EXAMPLES}; a number without a unit means "
                "seconds."
            )
        super().format_epilog(ctx, formatter)


command = partial(click.command, cls=Command)


class Names(click.ParamType):  # type: ignore[type-arg]
    """A comma-separated list; "none" is the empty one."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = [name.strip() for name in str(value).split(",")]
        names = [name for name in names if name]
        if not names:
            self.fail(f"{value!r}: give names, separated by commas, or none", param, ctx)
        if "none" in names and len(names) > 1:
            self.fail(f"{value!r}: none cannot be combined with other kinds", param, ctx)
        return tuple(name for name in names if name != "none")


class Setting(click.ParamType):  # type: ignore[type-arg]
    """NAME=VALUE; the value is JSON where it reads as JSON, else a string."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text

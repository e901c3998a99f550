"""Kinds of option values: durations such as 30s, lists such as partition,kill, settings a=b."""

from __future__ import annotations

import json
import re
from typing import Any

import click

_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """ "30s", "500ms", "2m" or plain seconds; the value is microseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|min|h)?", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no duration; write 30s, 500ms or 2m", param, ctx)
        number, unit = match.groups()
        micros = round(float(number) * _UNITS[unit or "s"])
        if micros <= 0:
            self.fail("a duration must be longer than nothing", param, ctx)
        return micros


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

"""The text of a hand-written schedule: values with their types, and errors with their lines."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from faults import durations
from faults.description import BadFault, written

TIME_US_MAX: Final = 366 * 24 * durations.UNITS_US["h"]
INTEGER_MAX: Final = 1 << 63
"""TOML's integers have 64 bits; longer ones could not be recorded."""
WORDS_MAX: Final = 600
TYPES: Final[dict[str, tuple[type, str]]] = {
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
}
"""The types of the fields of faults, and how each is asked for."""


class BadSchedule(BadFault):
    """A schedule file that cannot be used; the message says where and why."""


class ScheduleText:
    """One file. `number` is that of a [[fault]], from 1; 0 means outside of them."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._text = text
        self._lines = text.splitlines()

    def parsed(self) -> dict[str, Any]:
        """The whole document. Raises BadSchedule."""
        try:
            data = tomllib.loads(self._text)
        except ValueError as error:  # not only TOMLDecodeError: a number of too many digits
            raise BadSchedule(f"{self.name}: {short(str(error))}") from None
        except RecursionError:
            raise BadSchedule(f"{self.name}: its values are nested too deeply") from None
        if _has_long_integer(data):
            raise BadSchedule(f"{self.name}: it has a number of more than 64 bits")
        return data

    # ------------------------------------------------------------------ values

    def only(self, entry: Any, names: Sequence[str], what: str, number: int) -> None:
        """Raises BadSchedule where an entry is not a table, or has another field."""
        if not isinstance(entry, Mapping):
            raise self.wrong(f"{what} is {written(entry)}, not a table", number, "")
        if unknown := [name for name in entry if name not in names]:
            said = f"{what} has no {written(unknown[0])}; its fields are {', '.join(names)}"
            raise self.wrong(said, number, unknown[0])

    def typed(self, entry: Mapping[str, Any], name: str, kind: str, number: int) -> Any:
        """A value of one of TYPES."""
        value, (wanted, words) = entry[name], TYPES[kind]
        if type(value) is not wanted:
            raise self.wrong(f"{name} is {written(value)}; write {words}", number, name)
        return value

    def time(
        self, entry: Mapping[str, Any], name: str, number: int, *, signed: bool = False
    ) -> int:
        """A duration such as "1.5s", in microseconds."""
        value = entry.get(name)
        micros = durations.parse_us(value) if isinstance(value, str) else None
        if micros is None:
            said = f'{name} is {written(value)}; write a time such as "30s", "500ms" or "2min"'
            raise self.wrong(said, number, name)
        if abs(micros) > TIME_US_MAX:
            raise self.wrong(
                f"{name} is {written(value)}; that is longer than a year", number, name
            )
        if str(value).strip().startswith("-") and not signed:
            raise self.wrong(f"{name} is {written(value)}; it must not be negative", number, name)
        return micros

    # ------------------------------------------------------------------ errors

    def wrong(self, said: str, number: int, key: str) -> BadSchedule:
        return BadSchedule(f"{self.name}, line {self._line(number, key)}: {short(said)}")

    def _line(self, number: int, key: str) -> int:
        """The line of `key` in the `number`-th [[fault]], else of its header."""
        section = faults = 0
        first = 1
        for i, line in enumerate(self._lines, 1):
            if re.match(r"\s*\[\[\s*fault", line):
                faults += 1
                section = faults
                first = i if section == number else first
            elif re.match(r"\s*\[\s*random", line):
                section = 0
            if section == number and key and _begins_with(line, key):
                return i
        return first


def _begins_with(line: str, key: str) -> bool:
    return re.match(rf"\s*\[?\s*[\"']?{re.escape(key)}(?!\w)", line) is not None


def short(text: str) -> str:
    """An error may quote what the file says, which may be long or have line breaks."""
    cut = text if len(text) <= WORDS_MAX else text[: WORDS_MAX - 1] + "…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def field_type(field: dataclasses.Field[Any]) -> str:
    """The type of a fault's field, as it is written there."""
    return field.type if isinstance(field.type, str) else field.type.__name__


def _has_long_integer(data: Any) -> bool:
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, int) and not -INTEGER_MAX <= value < INTEGER_MAX:
            return True
        if isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return False

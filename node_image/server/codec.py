"""NamedTuples as JSON arrays, and back, from their annotations.

    Accept(Ballot(3, 1), 7, (Command(4, 1, "write", "x", 9),), 6)
    ["Accept",[3,1],7,[[4,1,"write","x",9]],6]

The standard encoder already writes a NamedTuple as an array; only decoding needs the types. For
every class a decoder is built once, from closures. It validates its input: the result of `decode`
matches the annotations, so a damaged or malicious frame is an error here, and never an exception in
a protocol.

A frame is a four-byte big-endian length and that many bytes of JSON.
"""

from __future__ import annotations

import json
import struct
import types
from collections.abc import Callable, Iterable
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

FRAME_MAX: Final = 64 * 1024 * 1024
LENGTH: Final = struct.Struct(">I")

Decoder = Callable[[Any], Any]


class CodecError(ValueError):
    """These bytes are not a message; the text explains why."""


class Codec:
    """Encodes and decodes the given NamedTuple classes, which need distinct names."""

    def __init__(self, kinds: Iterable[type[Any]]) -> None:
        self._encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
        self._decoders: dict[str, Decoder] = {}
        for kind in kinds:
            if kind.__name__ in self._decoders:
                raise ValueError(f"two messages are called {kind.__name__}")
            self._decoders[kind.__name__] = _tuple_decoder(kind)

    def encode(self, message: tuple[Any, ...]) -> bytes:
        """The JSON of one message."""
        return self._encode((type(message).__name__, *message)).encode()

    def frame(self, message: tuple[Any, ...]) -> bytes:
        """The same with its length in front. Raises CodecError when it is too long."""
        payload = self.encode(message)
        if len(payload) > FRAME_MAX:
            raise CodecError(f"a {type(message).__name__} of {len(payload)} bytes is too long")
        return LENGTH.pack(len(payload)) + payload

    def decode(self, payload: bytes | memoryview) -> tuple[Any, ...]:
        """The message that `encode` wrote. Raises CodecError for anything else."""
        try:
            name, *fields = json.loads(bytes(payload))
            message: tuple[Any, ...] = self._decoders[name](fields)
        except CodecError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CodecError(f"no message: {error!r}: {bytes(payload[:80])!r}") from None
        return message


def _tuple_decoder(kind: type[Any]) -> Decoder:
    hints = get_type_hints(kind)
    names: tuple[str, ...] = kind._fields
    decoders = tuple(_decoder(hints[name]) for name in names)
    arity, make = len(names), kind._make

    def decode(value: Any) -> Any:
        if type(value) is not list or len(value) != arity:
            raise CodecError(f"{kind.__name__} takes {arity} fields, not {value!r:.80}")
        return make([d(v) for d, v in zip(decoders, value, strict=True)])

    return decode


def _decoder(hint: Any) -> Decoder:
    """The decoder for one annotation."""
    if hint is Any:
        return _anything
    if hint in _SCALARS:
        return _scalar_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return _tuple_decoder(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _sequence_decoder(_decoder(arguments[0]))
    if origin in (Union, types.UnionType):
        return _union_decoder([_decoder(a) for a in arguments])
    if origin is tuple:
        return _fixed_decoder(tuple(_decoder(a) for a in arguments))
    raise TypeError(f"no wire form for {hint!r}")


_SCALARS: Final = (int, str, bool, float, type(None))


def _anything(value: Any) -> Any:
    return value


def _scalar_decoder(kind: type[Any]) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise CodecError(f"expected {kind.__name__}, not {value!r:.80}")
        return value

    return decode


def _sequence_decoder(item: Decoder) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise CodecError(f"expected an array, not {value!r:.80}")
        return tuple([item(v) for v in value])

    return decode


def _fixed_decoder(items: tuple[Decoder, ...]) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not list or len(value) != len(items):
            raise CodecError(f"expected {len(items)} items, not {value!r:.80}")
        return tuple([d(v) for d, v in zip(items, value, strict=True)])

    return decode


def _union_decoder(choices: list[Decoder]) -> Decoder:
    def decode(value: Any) -> Any:
        for choice in choices:
            try:
                return choice(value)
            except CodecError:
                continue
        raise CodecError(f"none of the types fits {value!r:.80}")

    return decode


class FrameReader:
    """Splits a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now. Raises CodecError for an invalid length."""
        data = self._rest + data if self._rest else data
        frames, start, end = [], 0, len(data)
        while end - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(data, start)
            if length > FRAME_MAX:
                raise CodecError(f"a frame of {length} bytes is too long")
            if end - start - LENGTH.size < length:
                break
            start += LENGTH.size
            frames.append(data[start : start + length])
            start += length
        self._rest = data[start:]
        return frames

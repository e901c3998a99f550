"""Every message and record round-trips through the codec; nothing else is decoded as one."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.mutants import PROTOCOLS
from node_image.protocols.multi_paxos_messages import MESSAGES, Accept
from node_image.server.codec import FRAME_MAX, LENGTH, Codec, CodecError, FrameReader

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def strategy_for(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation, as the codec understands it."""
    if hint is Any:
        return json_values
    simple = {
        int: st.integers(-(2**70), 2**70),
        str: st.text(max_size=8),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        type(None): st.none(),
    }
    if hint in simple:
        return simple[hint]
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        hints = get_type_hints(hint)
        return st.builds(hint, *(strategy_for(hints[name]) for name in hint._fields))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(strategy_for(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(strategy_for(a) for a in arguments))
    return st.one_of(*(strategy_for(a) for a in arguments))


def kinds() -> list[type[Any]]:
    found: dict[type[Any], None] = {}
    for protocol in PROTOCOLS.values():
        found.update(dict.fromkeys((*protocol.messages, *protocol.records)))
    return list(found)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_messages_and_records_round_trip(kind: type[Any], data: st.DataObject) -> None:
    codec = Codec([kind])
    message = data.draw(strategy_for(kind))
    decoded = codec.decode(codec.encode(message))
    assert decoded == message
    assert type(decoded) is kind
    assert repr(decoded) == repr(message), "nested types, and 1 is not 1.0"


class Shapes(NamedTuple):
    """Annotations that no protocol uses."""

    pair: tuple[int, str]
    maybe: int | None
    numbers: tuple[float, ...]


@settings(deadline=None)
@given(strategy_for(Shapes))
def test_other_annotations(message: Shapes) -> None:
    codec = Codec([Shapes])
    assert codec.decode(codec.encode(message)) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"17",
        b"null",
        b'["Nothing",1]',
        b'["Accept"]',
        b'["Accept",[1,1],1,[],0,0]',
        b'["Accept",[1,"1"],1,[],0]',
        b'["Accept",[1,1],true,[],0]',
        b'["Accept",[1,1],1.0,[],0]',
        b'["Accept",[1,1],1,[[1,2,3]],0]',
        b'["Accept",[1,1],1,{"a":1},0]',
        b'[["Accept"],1]',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_invalid_messages_are_an_error(payload: bytes) -> None:
    with pytest.raises(CodecError):
        Codec(MESSAGES).decode(payload)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_only_raise_an_error(payload: bytes) -> None:
    with pytest.raises(CodecError):
        Codec(MESSAGES).decode(payload)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 17))
def test_frames_are_reassembled_from_any_fragments(payloads: list[bytes], size: int) -> None:
    stream = b"".join(LENGTH.pack(len(p)) + p for p in payloads)
    reader, found = FrameReader(), []
    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])
    assert found == payloads


def test_an_impossible_length_is_an_error() -> None:
    with pytest.raises(CodecError, match="too long"):
        FrameReader().feed(LENGTH.pack(FRAME_MAX + 1))


def test_two_messages_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two messages"):
        Codec([Accept, Accept])

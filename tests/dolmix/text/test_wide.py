"""Thirty-two bytes at a time: what is found of each byte is what one byte at a time gives."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolmix.document import U8Array
from dolmix.text.compiled import kernel
from dolmix.text.wide import WIDTH, below_32, copy_32, equal_32, is_utf8

ODD = [0x00, 0x20, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0]
ODD += [0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
"""Bytes on both sides of every limit of Unicode's table of well-formed sequences."""
CHARACTERS = ["a", "\x7f", "é", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000"]
CHARACTERS += ["\U0010ffff", "plain letters"]
texts = st.lists(st.sampled_from(CHARACTERS), max_size=60).map(lambda c: "".join(c).encode())


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Draw UTF-8 in which a byte or two became others, or that was cut somewhere."""
    data = bytearray(draw(texts))
    for _ in range(draw(st.integers(0, 2))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from(ODD))
    return bytes(data[draw(st.integers(0, 4)) : len(data) - draw(st.integers(0, 4))])


def as_array(data: bytes) -> U8Array:
    """(B,) uint8: the bytes."""
    return np.frombuffer(data, np.uint8)


@kernel
def masks(data: U8Array, place: int, byte: int, out: U8Array, to: int) -> tuple[int, int]:
    """Call each of the vector operations once."""
    copy_32(data, place, out, to)
    return int(equal_32(data, place, byte)), int(below_32(data, place, byte))


@settings(deadline=None)
@given(texts | broken() | st.lists(st.sampled_from(ODD), max_size=6).map(bytes))
@example(b"\xf0")
@example(b"a" * 34 + b"\xe2\x82")
@example(b"\xe2" + b"\x82\xac" * 20)
def test_utf8_is_what_python_decodes(data: bytes) -> None:
    """Bytes pass if and only if Python decodes them: cut, overlong and surrogate ones do not."""
    try:
        data.decode()
    except UnicodeDecodeError:
        assert not is_utf8(as_array(data))
    else:
        assert is_utf8(as_array(data))


def test_every_sequence_of_two_bytes_and_of_first_ones() -> None:
    """All pairs of bytes, and all limits of three and four, in the midst of a vector."""
    pairs = [bytes([a, b]) for a in range(0x70, 256) for b in range(0x70, 256)]
    more = [bytes([a, b, c, d]) for a in ODD for b in ODD for c in (0x7F, 0x80, 0xBF) for d in ODD]
    for odd in [*pairs, *more]:
        data = b"x" * 40 + odd + b"y" * 40
        good = data.decode(errors="ignore").encode() == data
        assert is_utf8(as_array(data)) == good


@settings(deadline=None)
@given(st.binary(min_size=WIDTH, max_size=3 * WIDTH), st.integers(0, 255), st.data())
def test_masks_and_copies_are_those_of_single_bytes(
    data: bytes, byte: int, draw: st.DataObject
) -> None:
    """Bit k tells of byte k, unsigned; thirty-two bytes are copied, and no other is touched."""
    place = draw.draw(st.integers(0, len(data) - WIDTH))
    to = draw.draw(st.integers(0, 9))
    out = np.full(WIDTH + 9, 7, np.uint8)
    equal, below = masks(as_array(data), place, byte, out, to)
    found = data[place : place + WIDTH]
    assert equal == sum((b == byte) << k for k, b in enumerate(found))
    assert below == sum((b < byte) << k for k, b in enumerate(found))
    assert out.tobytes() == b"\7" * to + found + b"\7" * (9 - to)

"""Frame boundaries found from headers agree with what the decoder itself says."""

import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.files.zstd_frames import frame_starts

FRAMES = st.lists(
    st.tuples(
        st.one_of(st.binary(max_size=300), st.integers(0, 400_000).map(lambda n: b"ab" * n)),
        st.booleans(),  # checksum
        st.booleans(),  # content size in the header
        st.integers(-1, 40),  # a skippable frame of this size before it, none if -1
    ),
    min_size=1,
    max_size=5,
)


def skippable(size: int) -> bytes:
    """One skippable frame of `size` bytes of content."""
    return struct.pack("<II", 0x184D2A53, size) + bytes(size)


@settings(deadline=None, max_examples=60)
@given(frames=FRAMES, tail=st.integers(-1, 20))
def test_every_start_is_where_the_decoder_finds_the_next_frame(
    tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[bytes, bool, bool, int]], tail: int
) -> None:
    """Any mix of block types, header forms and skippable frames is cut exactly."""
    stored, starts = b"", []
    for text, checksum, with_size, before in frames:
        starts.append(len(stored))
        stored += skippable(before) if before >= 0 else b""
        coder = zstandard.ZstdCompressor(
            level=1, write_checksum=checksum, write_content_size=with_size
        )
        stored += coder.compress(text)
    stored += skippable(tail) if tail >= 0 else b""
    path = tmp_path_factory.mktemp("frames") / "a.zst"
    path.write_bytes(stored)
    assert frame_starts(path) == starts


def test_streamed_frames_without_known_size_are_walked(tmp_path: Path) -> None:
    """A frame written block by block, with a window and no size in its header, is one frame."""
    path = tmp_path / "a.zst"
    with zstandard.open(path, "wb") as file:
        for n in range(2000):
            file.write(f"{n} {n * n}\n".encode() * 20)
    assert frame_starts(path) == [0]


def test_what_is_not_whole_frames_has_no_starts(tmp_path: Path) -> None:
    """Empty, truncated at any byte, or followed by something else: the file is not cut."""
    path = tmp_path / "a.zst"
    whole = zstandard.ZstdCompressor(write_checksum=True).compress(b"some text " * 50)
    for content in [b"", whole + b"x", b"x" + whole, *(whole[:n] for n in range(1, len(whole)))]:
        path.write_bytes(content)
        assert frame_starts(path) is None

"""Decompression: whole streams come whole, damaged ones say how far they can be trusted."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.files import streams
from dolmix.files.streams import DamageError, read_blocks, read_verified

FIRST, SECOND = b"first line\n" * 3000, b"second member\n" * 3000


def zstd(text: bytes) -> bytes:
    """One frame with a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(text)


CODERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd}
each_coder = pytest.mark.parametrize("compression", ["gz", "zst"])


def read(path: Path, compression: str) -> bytes:
    """Read all of a file."""
    return b"".join(read_blocks(str(path), compression))  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["", "gz", "zst"])
@settings(deadline=None, max_examples=30)
@given(members=st.lists(st.binary(max_size=5000), max_size=4))
def test_streams_of_any_number_of_members_come_whole(
    tmp_path_factory: pytest.TempPathFactory, compression: str, members: list[bytes]
) -> None:
    """Members and frames are read one after another, empty ones and empty files included."""
    path = tmp_path_factory.mktemp("streams") / "a"
    path.write_bytes(b"".join(CODERS.get(compression, bytes)(m) for m in members))
    assert read(path, compression) == b"".join(members)


def test_small_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text far larger than a block is given in bounded blocks, all of it."""
    monkeypatch.setattr(streams, "BLOCK_BYTES", 100)
    monkeypatch.setattr(streams, "READ_BYTES", 7)
    monkeypatch.setattr(streams, "FRAME_BYTES", 7)
    for compression in ("", "gz", "zst"):
        path = tmp_path / "a"
        path.write_bytes(CODERS.get(compression, bytes)(FIRST))
        blocks = list(read_blocks(str(path), compression))  # type: ignore[arg-type]
        assert b"".join(blocks) == FIRST
        if compression != "zst":
            assert max(map(len, blocks)) == 100


@each_coder
def test_an_empty_block_follows_what_is_verified(tmp_path: Path, compression: str) -> None:
    """The end of each member or frame is marked, so that a reader can wait for its checksum."""
    path = tmp_path / "a"
    path.write_bytes(CODERS[compression](FIRST) + CODERS[compression](SECOND))
    blocks = list(read_blocks(str(path), compression))  # type: ignore[arg-type]
    ends = [n for n, block in enumerate(blocks) if not block]
    assert b"".join(blocks[: ends[0]]) == FIRST
    assert b"".join(blocks[ends[0] : ends[1]]) == SECOND


@each_coder
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_stream_cut_anywhere_keeps_what_came_before(
    tmp_path_factory: pytest.TempPathFactory, compression: str, data: st.DataObject
) -> None:
    """Truncation is always noticed, unless it falls between members; the bytes before it stay."""
    first, second = CODERS[compression](FIRST), CODERS[compression](SECOND)
    cut = data.draw(st.integers(1, len(first) + len(second) - 1))
    path = tmp_path_factory.mktemp("cut") / "a"
    path.write_bytes((first + second)[:cut])
    if cut == len(first):
        assert read(path, compression) == FIRST
        return
    with pytest.raises(DamageError) as error:
        read(path, compression)
    trusted = error.value.trusted
    assert (FIRST + SECOND).startswith(b"".join(_until_damage(path, compression)))
    assert trusted == len(b"".join(_until_damage(path, compression)))
    assert trusted >= len(FIRST) * (cut > len(first))


def _until_damage(path: Path, compression: str) -> list[bytes]:
    blocks = []
    try:
        for block in read_blocks(str(path), compression):  # type: ignore[arg-type]
            blocks.append(block)  # noqa: PERF402 - what came before the exception is the point
    except DamageError:
        pass
    return blocks


@each_coder
def test_a_member_whose_checksum_fails_is_not_trusted(tmp_path: Path, compression: str) -> None:
    """Damage may lie anywhere in a member, so trust ends where the last good one does."""
    stored = bytearray(CODERS[compression](FIRST) + CODERS[compression](SECOND))
    stored[-5 if compression == "gz" else -1] ^= 1  # within the checksum itself
    path = tmp_path / "a"
    path.write_bytes(stored)
    with pytest.raises(DamageError, match="check") as error:
        read(path, compression)
    assert error.value.trusted == len(FIRST)


@each_coder
@pytest.mark.parametrize("held", [1 << 20, 100])
def test_verified_reading_gives_exactly_the_trusted_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, held: int
) -> None:
    """Held in memory or decompressed twice, nothing that fails its checksum is ever given."""
    monkeypatch.setattr(streams, "HELD_BYTES", held)
    path = tmp_path / "a"
    stored = bytearray(CODERS[compression](FIRST) + CODERS[compression](SECOND))
    for damaged in (False, True):
        if damaged:
            stored[-5 if compression == "gz" else -1] ^= 1
        path.write_bytes(stored)
        given_bytes, raised = b"", False
        try:
            for block in read_verified(lambda: read_blocks(str(path), compression)):  # type: ignore[arg-type]
                given_bytes += block
        except DamageError:
            raised = True
        assert raised == damaged
        assert given_bytes == (FIRST if damaged else FIRST + SECOND)


@each_coder
@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(st.text("a\n", max_size=300).map(str.encode), min_size=1, max_size=4),
    repeat=st.sampled_from([1, 999]),
    data=st.data(),
)
def test_lost_lines_are_those_of_the_member_whose_checksum_fails(
    tmp_path_factory: pytest.TempPathFactory,
    compression: str,
    texts: list[bytes],
    repeat: int,
    data: st.DataObject,
) -> None:
    """All of them, though a decoder gives none of what it held when it met the checksum."""
    texts = [text * repeat for text in texts]
    stored = [bytearray(CODERS[compression](text)) for text in texts]
    bad = data.draw(st.integers(0, len(texts) - 1))
    stored[bad][-5 if compression == "gz" else -1] ^= 1
    path = tmp_path_factory.mktemp("lost") / "a"
    path.write_bytes(b"".join(stored))
    small = data.draw(st.sampled_from([7, 64 << 10]))
    held = data.draw(st.sampled_from([0, 64 << 20]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "READ_BYTES", small)
        patch.setattr(streams, "FRAME_BYTES", small)
        patch.setattr(streams, "HELD_BYTES", held)
        blocks = read_verified(lambda: read_blocks(str(path), compression))  # type: ignore[arg-type]
        with pytest.raises(DamageError) as error:
            list(blocks)
    assert error.value.trusted == sum(map(len, texts[:bad]))
    assert error.value.lost_lines == texts[bad].count(b"\n")
    if compression == "gz":
        text_end = sum(map(len, texts[: bad + 1]))
        assert error.value.cause.endswith(f"from byte {error.value.trusted} to {text_end}")


@each_coder
def test_a_cut_stream_has_lost_what_nobody_can_count(tmp_path: Path, compression: str) -> None:
    """All that came before the cut is trusted, so no line of it is lost."""
    path = tmp_path / "a"
    path.write_bytes(CODERS[compression](os.urandom(90_000).hex().encode() + b"\n")[:-9000])
    with pytest.raises(DamageError, match="cut off") as error:
        read(path, compression)
    assert error.value.lost_lines == 0


@each_coder
def test_a_stream_whose_end_became_zeros_is_not_trusted(tmp_path: Path, compression: str) -> None:
    """A crash leaves zeros where data was to be; they may decode to text that never was."""
    path = tmp_path / "a"
    lines = b"".join(os.urandom(25).hex().encode() + b"\n" for _ in range(800))
    second = CODERS[compression](lines)
    for size in (8, 100, 5000):
        path.write_bytes(CODERS[compression](FIRST) + second[:-size] + bytes(size))
        with pytest.raises(DamageError) as error:
            read(path, compression)
        assert error.value.trusted == len(FIRST)
        assert error.value.lost_lines < 900  # zeros may decode to some more
        if compression == "gz":  # zstd keeps text back until a block of it is whole
            assert error.value.lost_lines > 500


def test_lost_lines_are_counted_from_where_the_frame_began(tmp_path: Path) -> None:
    """Also where reading began within the file, and where the end became zeros."""
    lines = b"".join(os.urandom(50).hex().encode() + b"\n" for _ in range(9000))
    stored = zstd(lines)
    path = tmp_path / "a"
    path.write_bytes(zstd(FIRST) + stored[:-100] + bytes(100))
    with pytest.raises(DamageError) as error:
        list(read_blocks(str(path), "zst", start=len(zstd(FIRST))))
    assert error.value.trusted == 0
    assert 7000 < error.value.lost_lines < 9000


def test_zero_padding_after_a_gzip_member_is_no_damage_and_garbage_is(tmp_path: Path) -> None:
    """Tapes and block devices pad with zeros; anything else there is reported."""
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(FIRST) + bytes(700) + gzip.compress(SECOND) + bytes(9))
    assert read(path, "gz") == FIRST + SECOND
    path.write_bytes(gzip.compress(FIRST) + b"garbage")
    with pytest.raises(DamageError, match="incorrect header"):
        read(path, "gz")


def test_a_part_of_frames_or_bytes_is_exactly_that(tmp_path: Path) -> None:
    """`stop` ends plain ranges at the byte, and zstd after the frames that begin before it."""
    path = tmp_path / "a"
    frames = [zstd(FIRST), zstd(SECOND), zstd(b"third")]
    path.write_bytes(b"".join(frames))
    start, stop = len(frames[0]), len(frames[0]) + len(frames[1])
    for end in (start + 1, stop):
        assert b"".join(read_blocks(str(path), "zst", start=start, stop=end)) == SECOND
    assert b"".join(read_blocks(str(path), "zst", start=start)) == SECOND + b"third"
    path.write_bytes(b"0123456789")
    assert b"".join(read_blocks(str(path), "", start=3, stop=7)) == b"3456"
    assert b"".join(read_blocks(str(path), "", start=3, stop=3)) == b""

"""Where the frames of a zstd file begin, found from headers alone (RFC 8878, section 3).

Nothing is decompressed: frame and block headers are walked and everything between is stepped over,
so a file made of several frames can be cut into parts at the price of a few bytes read per block.
"""

import mmap
import os
from pathlib import Path

MAGIC = 0xFD2FB528
SKIPPABLE_MAGIC = 0x184D2A50
"""First of sixteen magic numbers of frames that hold user data and no text."""

_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_RLE_BLOCK = 1
_RESERVED_BLOCK = 3


def frame_starts(path: Path) -> list[int] | None:
    """Byte offset of each frame of a local file, in order; None if it is not whole frames.

    Skippable frames go with the frame that follows them (or, at the end, the one before): they are
    no place to cut.
    """
    size = path.stat().st_size
    if size == 0:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if hasattr(mmap, "MADV_RANDOM"):
            data.madvise(
                mmap.MADV_RANDOM
            )  # or the kernel reads ahead the whole file for its headers
        return _walk(data, os.fstat(file.fileno()).st_size)


def _walk(data: mmap.mmap, size: int) -> list[int] | None:
    starts: list[int] = []
    position = pending = 0
    while position < size:
        magic = _number(data, position, 4)
        if magic & ~0xF == SKIPPABLE_MAGIC:
            position += 8 + _number(data, position + 4, 4)
        elif magic == MAGIC and (end := _frame_end(data, position, size)) is not None:
            starts.append(pending)
            position = pending = end
            continue
        else:
            return None
    return starts if position == size and starts else None


def _frame_end(data: mmap.mmap, position: int, size: int) -> int | None:
    """Offset just after the frame that begins at `position`, None if the file ends before."""
    descriptor = _number(data, position + 4, 1)
    single_segment = descriptor >> 5 & 1
    content_size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6] or single_segment
    dictionary_bytes = _DICTIONARY_ID_BYTES[descriptor & 3]
    position += 5 + (1 - single_segment) + dictionary_bytes + content_size_bytes
    last = 0
    while not last:
        if position + 3 > size:
            return None
        header = _number(data, position, 3)
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        if kind == _RESERVED_BLOCK:
            return None
        position += 3 + (1 if kind == _RLE_BLOCK else length)
    position += 4 * (descriptor >> 2 & 1)  # content checksum
    return position if position <= size else None


def _number(data: mmap.mmap, position: int, width: int) -> int:
    """Little-endian unsigned integer; bytes past the end of the file are left out."""
    return int.from_bytes(data[position : position + width], "little")

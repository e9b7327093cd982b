"""One bit a token or an instance, in a file: bit n is bit n % 8 of byte n // 8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from dolmix.document import BoolArray, I64Array, U8Array


class Bits:
    """Bits of a mapped or fetched file, by number."""

    def __init__(self, packed: NDArray[Any]) -> None:
        self._packed = packed

    def at(self, numbers: I64Array) -> BoolArray:
        """(n,) bool: the bits of these numbers."""
        shifted: U8Array = self._packed[numbers >> 3] >> (numbers & 7).astype(np.uint8)
        return (shifted & 1).astype(np.bool_)

    def read_spans(self, starts: I64Array, lengths: I64Array, out: BoolArray, at: I64Array) -> None:
        """Copy runs of bits: [starts, starts + lengths) to `out`, a flat buffer, from `at` on."""
        runs = zip(starts.tolist(), lengths.tolist(), at.tolist(), strict=True)
        for start, length, begin in runs:
            packed = self._packed[start >> 3 : (start + length + 7) >> 3]
            run = np.unpackbits(packed, bitorder="little")[start & 7 :][:length]
            out[begin : begin + length] = run.view(np.bool_)


def write_bits(file: Path, blocks: Iterable[BoolArray]) -> tuple[int, int]:
    """Write the bits of all blocks one after the other; return how many, and how many are set."""
    size = ones = 0
    rest = np.zeros(0, np.bool_)
    with file.open("wb") as out:
        for block in blocks:
            size, ones = size + block.size, ones + int(np.count_nonzero(block))
            joined = np.concatenate([rest, block])
            whole = joined.size & ~7
            out.write(np.packbits(joined[:whole], bitorder="little").tobytes())
            rest = joined[whole:]
        out.write(np.packbits(rest, bitorder="little").tobytes())
    return size, ones


def bytes_of(size: int) -> int:
    """Bytes of a file of so many bits."""
    return (size + 7) >> 3

"""Tokens of chosen documents, out of the files that the tokenize pass wrote for each part.

Files are read, not mapped: what a process has looked at does not stay in its memory. Two buffers
and a limited number of open files are all that is held, whatever the size and the number of parts.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolmix.document import I64Array
from dolmix.errors import StoreError

OPEN_FILES = 32
"""Files that stay open; those of further parts are opened anew for every call."""


class TokenFiles:
    """The token files of a source's parts; to be closed.

    paths  one a part
    dtype  of a token
    most   tokens that are usually asked for at once: what the buffers hold
    """

    def __init__(self, paths: Sequence[Path], dtype: np.dtype[Any], *, most: int) -> None:
        self._paths = paths
        self._dtype = dtype
        self._open: dict[int, int] = {}
        self._buffers = [np.empty(most, dtype), np.empty(most, dtype)]

    def close(self) -> None:
        """Close the files that stayed open."""
        for handle in self._open.values():
            os.close(handle)
        self._open = {}

    def gather(self, part: I64Array, start: I64Array, lengths: I64Array) -> NDArray[Any]:
        """Read documents, each by its part, its first token there and its number of tokens.

        part, start, lengths  (N,) int64, in any order
        returns               (sum of lengths,) tokens, document after document; the next call but
                              one writes over them

        Raises StoreError for a file that ends within a document.
        """
        tokens, size = self._buffer(int(lengths.sum())), self._dtype.itemsize
        out = tokens.view(np.uint8).data
        begin = (np.cumsum(lengths) - lengths) * size
        order = np.lexsort((start, part))  # file by file, forward
        cuts = np.flatnonzero(np.diff(part[order])) + 1
        for rows in np.split(order, cuts) if order.size else ():
            number = int(part[rows[0]])
            places = (begin[rows], lengths[rows] * size, start[rows] * size)
            with self._opened(number) as handle:
                for at, count, offset in zip(*(p.tolist() for p in places), strict=True):
                    if os.preadv(handle, (out[at : at + count],), offset) != count:
                        self._read_again(number, handle, out[at : at + count], offset)
        return tokens

    def _buffer(self, size: int) -> NDArray[Any]:
        """Give the buffer that was given longer ago, or one for this once if it is too small."""
        self._buffers.reverse()
        buffer = self._buffers[0]
        return buffer[:size] if size <= buffer.size else np.empty(size, self._dtype)

    @contextmanager
    def _opened(self, number: int) -> Iterator[int]:
        handle = self._open.get(number)
        if handle is None:
            handle = os.open(self._paths[number], os.O_RDONLY)
            if len(self._open) < OPEN_FILES:
                self._open[number] = handle
        try:
            yield handle
        finally:
            if number not in self._open:
                os.close(handle)

    def _read_again(self, number: int, handle: int, out: memoryview, start: int) -> None:
        """Read a document that did not come at once, as one of 2 GB does not, piece by piece."""
        done = 0
        while done < len(out):
            count = os.preadv(handle, (out[done:],), start + done)
            if count == 0:
                raise StoreError(
                    f"{self._paths[number]} ends at byte {start + done:,}, within a document."
                    " Delete it and run the pipeline again: its part is encoded anew."
                )
            done += count

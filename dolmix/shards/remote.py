"""A store on remote storage, read by ranges through fsspec.

Only what is asked for is fetched: the manifest, once; the document ends of a shard when one of its
documents is; runs of tokens, those of a batch together, as many at a time as the filesystem of the
scheme allows. Stores are immutable, so what was fetched whole is kept. A read that comes short, or
an object that is gone, is an error that names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

BLOCK_ITEMS = 4096
"""Items of a sorted array fetched together."""
MOST_SPANS = 512
"""Runs fetched together; what they hold is in memory at once."""


class RangedItems:
    """A sorted remote array that is only bisected: blocks are fetched as they are looked at.

    Subscripts: a number gives an item, a slice a fetched array, a field's name the same items seen
    as that field.
    """

    def __init__(
        self, folder: RemoteFolder, file: str, dtype: np.dtype[Any], size: int, field: str = ""
    ) -> None:
        self._folder, self._file, self._dtype = folder, file, dtype
        self._size, self._field = size, field
        self._blocks: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, which: int | slice | str) -> Any:
        if isinstance(which, str):
            return RangedItems(self._folder, self._file, self._dtype, self._size, which)
        if isinstance(which, slice):
            return self._fetch(*which.indices(self._size)[:2])
        number, place = divmod(which, BLOCK_ITEMS)
        if number not in self._blocks:
            first = number * BLOCK_ITEMS
            self._blocks[number] = self._fetch(first, min(first + BLOCK_ITEMS, self._size))
        return self._blocks[number][place]

    def _fetch(self, start: int, stop: int) -> NDArray[Any]:
        if start >= stop:
            return np.zeros(0, self._dtype)
        items = next(self._folder.spans([self._file], [start], [stop], self._dtype))
        return items[self._field] if self._field else items


class RemoteFolder:
    """A directory behind a URI; see `dolmix.shards.folders.Folder`."""

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        self._arrays: dict[str, NDArray[Any]] = {}
        self._opened: tuple[Any, str] | None = None

    def beside(self, suffix: str) -> RemoteFolder:
        """Return the directory whose URI is this one's with a suffix."""
        return RemoteFolder(self.location + suffix)

    def read(self, file: str) -> bytes:
        """Fetch a whole file."""
        system, root = self._system()
        try:
            data: bytes = system.cat_file(f"{root}/{file}")
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._failure(file, error) from error
        return data

    def array(self, file: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Fetch a whole file as an array, once."""
        found = self._arrays.get(file)
        if found is None:
            found = self._arrays[file] = np.frombuffer(self.read(file), dtype)
        return found

    def sorted_items(self, file: str, dtype: np.dtype[Any], size: int) -> RangedItems:
        """Look into a sorted file of so many items. Raises OSError if it has another size."""
        system, root = self._system()
        try:
            found = int(system.size(f"{root}/{file}"))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._failure(file, error) from error
        if found != size * dtype.itemsize:
            raise OSError(f"{self.location}/{file} has {found:,} bytes")
        return RangedItems(self, file, dtype, size)

    def spans(
        self, files: Sequence[str], starts: Sequence[int], stops: Sequence[int], dtype: Any
    ) -> Iterator[NDArray[Any]]:
        """Fetch items [start, stop) of each file, many at a time."""
        size = np.dtype(dtype).itemsize
        for first in range(0, len(files), MOST_SPANS):
            some = slice(first, first + MOST_SPANS)
            low, high = ([at * size for at in ends[some]] for ends in (starts, stops))
            for file, begin, end, data in zip(
                files[some], low, high, self._ranges(files[some], low, high), strict=True
            ):
                if isinstance(data, Exception):
                    raise self._failure(file, data) from data
                if len(data) != end - begin:
                    raise OSError(
                        f"{self.location}/{file} gave {len(data):,} of the bytes [{begin:,},"
                        f" {end:,}): the object is cut. Copy the store again."
                    )
                yield np.frombuffer(data, dtype)

    def parquet(self, file: str) -> Any:
        """Open a file that fetches what is read of it."""
        system, root = self._system()
        try:
            return system.open(f"{root}/{file}", "rb")
        except Exception as error:
            raise self._failure(file, error) from error

    def close(self) -> None:
        """Let go of what was fetched."""
        self._arrays.clear()

    def _ranges(self, files: Sequence[str], low: list[int], high: list[int]) -> list[Any]:
        system, root = self._system()
        paths = [f"{root}/{file}" for file in files]
        try:
            fetched: list[Any] = system.cat_ranges(paths, low, high, on_error="return")
        except Exception as error:
            raise self._failure(files[0], error) from error
        return fetched

    def _system(self) -> tuple[Any, str]:
        """Filesystem of the scheme and the path in it; raises DataError where it is not there."""
        if self._opened is None:
            from fsspec.core import url_to_fs

            try:
                system, root = url_to_fs(self.location)
            except (ImportError, ValueError) as error:
                raise DataError(
                    f"{self.location}: {error}. For S3: pip install 'dolmix[s3]'."
                ) from error
            self._opened = system, str(root).rstrip("/")
        return self._opened

    def _failure(self, file: str, error: Exception) -> OSError:
        return OSError(f"{self.location}/{file}: {type(error).__name__}: {error}")

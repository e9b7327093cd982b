"""Where a store's files lie: one interface for a local directory and for remote storage.

Every file read through it is immutable. A local file is mapped, a remote one is read by ranges
(dolmix/shards/remote.py); the reader above does not know which it has. Mapping was chosen by
measurement: of files in the page cache it gives twice the reads of `preadv`, since nothing is
copied twice (docs/log.md).
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dolmix.files.paths import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_MAPS: OrderedDict[tuple[int, str], NDArray[Any]] = OrderedDict()
"""Mapped files by folder and name, those of all folders together, the first mapped first."""
_NUMBERS = itertools.count()
"""Numbers of folders: a path may name another directory by and by."""


class Folder(Protocol):
    """A directory of immutable files; names are relative, with forward slashes."""

    location: str
    """Path or URI, for messages and for opening it again."""

    def beside(self, suffix: str) -> Folder:
        """Return the directory whose location is this one's with a suffix."""
        ...

    def read(self, file: str) -> bytes:
        """Read a whole file. Raises OSError, FileNotFoundError where there is none."""
        ...

    def array(self, file: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a whole file as a read-only array.

        A file is always asked for as one type. Raises OSError.
        """
        ...

    def sorted_items(self, file: str, dtype: np.dtype[Any], size: int) -> Any:
        """Return a file of so many sorted items, to be bisected: an array, or what acts as one.

        Raises OSError if it has another size, FileNotFoundError where there is none.
        """
        ...

    def spans(
        self, files: Sequence[str], starts: Sequence[int], stops: Sequence[int], dtype: Any
    ) -> Iterator[NDArray[Any]]:
        """Yield items [start, stop) of each file in turn, as read-only arrays. Raises OSError."""
        ...

    def parquet(self, file: str) -> Any:
        """Return what `pyarrow.parquet.ParquetFile` opens; only what it asks for is read."""
        ...

    def close(self) -> None:
        """Let go of maps and of what was kept; the folder opens again when used again."""
        ...


class LocalFolder:
    """A directory of this machine; see `Folder`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.location = str(root)
        self._number = next(_NUMBERS)
        weakref.finalize(self, _unmap, self._number)

    def beside(self, suffix: str) -> LocalFolder:
        """Return the directory with a suffix to its name."""
        return LocalFolder(self.root.with_name(self.root.name + suffix))

    def read(self, file: str) -> bytes:
        """Read a whole file."""
        return (self.root / file).read_bytes()

    def array(self, file: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Map a whole file."""
        return self._mapped(file, dtype)

    def sorted_items(self, file: str, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
        """Map a whole file, its size checked first."""
        found = (self.root / file).stat().st_size
        if found != size * dtype.itemsize:
            raise OSError(f"{self.root / file} has {found:,} bytes")
        return self._mapped(file, dtype)

    def spans(
        self, files: Sequence[str], starts: Sequence[int], stops: Sequence[int], dtype: Any
    ) -> Iterator[NDArray[Any]]:
        """Yield views of mapped files."""
        for file, start, stop in zip(files, starts, stops, strict=True):
            yield self._mapped(file, dtype)[start:stop]

    def parquet(self, file: str) -> Path:
        """Path of the file."""
        return self.root / file

    def close(self) -> None:
        """Drop the maps; arrays handed out stay valid."""
        _unmap(self._number)

    def _mapped(self, file: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        key = (self._number, file)
        found = _MAPS.get(key)
        if found is None:
            found = _MAPS[key] = map_file(self.root / file, dtype)
            while len(_MAPS) > _most_maps():
                _MAPS.popitem(last=False)
        return found


def open_folder(location: str | Path) -> Folder:
    """Return the folder at a path or a URI; nothing is read yet."""
    if is_remote(str(location)):
        from dolmix.shards.remote import RemoteFolder

        return RemoteFolder(str(location))
    return LocalFolder(location)


def parent_of(location: str) -> str:
    """Location of the directory that holds this one."""
    if is_remote(location):
        return location.rstrip("/").rpartition("/")[0]
    return str(Path(location).parent)


def map_file(file: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Map a whole file read-only, as a plain array: slicing a memmap costs several times that."""
    if file.stat().st_size == 0:
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(file, dtype=dtype, mode="r"))


def _unmap(folder: int) -> None:
    """Drop the maps of a folder, by its number."""
    for key in [key for key in list(_MAPS) if key[0] == folder]:
        _MAPS.pop(key, None)


@cache
def _most_maps() -> int:
    """Files to have mapped together: a map holds a file descriptor, and others need some too."""
    try:
        import resource
    except ImportError:  # not on every system
        return 256
    return max(64, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, 16_384))

"""Tensors of a checkpoint on disk, as torch's distributed checkpoint lays them out.

Reading runs no code from the files: torch's index is a pickle, of which only the names that make up
an index are known here.
"""

import pickle
import threading
import warnings
from enum import Enum
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors

from dolmix.errors import LockError

_WARNINGS = threading.Lock()
"""Which warnings are shown is up to the process, not the thread, and several read weights."""


class CheckpointError(LockError):
    """A checkpoint that cannot be written or gone on from; every rank finds the same."""


class DamagedError(CheckpointError):
    """A checkpoint that cannot be read; the one before it may be whole."""


def load(path: Path, tensors: dict[str, Tensor], *, alone: bool = False) -> None:
    """Read a checkpoint into `tensors` in place, sharded as they are; every rank calls it.

    alone: one process reads whole tensors, whatever others do. Raises DamagedError, on every rank,
    if any of them cannot read its part.
    """
    reader = _TensorReader(path, _read_index(path))
    try:
        with _WARNINGS, warnings.catch_warnings():  # that one process reads is meant
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load_tensors(tensors, storage_reader=reader, no_dist=alone)
    except CheckpointException as error:
        raise unreadable(path, first_failure(error)) from None


def sizes(path: Path) -> dict[str, int]:
    """Bytes of every file of a checkpoint, by name."""
    return {file.name: file.stat().st_size for file in sorted(path.iterdir()) if file.is_file()}


def check_sizes(path: Path, expected: dict[str, int]) -> None:
    """Compare the files of a checkpoint with what was written. Raises DamagedError."""
    found = sizes(path)
    for name, size in expected.items():
        if found.get(name) != size:
            has = f"{found[name]:,} bytes" if name in found else "missing"
            raise unreadable(path, f"{name} is {has}, and {size:,} bytes were written")


def first_failure(error: CheckpointException) -> str:
    """Say what went wrong on the first rank where something did."""
    rank = min(error.failures)
    cause, _ = error.failures[rank]
    return f"rank {rank}: {_cause(cause)}"


def unreadable(path: Path, why: str) -> DamagedError:
    """Say that a checkpoint is damaged, and what to do."""
    return DamagedError(
        f"checkpoint {path} cannot be read ({why}). If it is damaged, remove that folder: the run "
        "goes on from the checkpoint before it."
    )


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


class _TensorReader(FileSystemReader):
    """Reads tensors by an index that was read before: torch's own reader unpickles anything."""

    def __init__(self, path: Path, index: Metadata) -> None:
        super().__init__(path)
        self._index = index

    def read_metadata(self, *args: Any, **options: Any) -> Metadata:
        """Give the index, marked as the base class does, for any arguments."""
        del args, options
        if self._index.storage_meta is None:
            self._index.storage_meta = StorageMeta()
        self._index.storage_meta.load_id = self.load_id
        return self._index


def _read_index(path: Path) -> Metadata:
    """Read torch's index of tensors without running what else a pickle might hold."""
    try:
        with (path / ".metadata").open("rb") as file:
            index: Metadata = _IndexUnpickler(file).load()
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises anything
        raise unreadable(path, _cause(error)) from None
    return index


class _IndexUnpickler(pickle.Unpickler):
    """Knows the names that make up an index, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _INDEX_NAMES.get(module, ()):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):
            return _member  # how Python before 3.11.4 pickles a member of an enumeration
        raise pickle.UnpicklingError(f"the checkpoint's index names {module}.{name}: not read")


def _member(kind: Any, name: str) -> Any:
    """Give a member of an enumeration, and an attribute of nothing else."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[name]
    raise pickle.UnpicklingError(f"the checkpoint's index names {name} of {kind!r}: not read")


_INDEX_NAMES: dict[str, tuple[str, ...]] = {
    "pathlib": ("PosixPath",),
    "pathlib._local": ("PosixPath",),
    "torch": ("Size", "float32", "float64", "bfloat16", "float16"),
    "torch.serialization": ("_get_layout",),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.distributed.checkpoint.metadata": (
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    ),
}

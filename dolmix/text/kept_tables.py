"""Tables and texts that take long to work out, kept on disk as compiled kernels are.

A process that finds a table takes it as it is: its file is named after a digest of all that the
table depends on, the code that makes it included, so that none is ever out of date. Where nothing
can be written, every process works its tables out for itself.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dolmix.files.commit import fingerprint, new_file

Tables: TypeAlias = dict[str, NDArray[Any]]


def kept_tables(
    name: str, depends_on: Mapping[str, str], made_by: str, make: Callable[[], Tables]
) -> Tables:
    """Read tables, read-only; the first time work them out, and write them.

    name        begins the file's name
    depends_on  what else the tables depend on: versions of packages, digests of files
    made_by     the source file (`__file__`), or folder of them, that makes them; Python's and
                numpy's versions count too
    """
    path = _path(name, depends_on, made_by)
    with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):
        return _read(path)
    tables = make()
    with suppress(OSError), new_file(path) as attempt, attempt.open("wb") as file:
        np.savez(file, allow_pickle=False, **tables)
    return {table: _sealed(values) for table, values in tables.items()}


def kept_text(
    name: str, depends_on: Mapping[str, str], made_by: str, make: Callable[[], str]
) -> str:
    """Read a text, the first time work it out and write it; as `kept_tables` does."""

    def tables() -> Tables:
        return {"utf8": np.frombuffer(make().encode(), np.uint8).copy()}

    return kept_tables(name, depends_on, made_by, tables)["utf8"].tobytes().decode()


def known_text(name: str, depends_on: Mapping[str, str], made_by: str) -> str | None:
    """Read a text that `kept_text` wrote; None where there is none."""
    with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):
        return _read(_path(name, depends_on, made_by))["utf8"].tobytes().decode()
    return None


def package_digest(name: str) -> str | None:
    """Digest the list of an installed package's files and their hashes; None where there is none.

    Two installations of equal digests have equal files, unless somebody wrote into one.
    """
    try:
        record = distribution(name).read_text("RECORD")
    except PackageNotFoundError:
        return None
    return None if record is None else blake2b(record.encode(), digest_size=16).hexdigest()


def _read(path: Path) -> Tables:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
        return {table: _sealed(found[table]) for table in found.files}


def _path(name: str, depends_on: Mapping[str, str], made_by: str) -> Path:
    about = {
        **depends_on,
        "code": _code_digest(Path(made_by)),
        "python": sys.version,
        "numpy": np.__version__,
    }
    return _folder() / f"dolmix-{name}-{fingerprint(about)[:32]}.npz"


def _folder() -> Path:
    """Where numba keeps its kernels, or would like to."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    return Path(chosen) if chosen else Path(__file__).parent / "__pycache__"


def _code_digest(path: Path) -> str:
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    digest = blake2b(digest_size=16)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _sealed(values: NDArray[Any]) -> NDArray[Any]:
    values.setflags(write=False)
    return values

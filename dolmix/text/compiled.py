"""How kernels are compiled: once, cached on disk, without the GIL.

numba's cache notices a change of the file that a kernel stands in, and only of that one, though a
kernel may inline another file's code. `kernel` stamps every cache entry with the state of the whole
package instead, and of the kernel's own, so that no stale code outlives a change.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from numba import njit
from numba.core.runtime.nrt import rtsys as runtime

P = ParamSpec("P")
R = TypeVar("R")


def _load_array_functions() -> None:
    """Let numba load its array functions without loading scipy, which takes 0.2 s.

    It does so to learn whether there is a BLAS, on which nothing depends but how `np.convolve` and
    `np.correlate` are compiled.
    """
    if "scipy.linalg" in sys.modules:
        return
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment] # what makes an import fail
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        sys.modules.pop("scipy.linalg", None)


_load_array_functions()


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function at its first call: cached across processes, releasing the GIL.

    Signatures are lazy, since an eager one refuses read-only arrays, and so every Arrow buffer. A
    kernel may call kernels of any module of this package and of its own.
    """
    return _stamped(function, {})


def leaf(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that allocates nothing: as `kernel`, and without counting references.

    numba counts the references to every array that it hands from function to function, atomically.
    For small functions that are called for every character or word, that is most of the time.
    """
    return _stamped(function, {"_nrt": False})


def _stamped(function: Callable[P, R], options: dict[str, Any]) -> Callable[P, R]:
    compiled: Callable[P, R] = njit(cache=True, nogil=True, **options)(function)
    cache: Any = getattr(compiled, "_cache", None)
    if hasattr(cache, "_load_overload"):
        cache.load_overload = _loading_what_is_kept(cache)
    file: Any = getattr(cache, "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        stamp = _stamp(Path(function.__code__.co_filename).parent)
        file._source_stamp = stamp  # noqa: SLF001 - numba has no public way to say this
    return compiled


def _loading_what_is_kept(cache: Any) -> Callable[[Any, Any], Any]:
    """Make what loads a kernel from a cache of numba's, without all that numba declares.

    Declaring the types and functions that numba knows takes 0.1 s a process, and only compiling
    needs it: it is left to numba where the cache has no such kernel.
    """
    load_or_prepare = cache.load_overload

    def load(signature: Any, context: Any) -> Any:
        runtime.initialize(context)
        found = cache._load_overload(signature, context)  # noqa: SLF001 - as the next line calls it
        return load_or_prepare(signature, context) if found is None else found

    return load


@lru_cache(maxsize=8)
def _stamp(folder: Path) -> tuple[float, int]:
    """Newest change and total size of the files here and in `folder`, as numba stamps one file."""
    folders = {Path(__file__).parent, folder}
    stats = [path.stat() for place in folders for path in place.glob("*.py")]
    return max(s.st_mtime for s in stats), sum(s.st_size for s in stats)

"""Doing the next few of a sequence of reads while the present one is used.

Results come in order, whatever finishes first; an exception is raised where its result would have
come. Reading maps and copying large arrays releases the GIL, so threads are enough.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from dolmix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

A = TypeVar("A")
R = TypeVar("R")


def prefetched(
    read: Callable[[A], R], asked: Iterable[A], *, depth: int = 2, threads: int = 1
) -> Iterator[R]:
    """Yield `read(a)` for each `a`, in order, with up to `depth` of them read ahead.

    depth    results that wait at most; 0 reads each when it is asked for, without a thread
    threads  that read; with more than one, `read` must allow it

    Left early, what was not begun is dropped and what was begun is waited for. Raises what `read`
    raises, in its place, and UsageError for settings below their least.
    """
    if depth < 0 or threads < 1:
        raise UsageError(f"prefetch: depth is {depth} and threads {threads}; least are 0 and 1")
    if depth == 0:
        yield from map(read, asked)
        return
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="dolmix-read") as pool:
        try:
            for one in asked:
                ahead.append(pool.submit(read, one))
                if len(ahead) > depth:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

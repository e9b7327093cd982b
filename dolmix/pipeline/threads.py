"""Threads inside a task, for what lets go of the GIL: reading, writing, compiled code."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


MOST_THREADS = 4
"""Threads of a task. What keeps the GIL, as masking and regular expressions do, gets slower with
more: by a third at eight."""


def spare_threads(tasks: int, workers: int) -> int:
    """Tell how many threads each task of a pass may keep busy; at least 1.

    As many tasks run at once as there are workers, each on a processor of its own. Fewer tasks
    share the processors that would be idle, as where a source is one file that cannot be split.
    """
    return min(MOST_THREADS, max(1, workers // tasks))


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int = 1
) -> Generator[R, None, None]:
    """Yield `work(item)` for each item, in order; the next ones are made in threads meanwhile.

    Items are taken as they are needed, in the caller's thread; without threads, so is everything
    done there. Where taking one fails, the results of those before it come first, and their errors.
    Closed before its end, it waits until what was taken is done.
    """
    if threads == 0:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception:
                yield from (one.result() for one in waiting)
                raise
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        yield from (one.result() for one in waiting)

"""Threads inside a task, for what lets go of the GIL: reading, writing, compiled code."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def spare_threads(rank: int, tasks: int, workers: int) -> int:
    """Tell how many threads a task of a pass may keep busy; at least 1.

    rank  place of the task in the order in which tasks are handed out, from 0

    As many tasks run at once as there are workers, and each has a processor to itself. Where they
    do not come out even, the last few share what would be idle: of 17 tasks for 2 workers the last
    one has both processors, and a single task for 16 has all.
    """
    over = tasks % workers
    return workers // over if over and rank >= tasks - over else 1


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int = 1
) -> Generator[R, None, None]:
    """Yield `work(item)` for each item, in order; the next ones are made in threads meanwhile.

    Items are taken as they are needed, in the caller's thread; without threads, so is everything
    done there. Closed before its end, it waits for what the threads are at.
    """
    if threads == 0:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

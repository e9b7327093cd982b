"""Threads inside a task, for what lets go of the GIL: reading, writing, compiled code."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def one_ahead(work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Yield `work(item)` for each item; the next one is made in a thread meanwhile.

    Closed before its end, it waits for what the thread is at.
    """
    waiting: Future[R] | None = None
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            soon = thread.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = soon
        if waiting is not None:
            yield waiting.result()

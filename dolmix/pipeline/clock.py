"""Where a task's time goes: wall seconds by step, for people; never part of a key or a result."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Adds up seconds by the name of a step; steps do not overlap.

    seconds  step → seconds so far, in the order in which steps first ended
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the body's time for a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count the time that it takes to get each."""
        source = iter(items)
        while True:
            with self.step(name):
                item = next(source, self)
            if isinstance(item, Clock):
                return
            yield item

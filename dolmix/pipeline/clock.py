"""Where a task's time goes: wall seconds by step, for people; never part of a key or a result.

What threads of a task do side by side is added up, and may be more than the task took.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Adds up seconds by the name of a step; steps of one clock do not overlap.

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
            self._add(name, time.perf_counter() - started)

    def add(self, other: "Clock") -> None:
        """Count what another clock has counted, such as that of a thread."""
        for name, spent in other.seconds.items():
            self._add(name, spent)

    def _add(self, name: str, spent: float) -> None:
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

"""Where a task's time goes."""

import time
from collections.abc import Iterator
from contextlib import suppress

from dolmix.pipeline.clock import Clock


def test_steps_add_up_by_name() -> None:
    """Each step has the time of its bodies, one that raises too."""
    clock = Clock()
    for _ in range(2):
        with clock.step("read"):
            time.sleep(0.01)
    with suppress(ValueError), clock.step("judge"):
        raise ValueError
    assert clock.seconds["read"] >= 0.02
    assert 0 < clock.seconds["judge"] < clock.seconds["read"]


def test_what_threads_have_counted_is_added() -> None:
    """Another clock's steps come in, known ones and new ones; that clock stays as it is."""
    clock, other = Clock(), Clock()
    with clock.step("read"):
        time.sleep(0.001)
    for name in ("read", "judge"):
        with other.step(name):
            time.sleep(0.001)
    read, theirs = clock.seconds["read"], dict(other.seconds)
    clock.add(other)
    assert clock.seconds == {"read": read + theirs["read"], "judge": theirs["judge"]}
    assert other.seconds == theirs


def test_getting_items_counts_and_using_them_does_not() -> None:
    """All items come, in order; what the caller does with them is not in the step."""

    def slow() -> Iterator[int]:
        for n in range(3):
            time.sleep(0.01)
            yield n

    clock, seen = Clock(), []
    started = time.perf_counter()
    for item in clock.each("read", slow()):
        seen.append(item)
        time.sleep(0.05)
    assert seen == [0, 1, 2]
    assert 0.03 <= clock.seconds["read"] <= time.perf_counter() - started - 0.15

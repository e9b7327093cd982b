"""Threads inside a task: who may have how many, and that nothing depends on them."""

from collections.abc import Iterator
from threading import current_thread
from time import sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import StoreError
from dolmix.pipeline.threads import ahead, spare_threads


@given(tasks=st.integers(1, 200), workers=st.integers(1, 64))
def test_only_the_last_tasks_share_what_would_be_idle(tasks: int, workers: int) -> None:
    """A full round has a thread a task; the rest share the processors, and use most of them.

    So a run never has more threads at work than workers.
    """
    threads = [spare_threads(rank, tasks, workers) for rank in range(tasks)]
    full = tasks - tasks % workers
    assert threads[:full] == [1] * full
    assert len(set(threads[full:])) <= 1
    if tasks > full:
        assert workers / 2 < sum(threads[full:]) <= workers


@settings(deadline=None, max_examples=30)
@given(number=st.integers(0, 9), threads=st.integers(0, 3))
def test_some_are_made_ahead_and_no_more(number: int, threads: int) -> None:
    """Results come in order, made in other threads, at most one a thread beyond the one in use."""
    taken: list[int] = []
    here = current_thread()

    def items() -> Iterator[int]:
        for item in range(number):
            assert current_thread() is here
            taken.append(item)
            yield item

    def work(item: int) -> int:
        assert (current_thread() is here) == (threads == 0)
        return item * item

    for place, result in enumerate(ahead(work, items(), threads=threads)):
        assert result == place * place
        assert taken == list(range(min(place + 1 + threads, number)))


def test_what_fails_ahead_is_raised_in_its_turn() -> None:
    """Results before it are given first; one that is not waited for is waited for at the close."""
    ended: list[int] = []

    def work(item: int) -> Any:
        if item == 2:
            raise StoreError("the third")
        sleep(0.01 * item)
        ended.append(item)
        return item

    found: list[int] = []
    with pytest.raises(StoreError, match="the third"):
        found.extend(ahead(work, range(5)))
    assert found == [0, 1]
    ended.clear()
    some = ahead(work, [0, 1])
    assert next(some) == 0
    some.close()
    assert ended == [0, 1]

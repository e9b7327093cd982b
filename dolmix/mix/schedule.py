"""Batch schedules: how many instances each step takes.

Steps count from 1. `Schedule` answers in closed form how many instances steps 1..t consume and
which step consumes the k-th instance, so that nothing ever walks through the steps of a run.
Normative: docs/order.md, section 4.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from dolmix.config import Schema


class BatchPhase(Schema):
    """From one step on, batches of one size."""

    from_step: Annotated[int, Field(ge=1)]
    """First step of this batch size; steps count from 1."""
    instances: Annotated[int, Field(ge=1)]
    """Instances of one optimizer update, all ranks together."""


class ScheduledBatch(Schema):
    """A batch size as a mix file gives it: from a step on, or from a number of tokens on."""

    from_step: Annotated[int, Field(ge=1)] | None = None
    """First step of this batch size; steps count from 1."""
    from_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens after which it holds: its first step is the first that begins with so many done."""
    instances: Annotated[int, Field(ge=1)]
    """Instances of one optimizer update, all ranks together."""


class Schedule:
    """Batch sizes by step. The phases start at step 1 and their first steps increase."""

    def __init__(self, phases: Sequence[BatchPhase]) -> None:
        self._first = [phase.from_step for phase in phases]
        self._size = [phase.instances for phase in phases]
        self._before = [0]
        for n in range(1, len(phases)):
            steps = self._first[n] - self._first[n - 1]
            self._before.append(self._before[-1] + steps * self._size[n - 1])

    def size(self, step: int) -> int:
        """Instances that a step takes."""
        return self._size[bisect_right(self._first, step) - 1]

    def offset(self, step: int) -> int:
        """Instances in steps 1..step together; 0 for step 0."""
        if step < 1:
            return 0
        phase = bisect_right(self._first, step) - 1
        return self._before[phase] + (step - self._first[phase] + 1) * self._size[phase]

    def step_of(self, instance: int) -> int:
        """Find the step that takes the instance with this global number (from 0)."""
        phase = bisect_right(self._before, instance) - 1
        return self._first[phase] + (instance - self._before[phase]) // self._size[phase]

    def changes(self) -> list[int]:
        """First step of every phase."""
        return list(self._first)


def steps_of(batches: Sequence[ScheduledBatch], sequence_length: int) -> tuple[BatchPhase, ...]:
    """Turn a schedule in tokens into one in steps; what is in steps stays.

    A phase from n tokens on begins with the first step before which ceil(n / sequence_length)
    instances have trained.
    """
    phases: list[BatchPhase] = []
    for batch in batches:
        step = batch.from_step
        if step is None:
            done = -(-(batch.from_tokens or 0) // sequence_length)
            step = _first_step_after(phases, done)
        phases.append(BatchPhase(from_step=step, instances=batch.instances))
    return tuple(phases)


def _first_step_after(phases: Sequence[BatchPhase], instances: int) -> int:
    """First step t with off(t - 1) >= instances; 1 where no phase is known yet and none is done."""
    if not instances:
        return 1
    if not phases:
        return 2  # later than step 1, which `Mix.problems` refuses for a first phase
    schedule = Schedule(phases)
    step = schedule.step_of(instances)
    return step if schedule.offset(step - 1) >= instances else step + 1

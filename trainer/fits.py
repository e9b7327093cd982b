"""Whether a configuration fits its lock: asked before a run starts, and alike by `--dry-run`.

Needs neither stores nor devices. Problems are found together; what only a store or a device shows
is asked where those are opened.
"""

from collections.abc import Iterable, Iterator

from dolmix.errors import ConfigError, OrderError, Problem
from dolmix.mix import OrderSpec
from trainer.config import ScheduleConfig, Span, TrainConfig


def check_run(
    config: TrainConfig, order: OrderSpec, processes: int, *, besides: Iterable[Problem] = ()
) -> None:
    """Refuse a run of so many processes whose settings do not fit its order.

    Raises ConfigError with every problem, those that were found `besides` last, and OrderError
    where the processes cannot share a batch evenly.
    """
    if problems := [*_misfits(config, order, processes), *besides]:
        raise ConfigError(f"training on {config.lock}", problems)
    for phase in order.batch_size:
        if phase.instances % processes:
            raise OrderError(
                f"{processes} processes cannot share a batch of {phase.instances:,} instances "
                f"evenly (from step {phase.from_step:,} of {config.lock}). Choose a number of "
                "processes that divides it."
            )


def tokens_in(span: Span, order: OrderSpec) -> int:
    """Tokens of a span given in tokens or in steps."""
    if span.tokens is not None:
        return span.tokens
    return order.schedule.offset(span.steps or 0) * order.sequence_length


def schedule_ends(schedule: ScheduleConfig, order: OrderSpec) -> tuple[int, int]:
    """Tokens at which the warm-up and the whole schedule end."""
    total = schedule.total or Span(steps=order.num_steps)
    return tokens_in(schedule.warmup, order), tokens_in(total, order)


def _misfits(config: TrainConfig, order: OrderSpec, processes: int) -> Iterator[Problem]:
    steps = config.max_steps or order.num_steps
    if steps > order.num_steps:
        yield Problem("max_steps", f"{steps:,}, but the lock has {order.num_steps:,} steps")
    yield from _unprofiled(config, steps, processes)
    yield from _dynamic_misfits(config, order)
    asked = config.evaluation
    if asked.every_steps is not None and not (asked.stores or asked.tasks):
        what = f"{asked.every_steps:,}, but there is nothing to measure"
        yield Problem("evaluation.every_steps", f"{what}: give stores or tasks")
    warmup, total = schedule_ends(config.schedule, order)
    if warmup > total:
        end = "schedule.total" if config.schedule.total else "the end of the lock's order"
        what = f"{warmup:,} tokens, but the schedule ends after {total:,} ({end})"
        yield Problem("schedule.warmup", f"{what}: shorten the warm-up")


def _unprofiled(config: TrainConfig, steps: int, processes: int) -> Iterator[Problem]:
    """Find steps and ranks to profile that there will not be."""
    if config.profile is None:
        return
    first, last = config.profile.steps
    if last > steps:
        end = "max_steps" if config.max_steps else "the lock's last"
        what = f"[{first}, {last}], but training ends with step {steps:,} ({end})"
        yield Problem("profile.steps", f"{what}: choose steps up to that one")
    if beyond := [rank for rank in config.profile.ranks if rank >= processes]:
        what = f"{beyond}, but the ranks of this run are 0 to {processes - 1}"
        yield Problem("profile.ranks", f"{what}: choose of those")


def _dynamic_misfits(config: TrainConfig, order: OrderSpec) -> Iterator[Problem]:
    if config.dynamic is None:
        return
    given = (
        ("dynamic.references", config.dynamic.references.keys()),
        ("evaluation.stores", config.evaluation.stores.keys()),
    )
    for key, names in given:
        if missing := sorted(order.sources.keys() - names):
            yield Problem(key, f"nothing for {', '.join(missing)}: every source needs one")
    if unknown := sorted(config.dynamic.references.keys() - order.sources.keys()):
        yield Problem("dynamic.references", f"the lock has no source {', '.join(unknown)}")
    if order.versions.mix == "olmo":
        yield Problem("dynamic", "an order of OLMo's has no weights that could change")

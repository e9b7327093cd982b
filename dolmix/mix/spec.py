"""What a mix file says: sources, stages, weights, seed, batch sizes.

`Mix` holds only what a person declares; everything that follows from it and from the stores is
computed by `dolmix.mix.resolve`. Numbers written as decimals are read as the exact decimal fraction
that the file shows, so no rounding of a float ever moves an instance.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from dolmix.config import Name, Schema, load
from dolmix.errors import ConfigError, Problem
from dolmix.mix.lock import Packing, Window
from dolmix.mix.schedule import BatchPhase, Schedule, ScheduledBatch, steps_of

StageOrdering = Literal["fresh", "reuse"]
PositiveReal = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TokenShare(Schema):
    """A share of a stage given as tokens."""

    tokens: Annotated[int, Field(gt=0)]
    """Tokens that the source gives to the stage, rounded down to whole instances."""


class EpochShare(Schema):
    """A share of a stage given as passes over the source."""

    epochs: PositiveReal
    """Passes over the source within the stage, rounded down to whole instances."""


def _share_kind(value: Any) -> str:
    if isinstance(value, EpochShare) or (isinstance(value, dict) and "epochs" in value):
        return "share in epochs"
    if isinstance(value, (dict, TokenShare)):
        return "share in tokens"
    return "weight"


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[
    Annotated[Weight, Tag("weight")]
    | Annotated[TokenShare, Tag("share in tokens")]
    | Annotated[EpochShare, Tag("share in epochs")],
    Discriminator(_share_kind),
]


def _batch_kind(value: Any) -> str:
    return "schedule" if isinstance(value, (list, tuple)) else "size"


BatchSize = Annotated[
    Annotated[int, Field(ge=1), Tag("size")]
    | Annotated[tuple[ScheduledBatch, ...], Field(min_length=1), Tag("schedule")],
    Discriminator(_batch_kind),
]


class LossSpans(Schema):
    """Which tokens of a source count as labels, for instruction and chat data."""

    column: Annotated[str, Field(min_length=1)]
    """Kept column of the store: per document a list of {start, stop} in tokens, or {role, start,
    stop}; a document without a value counts whole."""
    roles: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Roles whose spans count; null counts every span."""


class MixSource(Schema):
    """One source of a mix: a committed store and how often it may be seen."""

    store: Annotated[str, Field(min_length=1)]
    """Store directory, `name@version`, or its URI; `mix resolve` pins it by content hash."""
    max_epochs: PositiveReal = 1.0
    """Passes over the source that all stages together may take; resolving fails above it."""
    loss: LossSpans | None = None
    """Labels that count in the loss; null counts all. It changes no instance and no order."""


class Stage(Schema):
    """A span of training with its own weights."""

    name: Name
    """Name of the stage, unique in the mix; the places inside its blocks are drawn from it."""
    tokens: Annotated[int, Field(gt=0)]
    """Size of the stage in tokens, rounded down to whole instances and whole steps."""
    weights: dict[Name, Share] = Field(default_factory=dict)
    """Per source a weight, `{tokens: n}` or `{epochs: x}`; weights share what those leave."""
    order: StageOrdering = "fresh"
    """`fresh` goes on where earlier stages stopped in a source; `reuse` reshuffles it whole."""


class Mix(Schema):
    """A training mix as declared: which sources, how much of each, in which stages."""

    name: Name
    """Name of the mix."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of every draw, together with the names of what is drawn."""
    sequence_length: Annotated[int, Field(ge=1)]
    """Tokens that a model sees of one instance (L); an instance holds one more, as label."""
    packing: Packing = "concat"
    """How documents fill instances: `concat` cuts the run of all documents every L tokens,
    `bestfit` keeps documents whole where they fit, `pad` gives each document its own instance."""
    order: Literal["dolmix", "olmo"] = "dolmix"
    """`olmo` replays the order of OLMo's loader: every source whole, in numpy's shuffle."""
    block: Annotated[int, Field(ge=1)] = 1024
    """Consecutive instances of a stage that hold exact counts per source (B)."""
    window: Window | None = None
    """Reads in runs, for object storage: permute chunks, then instances within windows of chunks;
    null draws every instance for itself."""
    batch_size: BatchSize
    """Instances of a step: one number, or a list of `{from_step, instances}` or `{from_tokens,
    instances}`."""
    sources: Annotated[dict[Name, MixSource], Field(min_length=1)]
    """Sources by name; the name enters every draw from the source."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """Stages in the order of training."""

    @property
    def phases(self) -> tuple[BatchPhase, ...]:
        """Batch schedule in steps; a single size is one phase from step 1."""
        if isinstance(self.batch_size, int):
            return (BatchPhase(from_step=1, instances=self.batch_size),)
        return steps_of(self.batch_size, self.sequence_length)

    @property
    def schedule(self) -> Schedule:
        """Batch sizes by step."""
        return Schedule(self.phases)

    def problems(self) -> list[Problem]:
        """List what a field alone cannot show: names that do not meet, steps out of order."""
        found = [*self._schedule_problems(), *self._stage_problems()]
        if self.order == "olmo":
            return [*found, *self._olmo_problems()]
        return [*found, *self._weight_problems()]

    def _schedule_problems(self) -> Iterator[Problem]:
        if isinstance(self.batch_size, int):
            return
        form_problems = [
            Problem(f"batch_size.{n}", "give exactly one of from_step and from_tokens")
            for n, phase in enumerate(self.batch_size)
            if (phase.from_step is None) == (phase.from_tokens is None)
        ]
        yield from form_problems
        previous = 0
        for n, phase in enumerate([] if form_problems else self.phases):
            kind = "from_step" if self.batch_size[n].from_tokens is None else "from_tokens"
            path = f"batch_size.{n}.{kind}"
            if n == 0 and phase.from_step != 1:
                yield Problem(path, f"the first phase starts at step 1, not {phase.from_step}")
            elif phase.from_step <= previous:
                what = "" if kind == "from_step" else "step "
                yield Problem(path, f"{what}{phase.from_step} does not come after {previous}")
            previous = phase.from_step

    def _stage_problems(self) -> Iterator[Problem]:
        seen: set[str] = set()
        for n, stage in enumerate(self.stages):
            if stage.name in seen:
                yield Problem(f"stages.{n}.name", f"{stage.name!r} names an earlier stage too")
            seen.add(stage.name)
            for source in sorted(stage.weights.keys() - self.sources.keys()):
                hint = did_you_mean(source, self.sources)
                yield Problem(f"stages.{n}.weights.{source}", f"unknown source{hint}")

    def _olmo_problems(self) -> Iterator[Problem]:
        """Tell what OLMo's loader cannot say: weights, stages, schedules, windows, packings."""
        for n, stage in enumerate(self.stages):
            if stage.weights:
                what = "`order: olmo` takes every source whole; leave weights out"
                yield Problem(f"stages.{n}.weights", what)
            if n or stage.order == "reuse":
                what = "`order: olmo` has one stage; write another mix with another seed"
                yield Problem(f"stages.{n}", what)
        if len(self.phases) > 1:
            yield Problem("batch_size", "`order: olmo` has one batch size")
        if self.packing != "concat" or self.window is not None:
            path = "window" if self.packing == "concat" else "packing"
            yield Problem(path, "`order: olmo` has neither packs nor windows; leave it out")

    def _weight_problems(self) -> Iterator[Problem]:
        for n, stage in enumerate(self.stages):
            path = f"stages.{n}.weights"
            if not stage.weights:
                yield Problem(path, "required, but missing")
            elif all(share == 0 for share in stage.weights.values()):
                yield Problem(path, "every weight is 0: give a source a weight")
        used = {s for stage in self.stages for s, share in stage.weights.items() if share != 0}
        for source in sorted(self.sources.keys() - used):
            yield Problem(
                f"sources.{source}",
                "has no weight in any stage: give it one, or take the source out",
            )


def load_mix(path: str | Path, overrides: Sequence[str] = ()) -> Mix:
    """Read a mix file with `key.path=value` overrides.

    Raises ConfigError with every problem that needs no store to be seen.
    """
    mix = load(Mix, path, overrides)
    if problems := mix.problems():
        raise ConfigError(str(path), problems)
    return mix


def exact(value: float) -> Fraction:
    """Read a number as the decimal that the file shows: 0.1 is 1/10."""
    return Fraction(Decimal(repr(value)))


def did_you_mean(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    """Tail of a message about an unknown name: the nearest known one, or all of them."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"

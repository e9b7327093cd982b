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

from pydantic import Discriminator, Field, Tag, field_validator

from dolmix.config import Name, Schema, load
from dolmix.errors import ConfigError, Problem
from dolmix.mix.schedule import BatchPhase, Schedule

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
    | Annotated[tuple[BatchPhase, ...], Field(min_length=1), Tag("schedule")],
    Discriminator(_batch_kind),
]


class MixSource(Schema):
    """One source of a mix: a committed store and how often it may be seen."""

    store: Annotated[str, Field(min_length=1)]
    """Store directory, `name@version`; `mix resolve` pins it by content hash."""
    max_epochs: PositiveReal = 1.0
    """Passes over the source that all stages together may take; resolving fails above it."""


class Stage(Schema):
    """A span of training with its own weights."""

    name: Name
    """Name of the stage, unique in the mix; the places inside its blocks are drawn from it."""
    tokens: Annotated[int, Field(gt=0)]
    """Size of the stage in tokens, rounded down to whole instances and whole steps."""
    weights: Annotated[dict[Name, Share], Field(min_length=1)]
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
    packing: Literal["concat"] = "concat"
    """How documents fill instances; `concat` cuts the run of all documents every L tokens."""
    block: Annotated[int, Field(ge=1)] = 1024
    """Consecutive instances of a stage that hold exact counts per source (B)."""
    batch_size: BatchSize
    """Instances of a step: one number, or a list of `{from_step, instances}`."""
    sources: Annotated[dict[Name, MixSource], Field(min_length=1)]
    """Sources by name; the name enters every draw from the source."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """Stages in the order of training."""

    @field_validator("packing", mode="before")
    @classmethod
    def _packings_to_come(cls, value: Any) -> Any:
        if value in {"bestfit", "pad"}:
            raise ValueError(f"{value!r} is not available yet; use 'concat'")
        return value

    @property
    def phases(self) -> tuple[BatchPhase, ...]:
        """Batch schedule as phases; a single size is one phase from step 1."""
        if isinstance(self.batch_size, int):
            return (BatchPhase(from_step=1, instances=self.batch_size),)
        return self.batch_size

    @property
    def schedule(self) -> Schedule:
        """Batch sizes by step."""
        return Schedule(self.phases)

    def problems(self) -> list[Problem]:
        """List what a field alone cannot show: names that do not meet, steps out of order."""
        return [*self._schedule_problems(), *self._stage_problems(), *self._source_problems()]

    def _schedule_problems(self) -> Iterator[Problem]:
        previous = 0
        for n, phase in enumerate(self.phases):
            path = f"batch_size.{n}.from_step"
            if n == 0 and phase.from_step != 1:
                yield Problem(path, f"the first phase starts at step 1, not {phase.from_step}")
            elif phase.from_step <= previous:
                yield Problem(path, f"{phase.from_step} does not come after {previous}")
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
            if all(share == 0 for share in stage.weights.values()):
                yield Problem(f"stages.{n}.weights", "every weight is 0: give a source a weight")

    def _source_problems(self) -> Iterator[Problem]:
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

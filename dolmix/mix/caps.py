"""Holding sources to their caps, and the way out where a mix asks for more than there is.

No source gives more over all stages than floor(max_epochs * N_s). A mix that breaks a cap is
refused with the largest budget that keeps every cap, all stages scaled alike. Normative:
docs/order.md, section 2.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from dolmix.errors import MixError
from dolmix.mix.lock import OrderStage
from dolmix.mix.quotas import fixed_quotas, share_out, stage_sizes
from dolmix.mix.spec import Mix, exact

SEARCH_LIMIT = 4096
"""Budgets tried from above. About 2 * stages / (batch * share of the scarce source) can break a
cap by rounding alone: only a tiny share under tiny batches needs more, and is told so."""


def plan_stages(mix: Mix, supply: Mapping[str, int]) -> tuple[OrderStage, ...]:
    """Size every stage and share it out.

    supply   source → its instances (N_s), for every source of the mix

    Raises MixError if a stage is shorter than its first step, cannot be shared out as its weights
    say, or if a source would have to give more than `max_epochs` allows.
    """
    stages = share_out(mix, supply, [stage.tokens for stage in mix.stages])
    over = _over_cap(mix, supply, stages)
    if over:
        raise MixError("\n".join([*_say_over(mix, supply, over), _say_budget(mix, supply)]))
    return stages


def source_caps(mix: Mix, supply: Mapping[str, int]) -> dict[str, int]:
    """Instances that each source may give over all stages: floor(max_epochs * N_s)."""
    return {s: int(exact(mix.sources[s].max_epochs) * supply[s]) for s in mix.sources}


def _over_cap(mix: Mix, supply: Mapping[str, int], stages: Sequence[OrderStage]) -> dict[str, int]:
    """Instances asked of each source that cannot give them."""
    demand = {s: sum(stage.quotas[s] for stage in stages) for s in stages[0].quotas}
    caps = source_caps(mix, supply)
    return {s: need for s, need in demand.items() if need > caps[s]}


def _say_over(mix: Mix, supply: Mapping[str, int], over: Mapping[str, int]) -> Iterator[str]:
    for source, need in over.items():
        have, cap = supply[source], mix.sources[source].max_epochs
        yield (
            f"source {source!r} needs {need:,} instances ({need * mix.sequence_length:,} tokens) "
            f"but has {have:,} ({have * mix.sequence_length:,} tokens): {need / have:.2f} epochs, "
            f"max_epochs={cap:g}. Raise sources.{source}.max_epochs or lower its weight."
        )


def _say_budget(mix: Mix, supply: Mapping[str, int]) -> str:
    """Say the largest stages of the declared proportions that keep every cap."""
    fits, surely_over = _scale_bounds(mix, supply)
    said, stages = "Largest budget as it is", None
    for tried, scale in enumerate(_sizes_downwards(mix, surely_over)):
        if tried == SEARCH_LIMIT:
            said, stages = "A budget that fits", _within_caps(mix, supply, fits)
            break
        stages = _within_caps(mix, supply, scale)
        if stages is not None:
            break
    if stages is None:
        return "As it is, no budget was found within the caps."
    sizes = [(stage.name, stage.instances * mix.sequence_length) for stage in stages]
    each = ", ".join(f"{name} {tokens:,}" for name, tokens in sizes)
    return f"{said}: {sum(tokens for _, tokens in sizes):,} tokens ({each})."


def _sizes_downwards(mix: Mix, scale: Fraction) -> Iterator[Fraction]:
    """Yield one scale for each way in which whole steps size the stages, from `scale` downwards.

    While every stage is asked for no less than the whole steps that it has, nothing changes: the
    next change comes below the largest size / tokens, and no two such numbers are closer than
    1 / tokens^2.
    """
    gap = Fraction(1, 2 * max(stage.tokens for stage in mix.stages) ** 2)
    while scale > 0:
        yield scale
        sizes = stage_sizes(mix, _scaled(mix, scale))
        held = [
            Fraction(size * mix.sequence_length, stage.tokens)
            for size, stage in zip(sizes, mix.stages, strict=True)
            if size
        ]
        if not held:
            return
        scale = max(held) - gap


def _within_caps(
    mix: Mix, supply: Mapping[str, int], scale: Fraction
) -> tuple[OrderStage, ...] | None:
    """Quotas with every stage's tokens scaled, or None where that breaks a cap or a stage."""
    try:
        stages = share_out(mix, supply, _scaled(mix, scale))
    except MixError:
        return None
    return None if _over_cap(mix, supply, stages) else stages


def _scaled(mix: Mix, scale: Fraction) -> list[int]:
    return [int(stage.tokens * scale) for stage in mix.stages]


class _Demand(NamedTuple):
    """A source's demand, whole instances aside: constant + slope * scale, within the rounding."""

    constant: Fraction
    slope: Fraction
    below: Fraction
    """Demand in whole instances is above the line less this."""
    above: int
    """And below the line plus this."""


def _demand(mix: Mix, supply: Mapping[str, int], source: str) -> _Demand:
    """Add to the fixed share the weight's share of what all fixed shares leave.

    A quota is less than one instance from its share of the stage, and a stage up to one step, and
    one instance, below its tokens.
    """
    step = max(phase.instances for phase in mix.phases)
    constant = slope = below = Fraction(0)
    for stage in mix.stages:
        fixed = fixed_quotas(stage, mix.sequence_length, supply)
        weights = {s: exact(w) for s, w in stage.weights.items() if isinstance(w, float)}
        share = weights.get(source, Fraction(0)) / (sum(weights.values()) or 1)
        constant += fixed.get(source, 0) - share * sum(fixed.values())
        slope += share * Fraction(stage.tokens, mix.sequence_length)
        below += 1 + share * (step + 1)
    return _Demand(constant, slope, below, len(mix.stages))


def _scale_bounds(mix: Mix, supply: Mapping[str, int]) -> tuple[Fraction, Fraction]:
    """Scales at which every cap surely holds, and above which one surely breaks; 0 if none does."""
    fits = over = Fraction(1)
    for source, cap in source_caps(mix, supply).items():
        demand = _demand(mix, supply, source)
        if demand.slope:
            fits = min(fits, (cap - demand.constant - demand.above) / demand.slope)
            over = min(over, (cap - demand.constant + demand.below) / demand.slope)
        elif demand.constant > cap:
            fits = over = Fraction(0)
    return max(fits, Fraction(0)), over

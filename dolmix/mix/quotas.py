"""How many instances each stage takes of each source.

All arithmetic is exact: integers and fractions of the declared decimals. The quotas of a stage sum
to its size, stages fill whole steps, and no source gives more than its cap. Normative: order
specification, section 2.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from dolmix.errors import MixError
from dolmix.mix.lock import OrderStage
from dolmix.mix.spec import EpochShare, Mix, Stage, TokenShare, exact

SEARCH_LIMIT = 256
"""Budgets tried below the ideal largest one; rounding to whole steps needs only a few."""


def plan_stages(mix: Mix, supply: Mapping[str, int]) -> tuple[OrderStage, ...]:
    """Size every stage and share it out.

    supply   source → its instances (N_s), for every source of the mix

    Raises MixError if a stage is shorter than its first step, cannot be shared out as its weights
    say, or if a source would have to give more than `max_epochs` allows.
    """
    stages = share_out(mix, supply, [stage.tokens for stage in mix.stages])
    caps = source_caps(mix, supply)
    over = {s: need for s, need in _demand(stages).items() if need > caps[s]}
    if over:
        advice = _largest_budget(mix, supply)
        raise MixError("\n".join([*_over_cap(mix, supply, over), advice]))
    return stages


def share_out(mix: Mix, supply: Mapping[str, int], tokens: Sequence[int]) -> tuple[OrderStage, ...]:
    """Quotas of every stage at the given sizes in tokens, caps not yet looked at.

    Raises MixError as `plan_stages` does for a stage.
    """
    schedule, done, stages = mix.schedule, 0, []
    for stage, budget in zip(mix.stages, tokens, strict=True):
        asked = budget // mix.sequence_length
        last = schedule.step_of(done + asked) - 1
        size = schedule.offset(last) - done
        if size <= 0:
            step = schedule.step_of(done)
            raise MixError(
                f"stage {stage.name!r} has {budget:,} tokens, {asked:,} instances of "
                f"{mix.sequence_length:,}, but step {step:,} alone takes "
                f"{schedule.size(step):,}. Raise its tokens to "
                f"{schedule.size(step) * mix.sequence_length:,} or lower batch_size."
            )
        quotas = stage_quotas(stage, size, mix=mix, supply=supply)
        stages.append(OrderStage(name=stage.name, instances=size, order=stage.order, quotas=quotas))
        done += size
    return tuple(stages)


def stage_quotas(stage: Stage, size: int, *, mix: Mix, supply: Mapping[str, int]) -> dict[str, int]:
    """Whole instances per source of the mix, sum `size`.

    Shares in tokens and epochs come first, weights share the rest by Hamilton's method. Raises
    MixError if the fixed shares exceed the stage, or fall short of it with no weight to fill it.
    """
    fixed = fixed_quotas(stage, mix.sequence_length, supply)
    weights = {s: exact(w) for s, w in stage.weights.items() if isinstance(w, float) and w > 0}
    taken = sum(fixed.values())
    if taken > size or (taken < size and not weights):
        shares = ", ".join(f"{s} {n:,}" for s, n in sorted(fixed.items()))
        advice = (
            "Lower them or raise the stage's tokens."
            if taken > size
            else "Give a source a weight to fill the rest, or lower the stage's tokens."
        )
        raise MixError(
            f"stage {stage.name!r} holds {size:,} instances in whole steps, but its shares in "
            f"tokens and epochs take {taken:,} ({shares}). {advice}"
        )
    quotas = dict.fromkeys(sorted(mix.sources), 0) | fixed
    if weights:
        quotas |= hamilton(size - taken, weights)
    return quotas


def fixed_quotas(stage: Stage, sequence_length: int, supply: Mapping[str, int]) -> dict[str, int]:
    """Instances of the sources whose share is given in tokens or epochs."""
    fixed = {}
    for source, share in stage.weights.items():
        if isinstance(share, TokenShare):
            fixed[source] = share.tokens // sequence_length
        elif isinstance(share, EpochShare):
            fixed[source] = int(exact(share.epochs) * supply[source])
    return fixed


def hamilton(total: int, weights: Mapping[str, Fraction]) -> dict[str, int]:
    """Share `total` by weight: floors first, then one each by largest remainder, ties by name."""
    whole = sum(weights.values(), Fraction(0))
    ideal = {s: total * w / whole for s, w in weights.items()}
    quotas = {s: int(share) for s, share in ideal.items()}
    missing = total - sum(quotas.values())
    for source in sorted(ideal, key=lambda s: (quotas[s] - ideal[s], s))[:missing]:
        quotas[source] += 1
    return quotas


def source_caps(mix: Mix, supply: Mapping[str, int]) -> dict[str, int]:
    """Instances that each source may give over all stages: floor(max_epochs * N_s)."""
    return {s: int(exact(mix.sources[s].max_epochs) * supply[s]) for s in mix.sources}


def _demand(stages: Sequence[OrderStage]) -> dict[str, int]:
    return {s: sum(stage.quotas[s] for stage in stages) for s in stages[0].quotas}


def _over_cap(mix: Mix, supply: Mapping[str, int], over: Mapping[str, int]) -> Iterator[str]:
    for source, need in over.items():
        have, cap = supply[source], mix.sources[source].max_epochs
        yield (
            f"source {source!r} needs {need:,} instances ({need * mix.sequence_length:,} tokens) "
            f"but has {have:,} ({have * mix.sequence_length:,} tokens): {need / have:.2f} epochs, "
            f"max_epochs={cap:g}. Raise sources.{source}.max_epochs or lower its weight."
        )


def _largest_budget(mix: Mix, supply: Mapping[str, int]) -> str:
    """Say the largest stages of the declared proportions that keep every cap."""
    start = _ideal_scale(mix, supply)
    largest_step = max(phase.instances for phase in mix.phases) * mix.sequence_length
    pace = Fraction(largest_step, sum(stage.tokens for stage in mix.stages))
    for n in range(SEARCH_LIMIT):
        scale = min(start + (1 - n) * pace, Fraction(1))
        stages = _scaled(mix, supply, scale)
        if stages is not None:
            sizes = [(s.name, s.instances * mix.sequence_length) for s in stages]
            each = ", ".join(f"{name} {tokens:,}" for name, tokens in sizes)
            return f"Largest budget as it is: {sum(t for _, t in sizes):,} tokens ({each})."
    return "As it is, no budget keeps within the caps."


def _scaled(mix: Mix, supply: Mapping[str, int], scale: Fraction) -> tuple[OrderStage, ...] | None:
    """Quotas with every stage's tokens scaled, or None where that breaks a cap or a stage."""
    try:
        stages = share_out(mix, supply, [int(stage.tokens * scale) for stage in mix.stages])
    except MixError:
        return None
    caps = source_caps(mix, supply)
    return stages if all(need <= caps[s] for s, need in _demand(stages).items()) else None


def _ideal_scale(mix: Mix, supply: Mapping[str, int]) -> Fraction:
    """Scale of all stages at which the first source meets its cap, whole instances aside.

    A source's demand is linear in the scale: its fixed shares, plus its weight's share of what the
    fixed shares of all sources leave.
    """
    caps, scale = source_caps(mix, supply), Fraction(1)
    for source in mix.sources:
        constant, slope = Fraction(0), Fraction(0)
        for stage in mix.stages:
            fixed = fixed_quotas(stage, mix.sequence_length, supply)
            weights = {s: exact(w) for s, w in stage.weights.items() if isinstance(w, float)}
            share = weights.get(source, Fraction(0)) / (sum(weights.values()) or 1)
            constant += fixed.get(source, 0) - share * sum(fixed.values())
            slope += share * Fraction(stage.tokens, mix.sequence_length)
        if slope > 0:
            scale = min(scale, (caps[source] - constant) / slope)
    return scale

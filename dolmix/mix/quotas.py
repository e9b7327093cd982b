"""How many instances each stage takes of each source.

All arithmetic is exact: integers and fractions of the declared decimals. The quotas of a stage sum
to its size, and stages fill whole steps; `dolmix.mix.caps` holds sources to their caps. Normative:
docs/order.md, section 2.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from dolmix.errors import MixError
from dolmix.mix.lock import OrderStage
from dolmix.mix.spec import EpochShare, Mix, Stage, TokenShare, exact


def share_out(mix: Mix, supply: Mapping[str, int], tokens: Sequence[int]) -> tuple[OrderStage, ...]:
    """Quotas of every stage at the given sizes in tokens, caps not looked at.

    supply   source → its instances (N_s), for every source of the mix
    tokens   one size a stage

    Raises MixError if a stage is shorter than its first step, or if its fixed shares do not fit it.
    """
    stages: list[OrderStage] = []
    for stage, budget, size in zip(mix.stages, tokens, stage_sizes(mix, tokens), strict=True):
        if size == 0:
            raise _too_short(mix, stage, budget, sum(earlier.instances for earlier in stages))
        quotas = stage_quotas(stage, size, mix=mix, supply=supply)
        stages.append(OrderStage(name=stage.name, instances=size, order=stage.order, quotas=quotas))
    return tuple(stages)


def stage_sizes(mix: Mix, tokens: Sequence[int]) -> list[int]:
    """Instances of each stage at the given sizes in tokens, rounded down to whole steps."""
    schedule, done, sizes = mix.schedule, 0, []
    for budget in tokens:
        last = schedule.step_of(done + budget // mix.sequence_length) - 1
        sizes.append(schedule.offset(last) - done)
        done = schedule.offset(last)
    return sizes


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


def _too_short(mix: Mix, stage: Stage, budget: int, done: int) -> MixError:
    step = mix.schedule.step_of(done)
    size = mix.schedule.size(step)
    return MixError(
        f"stage {stage.name!r} has {budget:,} tokens, {budget // mix.sequence_length:,} instances "
        f"of {mix.sequence_length:,}, but step {step:,} alone takes {size:,}. Raise its tokens to "
        f"{size * mix.sequence_length:,} or lower batch_size."
    )

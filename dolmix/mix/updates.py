"""New weights from losses, and new quotas from weights: pure functions for a run's ledger.

Both rules raise the weight of a source whose loss is above its reference. They work in float64; the
integers that `new_quotas` makes of their weights decide, and stand in the ledger, so that no other
machine has to repeat the floats.
"""

from collections.abc import Mapping
from math import exp, fsum, isfinite

import yaml  # type: ignore[import-untyped,unused-ignore]

from dolmix.config import parse
from dolmix.errors import MixError
from dolmix.mix.caps import source_caps
from dolmix.mix.ledger import Ledger, stage_counts
from dolmix.mix.lock import Lock
from dolmix.mix.quotas import hamilton
from dolmix.mix.spec import Mix, exact

Values = Mapping[str, float]


def code_rule(
    weights: Values, losses: Values, references: Values, *, eta: float = 1.0, uniform: float = 1e-4
) -> dict[str, float]:
    """Weights as LLM-Shearing's code updates them: (1 - c) softmax(log w + eta (l - l*)) + c / n.

    weights     w, at least 0, not all 0; the n sources of the run
    losses      l, a source's evaluation loss in nats a token, one for each weight
    references  l*, the loss that the source should reach
    eta         step size
    uniform     c, the share that every source gets alike

    A loss below its reference lowers the weight (dynamic batch loading, arXiv 2310.06694; the code
    does not clamp the difference as the paper does). The result sums to 1. Raises MixError for
    names that do not agree or numbers that are none.
    """
    if not 0 <= uniform <= 1:
        raise MixError(f"uniform is {uniform}: the share that sources get alike is 0 to 1")
    excess = {s: eta * d for s, d in _excess(weights, losses, references).items()}
    share = _softmax(weights, excess)
    return _normalised({s: (1 - uniform) * share[s] + uniform / len(share) for s in share})


def paper_rule(weights: Values, losses: Values, references: Values) -> dict[str, float]:
    """Weights as the LLM-Shearing paper updates them: w exp(max(0, l - l*)), normalised.

    A loss below its reference leaves the weight's ratio to others as it is, and no source gets a
    share of its own (arXiv 2310.06694, algorithm 1). Arguments and errors as `code_rule`.
    """
    excess = {s: max(0.0, d) for s, d in _excess(weights, losses, references).items()}
    return _normalised(_softmax(weights, excess))


RULES = {"code": code_rule, "paper": paper_rule}
"""Rules by name."""


def new_quotas(
    weights: Values, rest: int, *, room: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Share `rest` instances by weight, in whole instances by Hamilton's method; sum `rest`.

    room   most that each source can still give; what a source cannot give goes to the others by
           their weights. Without it nothing holds a source back

    Raises MixError if the sources with a weight have not `rest` instances left.
    """
    limits = dict.fromkeys(weights, rest) if room is None else room
    quotas = dict.fromkeys(sorted(weights), 0)
    sharing = {s: exact(float(weights[s])) for s in quotas if weights[s] > 0}
    while rest and sharing:
        shares = hamilton(rest, sharing)
        full = [s for s in shares if shares[s] > limits[s]]
        if not full:
            return quotas | shares
        for s in full:
            quotas[s] = limits[s]
            rest -= limits[s]
            del sharing[s]
    if rest:
        raise MixError(
            f"{rest:,} instances of the stage are left, and no source with a weight may give more. "
            f"Raise max_epochs of a source, or stop changing the weights."
        )
    return quotas


def room_left(lock: Lock, ledger: Ledger, stage: str, from_block: int) -> dict[str, int]:
    """Instances that each source may still give to the rest of a stage within its max_epochs.

    Its cap, less what earlier stages and blocks gave and what later stages will take; at least 0.
    """
    order, names = lock.order, sorted(lock.order.sources)
    mix = parse(Mix, yaml.safe_load(lock.mix), lock.overrides, origin=f"the mix of {lock.name}")
    caps = source_caps(mix, {s: pin.num_instances for s, pin in order.sources.items()})
    number = [s.name for s in order.stages].index(stage)
    counts = [stage_counts(order, n, ledger.records) for n in range(len(order.stages))]
    taken = [
        c.at(from_block * order.block) if n == number else c.totals for n, c in enumerate(counts)
    ]
    given = [sum(column) for column in zip(*taken, strict=True)]
    return {s: max(0, caps[s] - n) for s, n in zip(names, given, strict=True)}


def _excess(weights: Values, losses: Values, references: Values) -> dict[str, float]:
    for what, values in (("losses", losses), ("references", references)):
        if values.keys() != weights.keys():
            raise MixError(
                f"{what} are given for {', '.join(sorted(values)) or 'no source'}, weights for "
                f"{', '.join(sorted(weights)) or 'no source'}: give one for each"
            )
    for what, values in (("weight", weights), ("loss", losses), ("reference", references)):
        for source, value in values.items():
            if not isfinite(value) or (what == "weight" and value < 0):
                raise MixError(f"the {what} of {source!r} is {value}: no weights follow from it")
    if not any(weights.values()):
        raise MixError("every weight is 0: there is nothing to change")
    return {s: losses[s] - references[s] for s in sorted(weights)}


def _softmax(weights: Values, excess: Mapping[str, float]) -> dict[str, float]:
    """Softmax of log w + excess; a weight of 0 stays 0."""
    largest = max(excess[s] for s in excess if weights[s] > 0)
    return _normalised(
        {s: weights[s] * exp(d - largest) if weights[s] > 0 else 0.0 for s, d in excess.items()}
    )


def _normalised(values: Mapping[str, float]) -> dict[str, float]:
    whole = fsum(values.values())
    return {s: value / whole for s, value in values.items()}

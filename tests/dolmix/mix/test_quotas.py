"""Quotas: exact sums, fixed shares first, caps with a way out."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import naive_order as naive
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dolmix.errors import MixError
from dolmix.mix import Mix
from dolmix.mix.caps import _over_cap, plan_stages, source_caps
from dolmix.mix.quotas import hamilton, share_out
from dolmix.mix.spec import EpochShare, Stage, TokenShare

SUPPLY = {"code": 13, "papers": 70_000, "web": 1000}
WEIGHTS = {"code": 0.22, "papers": 0.08, "web": 0.7}


def mix_of(stages: list[dict[str, Any]], *, batch_size: Any = 1, max_epochs: float = 1000) -> Mix:
    """Declare a mix over code, papers and web with L = 10."""
    return Mix.model_validate(
        {
            "name": "m",
            "seed": 1,
            "sequence_length": 10,
            "batch_size": batch_size,
            "sources": {s: {"store": f"{s}@1", "max_epochs": max_epochs} for s in SUPPLY},
            "stages": stages,
        }
    )


def test_quotas_are_the_published_ones() -> None:
    """The quotas of docs/order.md, section 8."""
    stages = plan_stages(
        mix_of(
            [
                {"name": "main", "tokens": 25_010, "weights": WEIGHTS},
                {"name": "anneal", "tokens": 3_010, "weights": WEIGHTS, "order": "reuse"},
            ]
        ),
        SUPPLY,
    )
    assert stages[0].quotas == {"code": 550, "papers": 200, "web": 1751}
    assert stages[1].quotas == {"code": 66, "papers": 24, "web": 211}


@given(
    st.integers(0, 10**12),
    st.dictionaries(
        st.sampled_from("abcdefg"), st.fractions(0, 10, max_denominator=1000), min_size=1
    ),
)
@settings(deadline=None, max_examples=100)
def test_hamilton_sums_exactly_and_matches_its_twin(
    total: int, weights: dict[str, Fraction]
) -> None:
    """Quotas sum to the total, are within one of the ideal, and ties go by name as in the twin."""
    weights["h"] = Fraction(1)
    quotas = hamilton(total, weights)
    assert sum(quotas.values()) == total
    assert quotas == naive.hamilton(total, weights)


def test_ties_go_by_name() -> None:
    """Equal remainders: the first names get one more."""
    assert hamilton(2, dict.fromkeys("cab", Fraction(1))) == {"a": 1, "b": 1, "c": 0}


def test_fixed_shares_come_first() -> None:
    """Tokens and epochs are taken as they are, rounded down; weights share what they leave."""
    weights = {"web": 3, "code": {"epochs": 0.5}, "papers": {"tokens": 1234}}
    (stage,) = plan_stages(mix_of([{"name": "main", "tokens": 10_000, "weights": weights}]), SUPPLY)
    assert stage.quotas == {"code": 6, "papers": 123, "web": 871}


def test_stages_fill_whole_steps() -> None:
    """K is rounded down so that each stage ends with a step, also where the batch size changes."""
    schedule = [{"from_step": 1, "instances": 8}, {"from_step": 4, "instances": 20}]
    stages = [
        {"name": "main", "tokens": 399, "weights": WEIGHTS},
        {"name": "anneal", "tokens": 659, "weights": WEIGHTS},
    ]
    planned = plan_stages(mix_of(stages, batch_size=schedule), SUPPLY)
    assert [stage.instances for stage in planned] == [24, 60]


def test_a_stage_shorter_than_a_step_is_refused() -> None:
    """The message names the stage, the step's size and the tokens that would do."""
    with pytest.raises(MixError, match=r"'main'.*Raise its tokens to 640"):
        plan_stages(
            mix_of([{"name": "main", "tokens": 630, "weights": WEIGHTS}], batch_size=64), SUPPLY
        )


@pytest.mark.parametrize(
    "weights",
    [
        {"web": {"tokens": 2000}, "code": 1, "papers": 1},
        {"web": {"tokens": 500}, "papers": {"epochs": 0.0001}},
    ],
)
def test_fixed_shares_that_do_not_fit_are_refused(weights: dict[str, Any]) -> None:
    """More than the stage, or less with no weight to fill it: the sizes are told."""
    with pytest.raises(MixError, match=r"holds 100 instances.*take (200|57)"):
        plan_stages(mix_of([{"name": "main", "tokens": 1000, "weights": weights}]), SUPPLY)


def test_a_source_beyond_its_cap_is_named_with_numbers_and_the_way_out() -> None:
    """Demand, supply, epochs and cap are told, and the largest budget in whole steps."""
    stages = [{"name": "main", "tokens": 25_010, "weights": WEIGHTS}]
    with pytest.raises(MixError) as caught:
        plan_stages(mix_of(stages, max_epochs=2, batch_size=4), SUPPLY)
    said = str(caught.value)
    assert "source 'code' needs 550 instances (5,500 tokens) but has 13 (130 tokens)" in said
    assert "42.31 epochs, max_epochs=2" in said
    assert "Raise sources.code.max_epochs or lower its weight." in said
    assert "source 'web'" not in said
    assert "Largest budget as it is: 1,200 tokens (main 1,200)." in said


def largest_by_trying(mix: Mix, supply: dict[str, int]) -> int:
    """Tokens of the largest mix within the caps: every scale at which a stage gains an instance."""
    length, best = mix.sequence_length, 0
    caps = {s: int(Fraction(str(mix.sources[s].max_epochs)) * n) for s, n in supply.items()}
    declared = [stage.tokens for stage in mix.stages]
    scales = {Fraction(n * length, t) for t in declared for n in range(1, t // length + 1)}
    for scale in scales | {Fraction(1)}:
        try:
            stages = share_out(mix, supply, [int(t * scale) for t in declared])
        except MixError:
            continue
        if all(sum(stage.quotas[s] for stage in stages) <= cap for s, cap in caps.items()):
            best = max(best, length * sum(stage.instances for stage in stages))
    return best


weights = st.one_of(
    st.sampled_from([1.0, 0.5, 0.01]), st.integers(10, 300).map(lambda t: {"tokens": t})
)
schedules = st.one_of(
    st.integers(1, 7),
    st.tuples(st.integers(1, 5), st.integers(2, 40), st.integers(1, 32)).map(
        lambda t: [
            {"from_step": 1, "instances": t[0]},
            {"from_step": t[1], "instances": t[2]},
        ]
    ),
)


@given(
    st.lists(
        st.tuples(st.integers(100, 900), st.tuples(weights, weights, weights)),
        min_size=1,
        max_size=2,
    ),
    schedules,
    st.tuples(*[st.integers(3, 40)] * 3),
)
@example([(800, (1.0, 1.0, 0.01))], [{"from_step": 1, "instances": 4}], (20, 60, 1))
@settings(deadline=None, max_examples=150)
def test_the_advised_budget_is_the_largest(
    declared: list[tuple[int, tuple[Any, ...]]], batch: Any, have: tuple[int, ...]
) -> None:
    """No larger budget of the same proportions keeps every cap, also where the batch grows."""
    supply = dict(zip(SUPPLY, have, strict=True))
    stages = [
        {"name": f"s{n}", "tokens": t, "weights": dict(zip(SUPPLY, shares, strict=True))}
        for n, (t, shares) in enumerate(declared)
    ]
    mix = mix_of(stages, batch_size=batch, max_epochs=1)
    try:
        plan_stages(mix, supply)
    except MixError as error:
        assume("max_epochs" in str(error))
        advised = re.search(r"Largest budget as it is: ([\d,]+)", str(error))
        told = int(advised[1].replace(",", "")) if advised else 0
        assert told == largest_by_trying(mix, supply)


def test_a_source_that_weights_do_not_move_has_no_budget() -> None:
    """A share in tokens above its cap stays above it at any size; the advice says so at once."""
    stages = [{"name": "main", "tokens": 10**9, "weights": {"code": {"tokens": 900}, "web": 1}}]
    with pytest.raises(MixError, match="no budget was found within the caps"):
        plan_stages(mix_of(stages, max_epochs=1), SUPPLY | {"web": 10**9})


def test_a_budget_beyond_the_search_fits_though_it_may_not_be_the_largest() -> None:
    """A source of a tiny weight leaves more sizes than are tried; the one told resolves."""
    weights = {"code": 0.000001, "papers": 0.5, "web": 0.5}
    stages = [{"name": "main", "tokens": 10**10, "weights": weights}]
    supply = {"code": 13, "papers": 10**9, "web": 10**9}
    with pytest.raises(MixError) as caught:
        plan_stages(mix_of(stages, max_epochs=1), supply)
    told = re.search(r"A budget that fits: ([\d,]+) tokens \(main ([\d,]+)\)", str(caught.value))
    assert told is not None
    stages[0]["tokens"] = int(told[2].replace(",", ""))
    (stage,) = plan_stages(mix_of(stages, max_epochs=1), supply)
    assert 11 <= stage.quotas["code"] <= 13


shares = st.one_of(
    st.decimals("0.01", 9, places=2).map(float),
    st.integers(10, 400).map(lambda t: {"tokens": t}),
    st.decimals("0.01", 2, places=2).map(lambda e: {"epochs": float(e)}),
)


@given(
    st.lists(
        st.tuples(st.integers(400, 4000), st.lists(shares, min_size=2, max_size=2)),
        min_size=1,
        max_size=2,
    ),
    st.integers(1, 7),
    st.decimals("0.1", 3, places=1).map(float),
)
@settings(deadline=None, max_examples=100)
def test_the_advised_budget_resolves_and_quotas_always_sum(
    declared: list[tuple[int, list[Any]]], batch: int, cap: float
) -> None:
    """Whatever is declared, quotas sum to their stage within caps; an advised budget resolves."""
    supply = {"code": 9, "papers": 40, "web": 25}
    stages = [
        {"name": f"s{n}", "tokens": t, "weights": {"web": 1.5, "code": two[0], "papers": two[1]}}
        for n, (t, two) in enumerate(declared)
    ]
    try:
        planned = plan_stages(mix_of(stages, batch_size=batch, max_epochs=cap), supply)
    except MixError as error:
        advised = re.search(r"Largest budget as it is: [\d,]+ tokens \((.*)\)", str(error))
        if advised is None:
            return
        for stage, said in zip(stages, advised[1].split(", "), strict=True):
            stage["tokens"] = int(said.split()[1].replace(",", ""))
        planned = plan_stages(mix_of(stages, batch_size=batch, max_epochs=cap), supply)
    for stage in planned:
        assert sum(stage.quotas.values()) == stage.instances
    for source, have in supply.items():
        assert sum(stage.quotas[source] for stage in planned) <= int(Fraction(str(cap)) * have)


class Choices:
    """Choices made by one string of bytes: a mix of dozens of parts costs hypothesis one draw."""

    def __init__(self, drawn: bytes) -> None:
        self._drawn = iter(drawn)

    def number(self, count: int) -> int:
        """Return a number in [0, count), 0 where nothing is left to choose by; count <= 65,536."""
        high, low = next(self._drawn, 0), next(self._drawn, 0)
        return (256 * high + low) * count >> 16

    def of(self, values: Sequence[Any]) -> Any:
        """Return one of the values."""
        return values[self.number(len(values))]


def any_share(choose: Choices) -> Any:
    """Choose a weight, tiny or huge, or a fixed share in tokens or epochs."""
    kind = choose.number(8)
    if kind == 0:
        return {"tokens": 1 + choose.number(200)}
    if kind == 1:
        return {"epochs": choose.of([0.001, 0.5, 1.0, 1.5])}
    if kind < 4:
        return choose.of([1e-12, 1e-6, 0.5, 3.0, 1e9])
    return (1 + choose.number(60_000)) / 10_000


def any_mix(drawn: bytes) -> tuple[Mix, dict[str, int]]:
    """Make a mix with tiny weights, sources of one instance, caps, several stages, any batches."""
    choose = Choices(drawn)
    names = "abcde"[: 1 + choose.number(5)]
    supply = {s: choose.of([1, 2, 7, 50, 10**6, 10**12]) for s in names}
    stages = []
    for n in range(1 + choose.number(3)):
        used = [s for s in names if choose.number(3)] or [choose.of(names)]
        stages.append(
            {
                "name": f"s{n}",
                "tokens": choose.of([64, 500, 3000, 10**7, 10**13]) + choose.number(100),
                "weights": {s: any_share(choose) for s in used},
                "order": choose.of(["fresh", "reuse"]),
            }
        )
    caps = {s: choose.of([0.5, 1.0, 2.5, 10.0**9]) for s in names}
    batches = [{"from_step": 1, "instances": 1 + choose.number(7)}]
    batches += [{"from_step": 2 + choose.number(40), "instances": 1 + choose.number(32)}]
    value = {
        "name": "m",
        "seed": 1,
        "sequence_length": 1 + choose.number(9),
        "batch_size": choose.of([batches, batches[0]["instances"]]),
        "sources": {s: {"store": f"{s}@1", "max_epochs": cap} for s, cap in caps.items()},
        "stages": stages,
    }
    return Mix.model_validate(value), supply


def declared_quotas(mix: Mix, stage: Stage, size: int, supply: dict[str, int]) -> dict[str, int]:
    """Share a stage out as the page says: fixed shares, then Hamilton's method in the twin."""
    fixed = {}
    for s, share in stage.weights.items():
        if isinstance(share, TokenShare):
            fixed[s] = share.tokens // mix.sequence_length
        elif isinstance(share, EpochShare):
            fixed[s] = int(Fraction(repr(share.epochs)) * supply[s])
    weights = {s: Fraction(repr(w)) for s, w in stage.weights.items() if isinstance(w, float)}
    shared = naive.hamilton(size - sum(fixed.values()), weights) if weights else {}
    return dict.fromkeys(mix.sources, 0) | fixed | shared


@given(st.binary(min_size=80, max_size=80))
@settings(deadline=None, max_examples=10_000, derandomize=True, database=None)
def test_ten_thousand_mixes_have_exact_quotas(drawn: bytes) -> None:
    """Quotas are whole, sum to their stage, keep fixed shares and caps, and Hamilton's shares.

    Whatever cannot be shared out is refused, never rounded away.
    """
    mix, supply = any_mix(drawn)
    try:
        planned = share_out(mix, supply, [stage.tokens for stage in mix.stages])
    except MixError as error:
        said = str(error)
        assert "alone takes" in said or "in whole steps, but its shares" in said
        return
    done = 0
    for stage, got in zip(mix.stages, planned, strict=True):
        assert sum(got.quotas.values()) == got.instances > 0
        done += got.instances
        assert mix.schedule.offset(mix.schedule.step_of(done) - 1) == done
        assert got.quotas == declared_quotas(mix, stage, got.instances, supply)
    demand = {s: sum(stage.quotas[s] for stage in planned) for s in supply}
    caps = {s: int(Fraction(repr(mix.sources[s].max_epochs)) * n) for s, n in supply.items()}
    assert caps == source_caps(mix, supply)
    assert set(_over_cap(mix, supply, planned)) == {s for s in supply if demand[s] > caps[s]}
    if all(demand[s] <= caps[s] for s in supply):
        assert plan_stages(mix, supply) == planned

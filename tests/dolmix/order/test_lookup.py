"""The order: published vectors, agreement with the naive twin, and what never changes it."""

import tracemalloc
from collections import Counter
from hashlib import blake2b

import mix_stores
import naive_order as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import OrderError
from dolmix.mix import BatchPhase, OrderSpec
from dolmix.order import Order

SUPPLY = {"code": 13, "papers": 70_000, "web": 1000}
MAIN = {"code": 550, "papers": 200, "web": 1751}
ANNEAL = {"code": 66, "papers": 24, "web": 211}


def published() -> Order:
    """Return the order of docs/order.md, section 8, in steps of one instance."""
    stages = [("main", "fresh", MAIN), ("anneal", "reuse", ANNEAL)]
    return Order(mix_stores.order_spec(SUPPLY, stages))


def triples(order: Order, start: int, stop: int) -> list[tuple[int, int, int]]:
    """(source index, epoch, instance) of places."""
    places = order.places(start, stop)
    columns = (places.source.tolist(), places.epoch.tolist(), places.instance.tolist())
    return list(zip(*columns, strict=True))


@st.composite
def specs(draw: st.DrawFn) -> OrderSpec:
    """Small orders: up to four sources, three stages, two batch sizes, any block."""
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    supply = {name: draw(st.integers(1, 40)) for name in names}
    first = draw(st.integers(1, 6))
    phases = [(1, first), (draw(st.integers(2, 5)), draw(st.integers(1, 6)))]
    schedule = mix_stores.order_spec(supply, [], phases=phases).schedule
    stages, done = [], 0
    for name in ("main", "anneal", "cool")[: draw(st.integers(1, 3))]:
        start = schedule.step_of(done)
        size = schedule.offset(start + draw(st.integers(0, 8))) - done
        done += size
        cuts = sorted(
            draw(st.lists(st.integers(0, size), min_size=len(names) - 1, max_size=len(names) - 1))
        )
        parts = np.diff([0, *cuts, size]).tolist()
        order = draw(st.sampled_from(["fresh", "reuse"]))
        stages.append((name, order, dict(zip(names, parts, strict=True))))
    block = draw(st.integers(1, 20))
    return mix_stores.order_spec(supply, stages, block=block, phases=phases)


def naive_stages(spec: OrderSpec) -> list[naive.NaiveStage]:
    """Return the stages as the twin takes them."""
    return [naive.NaiveStage(s.name, s.instances, s.order, s.quotas) for s in spec.stages]


def test_cumulative_counts_are_the_published_ones() -> None:
    """Main c(1280) of docs/order.md, section 3."""
    assert published()._stages[0].counts(1280) == [282, 103, 895]


def test_single_places_are_the_published_ones() -> None:
    """The published triples at the start, at the seam between the stages, and after it."""
    order = published()
    first = [(2, 0, 729), (0, 4, 10), (2, 0, 471), (2, 0, 875), (0, 1, 1), (2, 0, 649)]
    assert triples(order, 0, 6) == first
    assert triples(order, 2500, 2502) == [(2, 1, 409), (2, 0, 64)]


def test_digest_of_all_places_is_the_published_one() -> None:
    """Blake2b-128 over all 2,802 triples, each number as u64 LE."""
    places = published().places(0, 2802)
    columns = np.stack([places.source, places.epoch, places.instance], axis=1).astype("<u8")
    digest = blake2b(columns.tobytes(), digest_size=16).hexdigest()
    assert digest == "276ca5f4423e225df08533f64a609d4e"


@given(specs())
@settings(deadline=None, max_examples=60)
def test_every_place_matches_the_naive_twin(spec: OrderSpec) -> None:
    """Vectorised and one by one agree on every place of small orders."""
    order = Order(spec)
    supply = {s: pin.num_instances for s, pin in spec.sources.items()}
    stages = naive_stages(spec)
    expected = [
        naive.instance_at(stages, supply, k, seed=spec.seed, block=spec.block)
        for k in range(order.num_instances)
    ]
    got = [(order.sources[s], e, i) for s, e, i in triples(order, 0, order.num_instances)]
    assert got == expected


@given(specs())
@settings(deadline=None, max_examples=40)
def test_stages_draw_their_quotas_and_blocks_their_counts(spec: OrderSpec) -> None:
    """Stages hold exactly their quotas, blocks their counts, fresh stages no draw twice."""
    order, start, fresh = Order(spec), 0, set[tuple[int, int, int]]()
    for stage in spec.stages:
        drawn = triples(order, start, start + stage.instances)
        counted = {s: sum(row[0] == n for row in drawn) for n, s in enumerate(order.sources)}
        assert counted == stage.quotas
        assert len(set(drawn)) == len(drawn)
        quotas = [stage.quotas[s] for s in order.sources]
        for edge in range(0, stage.instances, spec.block):
            stop = min(edge + spec.block, stage.instances)
            before, after = (naive.counts(k, stage.instances, quotas) for k in (edge, stop))
            held = Counter(row[0] for row in drawn[edge:stop])
            assert [held[n] for n in range(len(quotas))] == [
                b - a for a, b in zip(before, after, strict=True)
            ]
        if stage.order == "fresh":
            assert fresh.isdisjoint(drawn)
            fresh.update(drawn)
        start += stage.instances


@given(specs())
@settings(deadline=None, max_examples=40)
def test_find_returns_exactly_the_places_that_draw(spec: OrderSpec) -> None:
    """Steps to instances and instances to steps are inverse to each other, for every instance."""
    order = Order(spec)
    drawn: dict[tuple[str, int], list[tuple[str, int, int, int, int]]] = {}
    for step in range(1, order.num_steps + 1):
        places, stage = order.batch(step), order.stage_of(step)
        rows = zip(places.k, places.source, places.epoch, places.instance, strict=True)
        for place, (k, source, epoch, instance) in enumerate(rows):
            key = (order.sources[source], int(instance))
            drawn.setdefault(key, []).append((stage, step, place, int(k), int(epoch)))
    for source, pin in spec.sources.items():
        for instance in range(pin.num_instances):
            assert order.find(source, instance) == drawn.get((source, instance), [])


@given(specs())
@settings(deadline=None, max_examples=40)
def test_batches_tile_the_run_whatever_the_ranks(spec: OrderSpec) -> None:
    """Batches follow each other without gap, have the scheduled size, and ranks share each one."""
    order, seen = Order(spec), 0
    phases = [(p.from_step, p.instances) for p in spec.batch_size]
    for step in range(1, order.num_steps + 1):
        batch = order.batch(step)
        assert len(batch) == naive.batch_of(step, phases)
        assert batch.k.tolist() == list(range(seen, seen + len(batch)))
        seen += len(batch)
        for world in (w for w in range(1, len(batch) + 1) if len(batch) % w == 0):
            shares = [batch.of_rank(rank, world).k for rank in range(world)]
            assert np.array_equal(np.stack(shares, axis=1).ravel(), batch.k)
    assert seen == order.num_instances


def test_adding_a_source_leaves_the_others_draws_alone() -> None:
    """With equal quotas, a source draws the same instances of the same epochs in any company."""
    two, three = {"code": 300, "web": 700}, {"books": 150, "code": 300, "web": 700}
    drawn = []
    for quotas in (two, three):
        spec = mix_stores.order_spec(
            dict.fromkeys(quotas, 90), [("main", "fresh", quotas)], block=16
        )
        order = Order(spec)
        rows = triples(order, 0, order.num_instances)
        drawn.append({s: {row[1:] for row in rows if order.sources[row[0]] == s} for s in two})
    assert drawn[0] == drawn[1]


@given(specs(), st.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_an_added_source_leaves_every_own_sequence_alone(spec: OrderSpec, quota: int) -> None:
    """With another source in the first stage, the others go through their own instances as before.

    A source's own sequence is what its 0th, 1st, 2nd ... draw of all fresh stages is.
    """
    first, *later = spec.stages
    grown = first.model_copy(
        update={"instances": first.instances + quota, "quotas": first.quotas | {"new": quota}}
    )
    stages = [grown, *(s.model_copy(update={"quotas": s.quotas | {"new": 0}}) for s in later)]
    sources = spec.sources | {"new": spec.sources[min(spec.sources)]}
    wider = spec.model_copy(update={"sources": sources, "stages": tuple(stages), "batch_size": ONE})
    alone = own_sequences(spec.model_copy(update={"batch_size": ONE}))
    assert {s: seq for s, seq in own_sequences(wider).items() if s != "new"} == alone


@given(specs(), st.integers(1, 9), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_the_batch_schedule_never_changes_an_instance(
    spec: OrderSpec, size: int, world: int
) -> None:
    """The k-th instance of the run is the same under any batch sizes and any number of ranks."""
    order = Order(spec.model_copy(update={"batch_size": ONE}))
    expected = triples(order, 0, order.num_instances)
    phases = [(1, size * world), (3, world), (6, 2 * world)]
    sizes = tuple(BatchPhase(from_step=f, instances=n) for f, n in phases)
    other = Order(spec.model_copy(update={"batch_size": sizes}))
    for step in range(1, other.num_steps + 1):
        batch = other.batch(step)
        for rank in range(world):
            share = batch.of_rank(rank, world)
            columns = (share.k, share.source, share.epoch, share.instance)
            for k, *triple in zip(*(column.tolist() for column in columns), strict=True):
                assert tuple(triple) == expected[k]


@given(specs())
@settings(deadline=None, max_examples=40)
def test_no_instance_repeats_before_its_epoch_is_exhausted(spec: OrderSpec) -> None:
    """Over all fresh stages a source is gone through whole, again and again, and never partly."""
    for source, drawn in own_sequences(spec.model_copy(update={"batch_size": ONE})).items():
        supply = spec.sources[source].num_instances
        for start in range(0, len(drawn), supply):
            epoch = drawn[start : start + supply]
            assert {e for e, _ in epoch} == {start // supply}
            assert len({instance for _, instance in epoch}) == len(epoch)


ONE = (BatchPhase(from_step=1, instances=1),)


def own_sequences(spec: OrderSpec) -> dict[str, list[tuple[int, int]]]:
    """(epoch, instance) of every draw of each source in fresh stages, in the order of its epochs.

    Blocks permute places, so draws are sorted by epoch and place in the epoch's permutation.
    """
    order, start = Order(spec), 0
    drawn: dict[str, list[tuple[int, int]]] = {s: [] for s in order.sources}
    for stage in spec.stages:
        if stage.order == "fresh":
            for s, e, i in triples(order, start, start + stage.instances):
                drawn[order.sources[s]].append((e, i))
        start += stage.instances
    return {s: by_position(spec, s, pairs) for s, pairs in drawn.items()}


def by_position(spec: OrderSpec, s: str, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort (epoch, instance) of a source by where its epochs have them."""
    supply = spec.sources[s].num_instances
    tables = {e: naive.sorted_permutation((1234, "source", s, e), supply) for e, _ in pairs}
    return sorted(pairs, key=lambda pair: (pair[0], tables[pair[0]].index(pair[1])))


def test_places_outside_are_refused() -> None:
    """Steps, instances, sources, ranges and ranks outside the order are errors with the limits."""
    order = published()
    for step in (0, 2803, -1):
        with pytest.raises(OrderError, match="steps 1 to 2,802"):
            order.batch(step)
    with pytest.raises(OrderError, match="13 instances"):
        order.find("code", 13)
    with pytest.raises(OrderError, match="did you mean 'papers'"):
        order.find("paper", 0)
    with pytest.raises(OrderError, match="2,802 places"):
        order.places(2800, 2803)
    with pytest.raises(OrderError, match="cannot share"):
        order.places(0, 10).of_rank(0, 4)
    with pytest.raises(OrderError, match="no rank 2"):
        order.places(0, 10).of_rank(2, 2)


def test_a_billion_instances_need_no_table() -> None:
    """Batches and inverses of a run of 10^9 instances work in a few MB: nothing is enumerated."""
    supply = {"code": 40_000_000, "papers": 70_000, "web": 900_000_000}
    quotas = {"code": 100_000_000, "papers": 200_000, "web": 899_800_000}
    phases = [(1, 1000)]
    spec = mix_stores.order_spec(supply, [("main", "fresh", quotas)], block=1024, phases=phases)
    order = Order(spec)
    tracemalloc.start()
    for step in (1, 250_001, 500_123, 987_654, 1_000_000):
        places = order.batch(step)
        row = int(np.flatnonzero(places.source == 2)[0])
        found = order.find("web", int(places.instance[row]))
        assert [(place.step, place.place) for place in found] == [(step, row)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_counts_are_exact_beyond_64_bits() -> None:
    """Products of counts above 2^64 stay exact: edges of a huge stage sum to their place."""
    quotas = {"a": 3 * 10**17 + 1, "b": 7 * 10**17 - 3}
    spec = mix_stores.order_spec({"a": 10**17, "b": 10**18}, [("main", "fresh", quotas)], block=64)
    order = Order(spec)
    for k in (10**17 + 3, 5 * 10**17, order.num_instances):
        expected = naive.counts(k, order.num_instances, [quotas["a"], quotas["b"]])
        assert order._stages[0].counts(k) == expected
    place = order.places(10**18 - 10, 10**18 - 9)
    name = order.sources[int(place.source[0])]
    assert any(p.k == 10**18 - 10 for p in order.find(name, int(place.instance[0])))

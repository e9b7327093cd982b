"""`order: olmo`: OLMo's loader replayed, as its code describes it."""

from pathlib import Path

import mix_stores
import numpy as np
import pytest

from dolmix.errors import ConfigError, MixError, OrderError
from dolmix.mix import Lock, load_mix, olmo, read_lock, resolve_file
from dolmix.mix.lock import Versions
from dolmix.order import Batches, Order, first_differing_step, open_order

MIX = """\
name: replay
seed: 6198
sequence_length: 16
batch_size: 12
order: olmo
sources:
  web: {store: stores/web@1, max_epochs: 3}
  code: {store: stores/code@1, max_epochs: 3}
stages:
  - {name: main, tokens: 2_600}
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lock:
    """Resolve a replay over two stores of 58 and 29 whole instances: epochs of 7 batches of 12."""
    monkeypatch.chdir(tmp_path)
    mix_stores.write_small_mix(tmp_path)
    path = tmp_path / "replay.yaml"
    path.write_text(MIX, encoding="utf-8")
    resolve_file(path).write(tmp_path / "replay.lock.json")
    return read_lock(tmp_path / "replay.lock.json")


def replayed(seed: int, supply: dict[str, int], batch: int, count: int) -> list[tuple[str, int]]:
    """OLMo's loader: number all instances by file, shuffle each epoch, drop the last batch."""
    numbered = [(name, i) for name in sorted(supply) for i in range(supply[name])]
    out: list[tuple[str, int]] = []
    epoch = 0
    while len(out) < count:
        order = np.arange(len(numbered), dtype=np.uint32)
        np.random.Generator(np.random.PCG64(seed + epoch)).shuffle(order)
        out += [numbered[n] for n in order[: len(order) // batch * batch].tolist()]
        epoch += 1
    return out[:count]


def test_batches_are_those_of_olmo_s_loader(lock: Lock) -> None:
    """Every place of every epoch is what shuffling the numbered instances gives."""
    order = open_order(lock)
    supply = {s: pin.num_instances for s, pin in lock.order.sources.items()}
    for name, count in supply.items():
        assert count == lock.sources[name].tokens // 16
    places = order.places(0, order.num_instances)
    rows = zip(places.source.tolist(), places.instance.tolist(), strict=True)
    drawn = [(order.sources[s], i) for s, i in rows]
    assert order.num_instances == 156
    assert drawn == replayed(6198, supply, 12, 156)
    per_epoch = sum(supply.values()) // 12 * 12
    assert places.epoch.tolist() == [k // per_epoch for k in range(156)]
    assert order.batch(3).instance.tolist() == [i for _, i in drawn[24:36]]


def test_find_returns_exactly_the_places_that_draw(lock: Lock) -> None:
    """Both directions agree, dropped ends of epochs included."""
    order = open_order(lock)
    places = order.places(0, order.num_instances)
    drawn: dict[tuple[int, int], list[int]] = {}
    for k, source, instance in zip(places.k, places.source, places.instance, strict=True):
        drawn.setdefault((int(source), int(instance)), []).append(int(k))
    for index, name in enumerate(order.sources):
        for instance in range(lock.order.sources[name].num_instances):
            found = [place.k for place in order.find(name, instance)]
            assert found == drawn.get((index, instance), [])


def test_the_lock_counts_what_is_drawn(lock: Lock) -> None:
    """Quotas are the true numbers of instances, and the versions say whose order it is."""
    (stage,) = lock.order.stages
    places = open_order(lock).places(0, stage.instances)
    counted = np.bincount(places.source, minlength=2).tolist()
    assert [stage.quotas[s] for s in sorted(stage.quotas)] == counted
    assert (lock.order.versions.mix, lock.order.versions.perm) == ("olmo", "numpy-pcg64")


def test_rows_are_windows_without_overlap(lock: Lock) -> None:
    """Inputs are L tokens of the store; the filler after them is no label that counts."""
    with Batches(lock) as batches:
        places, rows = batches.places(1), batches.tokens(1)
        assert rows.shape == (12, 17)
        for row, source, instance in zip(rows, places.source, places.instance, strict=True):
            store = batches.stores[int(source)]
            assert np.array_equal(
                row[:16], store.tokens(int(instance) * 16, int(instance) * 16 + 16)
            )
            assert row[16] == mix_stores.EOS
        instances = batches.instances[0]
        numbers = np.arange(len(instances))
        labels = instances.labels(numbers)
        assert labels is not None
        assert labels[:, :-1].all()
        assert not labels[:, -1].any()
        held = [(d.document, i) for i in numbers.tolist() for d in instances.documents(i)]
        back = [
            (d, i) for d in range(batches.stores[0].num_documents) for i in instances.of_document(d)
        ]
        assert sorted(held) == sorted(back)
        row_of, at = instances.starts(numbers)
        for i in numbers.tolist():
            lengths = [piece.length for piece in instances.documents(i)]
            assert sum(lengths) == 16
            assert at[row_of == i].tolist() == [0, *np.cumsum(lengths).tolist()]


def test_a_replay_differs_from_dolmix_s_order_at_once(lock: Lock) -> None:
    """Rows are cut otherwise, so no step is the same; equal replays are equal to the end."""
    order = open_order(lock)
    plain = lock.order.model_copy(update={"versions": Versions()})
    assert first_differing_step(order, Order(plain)) == 1
    assert first_differing_step(order, open_order(lock)) is None
    longer = lock.order.stages[0].model_copy(update={"instances": 168})
    further = lock.order.model_copy(update={"stages": (longer,)})
    assert first_differing_step(order, Order(further)) == 14


def test_a_numpy_that_shuffles_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden digest guards the order: another stream is an error, not another order."""
    olmo.check_golden()
    monkeypatch.setattr(olmo, "GOLDEN_DIGEST", "0" * 32)
    olmo.epoch_order.cache_clear()
    with pytest.raises(OrderError, match="shuffles otherwise than the numpy that OLMo used"):
        olmo.epoch_order(1, 100)
    monkeypatch.undo()
    with pytest.raises(OrderError, match="numbers instances in 32 bits"):
        olmo.epoch_order(1, 1 << 32)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("batch_size=500", "a batch takes 500"),
        ("sources.web.max_epochs=1", "source 'web' gives .* Raise sources.web.max_epochs"),
    ],
)
def test_replays_that_cannot_be_are_refused(lock: Lock, override: str, said: str) -> None:
    """No whole batch in an epoch, or more epochs than allowed: both are told with numbers."""
    with pytest.raises(MixError, match=said):
        resolve_file("replay.yaml", [override])
    with pytest.raises(ConfigError, match="leave weights out"):
        load_mix("replay.yaml", ["stages.main.weights={web: 1}"])


def test_the_shuffle_is_pinned() -> None:
    """First values of the golden shuffle, for whoever wants to compare by eye."""
    assert olmo.epoch_order(6198, olmo.GOLDEN_SIZE)[:4].tolist() == [879, 143, 5489, 9317]

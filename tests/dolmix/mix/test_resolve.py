"""Resolving, locks and checks, over real stores."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mix_stores
import pytest

from dolmix.errors import LockError, MixError, StoreError
from dolmix.files.commit import fingerprint
from dolmix.mix import (
    Lock,
    check_file,
    describe,
    load_mix,
    lock_path_of,
    read_lock,
    resolve,
    resolve_file,
)
from dolmix.order import Batches


@pytest.fixture
def mix_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the small mix over three stores; the working directory is its folder."""
    monkeypatch.chdir(tmp_path)
    return mix_stores.write_small_mix(tmp_path)


def locked(mix_file: Path) -> tuple[Lock, Path]:
    """Resolve the mix and write its lock beside it."""
    target = lock_path_of(mix_file)
    lock = resolve_file(mix_file)
    lock.write(target)
    return lock, target


def test_a_lock_pins_stores_and_reads_back_the_same(mix_file: Path) -> None:
    """Content hashes, instance counts and quotas are in the lock; reading gives it back."""
    lock, target = locked(mix_file)
    read = read_lock(target)
    assert read == lock
    assert read.mix == mix_stores.MIX
    for name, pin in read.order.sources.items():
        with read.open_store(name) as store:
            assert store.content_hash == pin.content_hash
            assert pin.num_instances == (store.num_tokens - 1) // 16
            assert read.sources[name].tokens == store.num_tokens
    for stage in read.order.stages:
        assert sum(stage.quotas.values()) == stage.instances
        assert stage.instances % 4 == 0


def test_resolving_again_leaves_the_same_bytes(mix_file: Path) -> None:
    """A second resolve writes nothing; from another folder only the store paths differ."""
    lock, target = locked(mix_file)
    before = target.read_bytes()
    assert not resolve_file(mix_file).write(target)
    assert target.read_bytes() == before
    elsewhere = mix_file.parent / "locks" / "deep" / "small.lock.json"
    lock.write(elsewhere)
    moved = read_lock(elsewhere)
    assert moved.sources["web"].path == "../../stores/web@1"
    assert moved.order_hash == lock.order_hash
    moved.open_store("web").close()


def test_no_float_and_no_path_is_hashed(mix_file: Path) -> None:
    """The hashed part holds integers, names and hashes; moving stores and lock keeps the hash."""
    _, target = locked(mix_file)

    def leaves(value: object) -> list[object]:
        if isinstance(value, dict):
            return [leaf for v in value.values() for leaf in leaves(v)]
        return [leaf for v in value for leaf in leaves(v)] if isinstance(value, list) else [value]

    order = json.loads(target.read_bytes())["order"]
    assert all(isinstance(leaf, (int, str)) for leaf in leaves(order))
    assert "stores" not in json.dumps(order)


def test_weights_decide_the_hash_and_their_order_in_the_file_does_not(mix_file: Path) -> None:
    """Sources and weights may be listed in any order; another seed is another order."""
    lock = resolve_file(mix_file)
    mix = load_mix(mix_file)
    turned = mix.model_copy(update={"sources": dict(reversed(mix.sources.items()))})
    assert resolve(turned, "", mix_file.parent).order_hash == lock.order_hash
    assert resolve_file(mix_file, ["seed=8"]).order_hash != lock.order_hash
    assert resolve_file(mix_file, ["seed=8"]).overrides == ("seed=8",)


def test_what_was_asked_and_what_is_left_over_is_told(mix_file: Path) -> None:
    """Tokens of a stage and its remainder sum to what the mix file asked for."""
    told = describe(resolve_file(mix_file))
    assert told["tokens"] == told["instances"] * 16
    assert [s["tokens"] + s["left_over_tokens"] for s in told["stages"]] == [1600, 700]
    assert told["stages"][0]["first_step"] == 1
    assert told["stages"][1]["first_step"] == told["stages"][0]["last_step"] + 1
    assert told["steps"] == told["stages"][1]["last_step"]
    assert sum(s["tokens"] for s in told["sources"].values()) == told["tokens"]


def test_an_absent_store_and_a_short_one_are_named(mix_file: Path) -> None:
    """Every missing store is told with the setting that names it; so is one without an instance."""
    shutil.rmtree(mix_file.parent / "stores" / "web@1")
    shutil.rmtree(mix_file.parent / "stores" / "docs@1")
    with pytest.raises(StoreError, match=r"(?s)sources.docs.store.*sources.web.store"):
        resolve_file(mix_file)
    mix_stores.write_store(mix_file.parent / "stores", "web", [16])
    mix_stores.write_store(mix_file.parent / "stores", "docs", [90])
    with pytest.raises(MixError, match=r"source 'web' has 16 tokens .* needs 17"):
        resolve_file(mix_file)


def test_stores_of_two_tokenizers_do_not_mix(mix_file: Path) -> None:
    """Equal ids of different vocabularies are different text: both digests are told."""
    shutil.rmtree(mix_file.parent / "stores" / "code@1")
    mix_stores.write_store(mix_file.parent / "stores", "code", [90] * 9, digest="cd" * 32)
    with pytest.raises(MixError, match=r"(?s)2 tokenizers.*cdcd.*  code"):
        resolve_file(mix_file)


def test_a_store_of_other_content_is_refused_with_both_hashes(mix_file: Path) -> None:
    """A changed store is found by check and refused on opening, with what differs."""
    lock, target = locked(mix_file)
    shutil.rmtree(mix_file.parent / "stores" / "web@1")
    manifest = mix_stores.write_store(mix_file.parent / "stores", "web", [50] * 20)
    _, findings = check_file(target)
    assert [finding.source for finding in findings] == ["web"]
    said = findings[0].message
    assert lock.order.sources["web"].content_hash in said
    assert manifest.content_hash in said
    assert "documents 40 -> 20" in said
    with pytest.raises(LockError, match="is not the one locked"):
        read_lock(target).open_store("web")


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["tok", "end", "docs.parquet"])
def test_check_names_a_flipped_shard(mix_file: Path, kind: str) -> None:
    """One bit anywhere in a store is found, with the source and the file; sizes alone miss it."""
    _, target = locked(mix_file)
    shard = mix_file.parent / "stores" / "web@1" / "shards" / f"00001.{kind}"
    flip(shard)
    _, findings = check_file(target)
    assert {finding.source for finding in findings} == {"web"}
    assert any(f"stores/web@1/shards/00001.{kind}: digest is" in f.message for f in findings)
    assert check_file(mix_file)[1] == findings
    if kind == "tok":
        assert check_file(target, quick=True)[1] == []


def test_check_names_swapped_shards(mix_file: Path) -> None:
    """Two shards in each other's place are two findings, each naming its file."""
    mix_stores.write_store(mix_file.parent / "stores", "even", [50] * 40)
    text = mix_stores.MIX.replace("stores/web@1", "stores/even@1")
    mix_file.write_text(text, encoding="utf-8")
    _, target = locked(mix_file)
    shards = mix_file.parent / "stores" / "even@1" / "shards"
    one, two = (shards / f"0000{n}.tok" for n in (0, 2))
    first, second = one.read_bytes(), two.read_bytes()
    assert len(first) == len(second)
    one.write_bytes(second)
    two.write_bytes(first)
    said = [finding.message for finding in check_file(target)[1]]
    assert any("00000.tok: digest is" in line for line in said)
    assert any("00002.tok: digest is" in line for line in said)
    assert not any("00001.tok" in line for line in said)


@pytest.mark.parametrize("packing", ["bestfit", "pad"])
def test_a_lock_pins_the_pack_of_each_source(mix_file: Path, packing: str) -> None:
    """Packings that need one name their pack in the order; `concat` has none to name."""
    override = [f"packing={packing}", "stages.anneal.weights.docs=1"]
    lock = resolve_file(mix_file, override)
    plain = resolve_file(mix_file)
    for name, pin in lock.order.sources.items():
        assert pin.pack is not None
        assert pin.num_instances >= plain.order.sources[name].num_instances
        assert plain.order.sources[name].pack is None
    assert "pack" not in json.dumps(plain.order.model_dump(mode="json")["sources"])
    target = lock_path_of(mix_file)
    lock.write(target)
    assert read_lock(target).order.hash == lock.order_hash
    with Batches(target) as batches:
        assert batches.tokens(1).shape == (4, 17)
    again = resolve_file(mix_file, override)
    assert again.order_hash == lock.order_hash
    assert check_file(target)[1] == []
    (folder,) = (mix_file.parent / "stores" / "web@1.derived").glob("pack-*")
    shutil.rmtree(folder)
    (finding,) = check_file(target)[1]
    assert finding.source == "web"
    assert f"no pack `{packing}`" in finding.message


def test_a_lock_file_is_small_and_one_line_a_source(mix_file: Path) -> None:
    """At most 4 KB and 300 bytes a source; a changed source is one changed line in a diff."""
    _, target = locked(mix_file)
    lines = target.read_text(encoding="utf-8").splitlines()
    assert target.stat().st_size <= 4096 + 300 * 3
    assert sum(line.lstrip().startswith('"web": {') for line in lines) == 2  # pinned, placed
    assert json.loads(target.read_bytes())["sources"]["web"]["epochs"] == [1.2069, 0.3448]


def test_check_finds_a_lock_that_the_mix_has_left_behind(mix_file: Path) -> None:
    """A mix is checked against the lock beside it; a changed mix is a finding."""
    locked(mix_file)
    assert check_file(mix_file)[1] == []
    mix_file.write_text(mix_stores.MIX.replace("seed: 7", "seed: 70"), encoding="utf-8")
    (finding,) = check_file(mix_file)[1]
    assert "not what the mix resolves to today" in finding.message


def test_a_lock_changed_by_hand_is_refused(mix_file: Path) -> None:
    """order_hash must be the hash of order."""
    _, target = locked(mix_file)
    target.write_text(target.read_text().replace('"seed": 7', '"seed": 8'))
    with pytest.raises(LockError, match="changed by hand"):
        read_lock(target)


@pytest.mark.parametrize("change", ["quota", "source"])
def test_a_lock_that_contradicts_itself_is_refused(mix_file: Path, change: str) -> None:
    """Quotas must sum to their stage and name every source, whoever wrote the lock."""
    lock, target = locked(mix_file)
    order = lock.order.model_dump(mode="json")
    if change == "quota":
        order["stages"][0]["quotas"]["web"] += 1
    else:
        del order["sources"]["web"]
    spec = type(lock.order).model_validate(order)
    lock.model_copy(update={"order": spec, "order_hash": spec.hash}).write(target)
    with pytest.raises(LockError, match="quotas"):
        read_lock(target)


def _late(lock: dict[str, Any]) -> None:
    lock["order"]["batch_size"] = [{"from_step": 3, "instances": 4}]


def _twice_the_same_step(lock: dict[str, Any]) -> None:
    lock["order"]["batch_size"] *= 2


def _no_supply(lock: dict[str, Any]) -> None:
    lock["order"]["sources"]["web"]["num_instances"] = 0


def _same_stage_twice(lock: dict[str, Any]) -> None:
    lock["order"]["stages"] *= 2


def _part_of_a_step(lock: dict[str, Any]) -> None:
    stage = lock["order"]["stages"][0]
    stage["instances"] += 1
    stage["quotas"]["web"] += 1


def _unknown_stage(lock: dict[str, Any]) -> None:
    del lock["stages"]["anneal"]


def _no_epochs(lock: dict[str, Any]) -> None:
    del lock["sources"]["web"]["epochs"][1]


def _pack(lock: dict[str, Any]) -> None:
    lock["order"]["sources"]["web"]["pack"] = "0" * 64


def _no_pack(lock: dict[str, Any]) -> None:
    lock["order"]["packing"] = "pad"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_pack, "packing is 'concat', and source 'web' names a pack"),
        (_no_pack, "packing is 'pad', and source 'code' names no pack"),
        (_late, "batch_size begins at step 3, not 1"),
        (_twice_the_same_step, "batch_size goes from step 1 to step 1"),
        (_no_supply, "'web' has 0 instances, and stage 'main' takes"),
        (_same_stage_twice, "2 stages are named 'main'"),
        (_part_of_a_step, "stage 'main' ends after 101 instances, within step 26"),
        (_unknown_stage, "stages and order.stages differ"),
        (_no_epochs, "sources.web.epochs and order.stages differ"),
    ],
)
def test_a_lock_that_no_resolve_writes_is_refused(
    mix_file: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    """A lock whose hash agrees, but whose numbers make no order, is refused with the numbers."""
    _, target = locked(mix_file)
    value = json.loads(target.read_bytes())
    change(value)
    value["order_hash"] = fingerprint(value["order"])
    target.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(LockError, match=said) as caught:
        read_lock(target)
    assert "dolmix mix resolve" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (mix_stores.MIX, "not a lock, which is JSON"),
        ("{}", "required, but missing"),
        ("[1]", "list"),
    ],
)
def test_files_that_are_no_lock_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """A mix file, an empty object, a list: the error says what a lock is and how to write one."""
    path = tmp_path / "x.lock.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LockError, match=said) as caught:
        read_lock(path)
    assert "dolmix mix resolve" in str(caught.value)
    with pytest.raises(LockError, match="no such lock"):
        read_lock(tmp_path / "absent.lock.json")

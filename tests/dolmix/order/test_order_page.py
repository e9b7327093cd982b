"""`docs/order.md`: what it prints is what the code does, and its own listings give the same."""

import json
import re
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_builder

from dolmix.files.commit import canonical_json
from dolmix.mix import (
    BatchPhase,
    Ledger,
    LedgerRecord,
    Mix,
    OrderSource,
    OrderSpec,
    OrderStage,
    Schedule,
    ScheduledBatch,
    Window,
    olmo,
    stage_counts,
)
from dolmix.mix.caps import plan_stages, source_caps
from dolmix.mix.lock import OLMO_VERSIONS
from dolmix.mix.schedule import steps_of
from dolmix.order import CHAIN_START, Order, chain, row_digests
from dolmix.order.interleave import StageOrder
from dolmix.order.windowed import WindowedPermutation
from dolmix.permute import MAX_DOMAIN, SORT_LIMIT, Permutation, round_keys
from dolmix.shards import ConcatInstances, open_store

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "order.md").read_text(encoding="utf-8")


def fenced(language: str, section: int) -> str:
    """Everything in fences of a language within a numbered section."""
    (body,) = re.findall(
        rf"^## {section}\. [^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", body, re.MULTILINE | re.DOTALL))


def vectors(section: int) -> dict[str, Any]:
    """Return the vectors printed in a section."""
    value: dict[str, Any] = json.loads(fenced("json", section))
    return value


def published() -> OrderSpec:
    """Return the order that section 7 prints."""
    return OrderSpec.model_validate(vectors(7)["order"])


def triples(order: Order, start: int, stop: int) -> list[list[int]]:
    """[source index, epoch, instance] of places."""
    places = order.places(start, stop)
    return np.stack([places.source, places.epoch, places.instance], axis=1).tolist()


@pytest.fixture(scope="module")
def listing() -> dict[str, Callable[..., Any]]:
    """Run the page's Python listings, one after the other, and return what they define."""
    names: dict[str, Any] = {}
    for section in range(1, 8):
        exec(compile(fenced("python", section), f"docs/order.md, section {section}", "exec"), names)
    return names


def test_sections_that_the_code_cites_are_there() -> None:
    """Ten sections, numbered without gap; each citation in a docstring names one of them."""
    numbers = [int(n) for n in re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)]
    assert numbers == list(range(1, 11))
    cited = {
        int(number)
        for file in sorted((ROOT / "dolmix").rglob("*.py"))
        for tail in re.findall(r"docs/order\.md,\s+sections? ([\d, and\s]+)", file.read_text())
        for number in re.findall(r"\d+", tail)
    }
    assert {1, 2, 3, 4, 5, 7} <= cited <= set(numbers)


def test_permutations_are_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """Keys, values and places of section 1, by dolmix and by the page's listing."""
    printed = vectors(1)
    assert (printed["sort_limit"], printed["limit"]) == (SORT_LIMIT, MAX_DOMAIN)
    for case in printed["contexts"]:
        context = tuple(case["context"])
        if "keys" in case:
            assert [f"{key:016x}" for key in round_keys(context)] == case["keys"]
            assert [f"{key:016x}" for key in listing["keys"](context)] == case["keys"]
        for n, values in case["forward"].items():
            order = Permutation(context, int(n))
            assert order.forward(range(len(values))).tolist() == values
            assert order.inverse(values).tolist() == list(range(len(values)))
            assert [listing["permute"](context, int(n), i) for i in range(2)] == values[:2]


def test_quotas_are_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """Stage sizes, quotas and caps of section 2, from its mix and its supply."""
    printed = vectors(2)
    mix = Mix.model_validate(printed["mix"])
    stages = plan_stages(mix, printed["supply"])
    assert [{"instances": s.instances, "quotas": s.quotas} for s in stages] == printed["stages"]
    assert source_caps(mix, printed["supply"]) == printed["caps"]
    for case in printed["hamilton"]:
        assert listing["hamilton"](case["total"], case["weights"]) == case["quotas"]
        sources = {s: {"store": "x"} for s in case["weights"]}
        stage = {"name": "main", "tokens": case["total"], "weights": case["weights"]}
        shared = {"name": "m", "seed": 1, "sequence_length": 1, "batch_size": 1}
        alone = Mix.model_validate(shared | {"sources": sources, "stages": [stage]})
        (one,) = plan_stages(alone, dict.fromkeys(sources, case["total"]))
        assert one.quotas == case["quotas"]


def test_counts_are_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """Cumulative counts of section 3, by dolmix and by the page's listing."""
    spec = published()
    for number, case in enumerate(vectors(3)["counts"]):
        stage = spec.stages[number]
        assert stage.name == case["stage"]
        for k, counts in case["c"].items():
            assert StageOrder(spec, number).counts(int(k)) == counts
            assert listing["counts"](int(k), stage.instances, stage.quotas) == counts


def test_windows_are_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """Windowed permutations of section 3, by dolmix and, where they are small, by the listing."""
    context = (1234, "source", "web", 0)
    for case in vectors(3)["windowed"]:
        window = Window(chunk=case["chunk"], chunks=case["chunks"])
        order = WindowedPermutation(context, case["n"], window)
        x = np.arange(len(case["forward"]), dtype=np.uint64)
        assert order.forward(x).tolist() == case["forward"]
        assert order.inverse(np.array(case["forward"], np.uint64)).tolist() == x.tolist()
    small = [listing["windowed"](context, n, 3, 2) for n in (10, 100)]
    assert small[0] == vectors(3)["windowed"][0]["forward"]
    order = WindowedPermutation(context, 100, Window(chunk=3, chunks=2))
    assert order.forward(np.arange(100, dtype=np.uint64)).tolist() == small[1]


def test_steps_are_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """off(t) and the step of an instance in section 4, by dolmix and by the page's listing."""
    printed = vectors(4)
    phases = tuple(BatchPhase.model_validate(phase) for phase in printed["batch_size"])
    assert phases == published().batch_size
    schedule = Schedule(phases)
    for step, offset in printed["off"].items():
        assert schedule.offset(int(step)) == offset
        assert listing["off"](int(step), printed["batch_size"]) == offset
    for k, step in printed["step_of"].items():
        assert schedule.step_of(int(k)) == step
    tokens = printed["in_tokens"]
    batches = [ScheduledBatch.model_validate(batch) for batch in tokens["batch_size"]]
    resolved = steps_of(batches, tokens["sequence_length"])
    assert [phase.from_step for phase in resolved] == tokens["from_step"]


def test_instances_are_as_printed(tmp_path: Path) -> None:
    """Pieces of each instance and instances of each document in section 5, over a real store."""
    printed = vectors(5)
    ends = printed["document_ends"]
    lengths = np.diff(ends, prepend=0).tolist()
    store_builder.write(tmp_path, store_builder.documents(lengths), shard_tokens=9)
    with open_store(tmp_path / "web@1") as store:
        instances = ConcatInstances(store, printed["sequence_length"])
        assert len(instances) == printed["num_instances"]
        assert [
            [list(piece) for piece in instances.documents(i)] for i in range(len(instances))
        ] == printed["pieces"]
        assert [list(instances.of_document(d)) for d in range(len(ends))] == printed["instances_of"]


def test_a_ledger_is_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """Section 6: hashes, counts, places and the digest of the whole run under two records."""
    printed, spec = vectors(6), published()
    ledger = Ledger(spec, [LedgerRecord.model_validate(record) for record in printed["records"]])
    made = Ledger(spec)
    for record in printed["records"]:
        again = made.append(
            record["stage"], record["from_block"], record["quotas"], inputs=record["inputs"]
        )
        assert again.model_dump(mode="json") == record
        assert listing["record_hash"](record) == record["hash"]
    changes = [(r["from_block"], r["quotas"]) for r in printed["records"]]
    main, counts = spec.stages[0], stage_counts(spec, 0, ledger.records)
    for k, expected in printed["c"].items():
        assert counts.at(int(k)) == expected
        quotas = [(0, main.quotas), *changes]
        found = listing["changed_counts"](int(k), main.instances, spec.block, quotas)
        assert found == expected
    order = Order(spec).with_ledger(ledger)
    for step, block in printed["open_block"].items():
        assert order.open_block(int(step)) == ("main", block)
    for first, rows in printed["places"].items():
        assert triples(order, int(first), int(first) + len(rows)) == rows
    columns = np.array(triples(order, 0, order.num_instances), "<u8")
    assert blake2b(columns.tobytes(), digest_size=16).hexdigest() == printed["digest"]


def test_olmo_s_order_is_as_printed() -> None:
    """Section 10: the golden shuffle and a small run of two files."""
    printed = vectors(10)
    golden = printed["golden"]
    assert (golden["numbers"], golden["digest"]) == (olmo.GOLDEN_SIZE, olmo.GOLDEN_DIGEST)
    numbers = olmo.epoch_order(golden["seed"], golden["numbers"])
    assert numbers[:8].tolist() == golden["first"]
    spec = published().model_copy(
        update={
            "versions": OLMO_VERSIONS,
            "seed": printed["seed"],
            "batch_size": (BatchPhase(from_step=1, instances=printed["batch"]),),
            "sources": {
                s: OrderSource(content_hash="0" * 64, num_instances=n)
                for s, n in printed["supply"].items()
            },
            "stages": (
                OrderStage(
                    name="main",
                    instances=len(printed["places"]),
                    order="fresh",
                    quotas=printed["quotas"],
                ),
            ),
        }
    )
    order = Order(spec)
    assert triples(order, 0, order.num_instances) == printed["places"]
    drawn = [order.sources[source] for source, _, _ in printed["places"]]
    assert {s: drawn.count(s) for s in printed["supply"]} == printed["quotas"]


def test_the_order_hashes_as_printed() -> None:
    """Section 7's object is `order` with exactly the keys that dolmix writes, and its hash."""
    printed, spec = vectors(7), published()
    assert spec.model_dump(mode="json") == printed["order"]
    assert canonical_json(spec.model_dump(mode="json")) == canonical_json(printed["order"])
    assert spec.hash == printed["order_hash"]


def test_the_chain_is_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """Row digests and chain of section 7, by dolmix and by the page's listing."""
    proof, previous, other = vectors(7)["proof"], CHAIN_START, CHAIN_START
    for step in proof:
        digests = row_digests(np.array(step["rows"]))
        assert [bytes(digest).hex() for digest in digests] == step["digests"]
        previous = chain(previous, digests)
        other = listing["extended"](other, step["rows"])
        assert previous.hex() == other.hex() == step["chain"]


def test_the_whole_is_as_printed(listing: dict[str, Callable[..., Any]]) -> None:
    """Section 8: places, a step, what finds an instance, and the digest of all places."""
    printed, spec = vectors(8), published()
    order, value = Order(spec), spec.model_dump(mode="json")
    assert list(order.sources) == printed["sources"]
    assert (order.num_instances, order.num_steps) == (printed["instances"], printed["steps"])
    for first, rows in printed["places"].items():
        assert triples(order, int(first), int(first) + len(rows)) == rows
        assert [list(listing["place"](value, int(first) + n)) for n in range(len(rows))] == rows
    for case in printed["find"]:
        found = order.find(case["source"], case["instance"])
        assert [[p.stage, p.step, p.place, p.k, p.epoch] for p in found] == case["places"]
    columns = np.array(triples(order, 0, order.num_instances), "<u8")
    assert blake2b(columns.tobytes(), digest_size=16).hexdigest() == printed["digest"]


def test_the_vectors_follow_from_the_mix_that_is_told() -> None:
    """Section 8's mix, over the supply of the order, resolves to the stages of section 7."""
    spec = published()
    mix = Mix.model_validate(vectors(8)["mix"])
    supply = {source: pin.num_instances for source, pin in spec.sources.items()}
    assert plan_stages(mix, supply) == spec.stages
    assert mix.phases == spec.batch_size
    assert (mix.seed, mix.sequence_length, mix.block) == (
        spec.seed,
        spec.sequence_length,
        spec.block,
    )

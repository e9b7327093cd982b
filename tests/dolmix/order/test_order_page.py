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
from dolmix.mix import BatchPhase, Mix, OrderSpec, Schedule
from dolmix.mix.caps import plan_stages, source_caps
from dolmix.order import CHAIN_START, Order, chain, row_digests
from dolmix.order.interleave import StageOrder
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

"""What the order says is what the trainer consumed, token for token, at any world size."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import Dolmix

from dolmix.order import CHAIN_START, chain, row_digests

pytest.importorskip("torch", reason="needs the extra `train`")
CHECKPOINT = 5


def train_config(lock: Path, output: Path, **settings: Any) -> Path:
    """Write a training configuration of a very small model."""
    raw = {
        "lock": str(lock),
        "output": str(output),
        "seed": 3,
        "threads": 1,
        "microbatch": 4,
        "model": {
            "vocab": 1024,
            "d_model": 32,
            "layers": 2,
            "heads": 2,
            "experts": 4,
            "top_k": 2,
            "d_ff": 32,
        },
        "optimizer": {"lr": 1e-3},
        "checkpoint": {"every_steps": CHECKPOINT},
        **settings,
    }
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(raw))
    return path


def metrics(output: Path) -> list[dict[str, Any]]:
    """One row a step."""
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def store_tokens(lock: Path) -> dict[str, np.ndarray]:
    """Every source's tokens, read straight from its files."""
    found = {}
    for name, source in json.loads(lock.read_bytes())["sources"].items():
        store = (lock.parent / source["path"]).resolve()
        dtype = json.loads((store / "manifest.json").read_bytes())["dtype"]
        width = {"u16": "<u2", "u32": "<u4"}.get(dtype, dtype)
        shards = sorted((store / "shards").glob("*.tok"))
        found[name] = np.concatenate([np.fromfile(p, width) for p in shards]).astype(np.uint32)
    return found


@pytest.fixture(scope="module")
def shown(dolmix: Dolmix, lock: Path) -> dict[int, list[dict[str, Any]]]:
    """`order show --step k --json` for every step."""
    steps = json.loads(dolmix("mix", "show", lock, "--json").stdout)["steps"]
    assert steps > 20
    return {
        step: json.loads(dolmix("order", "show", lock, "--step", str(step), "--json").stdout)[
            "rows"
        ]
        for step in range(1, steps + 1)
    }


@pytest.fixture(scope="module")
def uninterrupted(dolmix: Dolmix, lock: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train over the whole order on one process."""
    output = tmp_path_factory.mktemp("train") / "whole"
    dolmix("train", train_config(lock, output))
    return output


def test_shown_rows_are_the_tensors_that_were_trained(
    shown: dict[int, list[dict[str, Any]]], lock: Path, uninterrupted: Path
) -> None:
    """Rows rebuilt from `order show` and raw token files reproduce the trainer's digest chain."""
    tokens, length = store_tokens(lock), 64
    link, logged = CHAIN_START, metrics(uninterrupted)
    assert [row["step"] for row in logged] == list(shown)
    for step, rows in shown.items():
        spans = [(r["source"], r["instance"] * length) for r in rows]
        batch = np.stack([tokens[source][i : i + length + 1] for source, i in spans])
        link = chain(link, row_digests(batch))
        assert logged[step - 1]["chain"] == link.hex(), f"step {step}"


def test_documents_of_a_row_cover_it(shown: dict[int, list[dict[str, Any]]], lock: Path) -> None:
    """Every row is tiled by its documents, without gap or overlap."""
    for rows in shown.values():
        for row in rows:
            spans = [(d["start"], d["stop"]) for d in row["documents"]]
            assert [start for start, _ in spans] == [0, *[stop for _, stop in spans[:-1]]]
            assert spans[-1][1] == 65


def test_find_gives_exactly_the_steps_that_show_the_document(
    dolmix: Dolmix, shown: dict[int, list[dict[str, Any]]], lock: Path
) -> None:
    """`order find` and `order show` are each other's inverse, for a document of every source."""
    seen: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for step, rows in shown.items():
        for row in rows:
            for document in row["documents"]:
                seen[row["source"], document["id"]].add((step, row["place"]))
    by_source: dict[str, list[str]] = defaultdict(list)
    for source, document in sorted(seen):
        by_source[source].append(document)
    for source, documents in by_source.items():
        for document in documents[:: max(len(documents) // 4, 1)]:
            arguments = ("--doc", document, "--source", source, "--json")
            found = json.loads(dolmix("order", "find", lock, *arguments).stdout)
            places = {(s["step"], s["place"]) for f in found for s in f["sightings"]}
            assert places == seen[source, document], (source, document)


def test_every_document_has_its_steps_or_a_reason(
    shown: dict[int, list[dict[str, Any]]], lock: Path
) -> None:
    """Through the library, for all documents: sightings equal what the steps show."""
    from dolmix.order import find_document
    from dolmix.shards import open_store

    seen: dict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)
    for step, rows in shown.items():
        for row in rows:
            for document in row["documents"]:
                seen[row["source"], document["document"]].add((step, row["place"]))
    for name, source in json.loads(lock.read_bytes())["sources"].items():
        with open_store((lock.parent / source["path"]).resolve()) as store:
            rows = store.provenance(range(store.num_documents))
        for number, row in enumerate(rows):
            hits = [f for f in find_document(lock, row.id, source=name) if f.document == number]
            places = {(s.step, s.place) for f in hits for s in f.sightings}
            assert places == seen[name, number]
            assert (hits[0].status == "trained") == bool(places)


def test_two_processes_consume_the_same_batches(
    dolmix: Dolmix, lock: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """World size 2 logs the same digest chain, and losses agree closely."""
    output = tmp_path / "two"
    dolmix("train", train_config(lock, output, processes=2, microbatch=2))
    one, two = metrics(uninterrupted), metrics(output)
    assert [r["chain"] for r in one] == [r["chain"] for r in two]
    assert abs(one[-1]["ce"] - two[-1]["ce"]) < 0.01 * one[-1]["ce"]


def test_resume_reproduces_the_uninterrupted_run(
    dolmix: Dolmix, lock: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """Stopped at a checkpoint and resumed: the same losses bit for bit on one process."""
    output = tmp_path / "resumed"
    dolmix("train", train_config(lock, output, max_steps=2 * CHECKPOINT))
    assert len(metrics(output)) == 2 * CHECKPOINT
    dolmix("train", train_config(lock, output))
    timeless = [[{k: v for k, v in row.items() if k not in NOT_EXACT} for row in metrics(o)]
                for o in (uninterrupted, output)]  # fmt: skip
    assert timeless[0] == timeless[1]


def test_resume_on_two_processes_consumes_the_same_batches(
    dolmix: Dolmix, lock: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """A checkpoint of one process continues on two, with the same digest chain."""
    output = tmp_path / "grown"
    dolmix("train", train_config(lock, output, max_steps=2 * CHECKPOINT))
    dolmix("train", train_config(lock, output, processes=2, microbatch=2))
    chains = [row["chain"] for row in metrics(output)]
    assert chains == [row["chain"] for row in metrics(uninterrupted)]


NOT_EXACT = ("tokens_per_s", "tokens_per_s_gpu", "mfu", "memory_gib", "eval_s")

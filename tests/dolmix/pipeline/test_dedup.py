"""The dedup passes together: what they find, whatever the tasks, the memory and the order."""

import itertools
from pathlib import Path
from random import Random
from typing import Any

import builders
import naive_dedup as naive
import pytest
from dedup_runs import dropped, pipeline, rows, run, source, varied

from dolmix.pipeline.findings import notes
from dolmix.pipeline.kept_rows import cluster_file, clusters_of_part
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import RecordBook

NEAR: dict[str, Any] = {"type": "minhash", "bands": 8, "rows": 4}
LOOSE: dict[str, Any] = {"type": "minhash", "bands": 14, "rows": 2, "threshold": 0.6}


def records(name: str, seeds: range) -> list[dict[str, Any]]:
    """Texts with near copies: of seed n there are n modulo 4."""
    made = []
    for seed in seeds:
        for copy in range(1 + seed % 4):
            number = 10 * seed + copy
            made.append(
                builders.document(number, varied(seed, copy * 31)) | {"id": f"{name}{number}"}
            )
    return made


def sources(folder: Path, *, shuffled: int = 0) -> dict[str, Any]:
    """Two sources that share some texts, in several files each."""
    found = {}
    for name, seeds in (("web", range(12)), ("docs", range(8, 18))):
        made = records(name, seeds)
        if shuffled:
            Random(shuffled).shuffle(made)
        path = folder / f"in-{shuffled}"
        for n in range(3):
            builders.write_jsonl(path / f"{name}-{n}.jsonl", made[n::3])
        found[name] = {"inputs": [str(path / f"{name}-*.jsonl")]}
    return found


def settled(folder: Path, tokenizer: Path, name: str, **settings: Any) -> Plan:
    """Run the passes up to the clusters."""
    given = {"sources": sources(folder), "dedup": [{"type": "exact"}, NEAR], **settings}
    return run(pipeline(folder, tokenizer, name, **given))


@pytest.fixture
def plain(tmp_path: Path, tiny_tokenizer: Path) -> Plan:
    """Run with one task a band, in memory."""
    return settled(tmp_path, tiny_tokenizer, "plain", dedup_ranges=1)


@pytest.mark.parametrize(
    "settings",
    [{"dedup_ranges": 3}, {"dedup_ranges": 8}, {"dedup_memory": 1024}, {"part_bytes": 10**6}],
    ids=lambda s: "-".join(f"{k}-{v}" for k, v in s.items()),
)
def test_tasks_and_memory_change_nothing(
    tmp_path: Path, tiny_tokenizer: Path, plain: Plan, settings: dict[str, Any]
) -> None:
    """Three or eight ranges, clusters through files, other parts: the very same rows."""
    other = settled(tmp_path, tiny_tokenizer, "other", **settings)
    for folder in ("duplicates", "clusters"):
        found, want = ([_bare(r) for r in rows(plan, folder)] for plan in (other, plain))
        assert found == want if "part_bytes" not in settings else len(found) == len(want)
    assert dropped(other) == dropped(plain)
    assert len(dropped(plain)) == 35


def _bare(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.values())


@pytest.mark.parametrize("shuffled", [1, 2])
def test_the_order_of_input_changes_nothing(
    tmp_path: Path, tiny_tokenizer: Path, plain: Plan, shuffled: int
) -> None:
    """With documents in other files and places, the same ones survive, for the same ones."""
    other = settled(tmp_path, tiny_tokenizer, "other", sources=sources(tmp_path, shuffled=shuffled))
    assert dropped(other) == dropped(plain)


def test_the_survivor_is_the_best_by_the_stated_key(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Across sources: priority first, then the longest, then the smallest id; each row names it."""
    texts = {
        "a": {"z1": varied(1), "z2": varied(2)},
        "b": {"y1": varied(1, 5, " and more of it"), "y2": varied(3), "y3": varied(3, 9, " more")},
        "c": {
            "x2": varied(3),
            "x1": varied(3, 9, " more"),
            "x3": varied(4),
            "x4": varied(4, 3, " more"),
        },
    }
    made = {
        name: source(tmp_path, name, [builders.document(0, t) | {"id": i} for i, t in of.items()])
        for name, of in texts.items()
    }
    step = {**NEAR, "keep_by": ["source_priority", "-num_bytes", "id"]}
    plan = settled(tmp_path, tiny_tokenizer, "run", sources=made, dedup=[step])
    stays = {(row[0], row[1]): (row[3], row[4]) for row in dropped(plan)}
    assert stays == {
        ("b", "y1"): ("a", "z1"),  # longer, but of a later source
        ("b", "y2"): ("b", "y3"),  # shorter than its neighbour
        ("c", "x1"): ("b", "y3"),
        ("c", "x2"): ("b", "y3"),
        ("c", "x3"): ("c", "x4"),
    }
    longest = {**NEAR, "keep_by": ["-num_bytes", "id"]}
    other = settled(tmp_path, tiny_tokenizer, "longest", sources=made, dedup=[longest])
    assert ("a", "z1", "minhash.duplicate", "b", "y1") in {row[:5] for row in dropped(other)}
    assert ("b", "y3", "minhash.duplicate", "c", "x1") in {row[:5] for row in dropped(other)}


def test_each_drop_names_cluster_and_similarity(plain: Plan) -> None:
    """Rows of one cluster have one number and one survivor; estimates are near the true Jaccard."""
    texts = {}
    for name, seeds in (("web", range(12)), ("docs", range(8, 18))):
        texts |= {(name, r["id"]): r["text"] for r in records(name, seeds)}
    by_cluster: dict[tuple[Any, ...], set[Any]] = {}
    for row in rows(plain):
        stays = (row["duplicate_of_source"], row["duplicate_of_id"])
        by_cluster.setdefault((row["reason"], row["cluster"]), set()).add(stays)
        true = naive.jaccard(
            naive.shingles(texts[row["file"], row["id"]], 5), naive.shingles(texts[stays], 5)
        )
        assert row["jaccard"] == pytest.approx(true, abs=0.16)
        assert (row["jaccard"] == 1.0) == (true == 1.0)
    assert {len(stays) for stays in by_cluster.values()} == {1}
    assert len(by_cluster) > 10


def test_clusters_of_parts_are_one_number_a_document(plain: Plan) -> None:
    """Every kept document has a number; equal numbers are those that any step found together."""
    record = RecordBook(plain.pipeline.output)
    starts, numbers, ids = [0], [], []
    for task in plain.passes["signatures"]:
        starts.append(starts[-1] + record.read("signatures", task.key).counts["documents"])
    for name, parts in plain.parts.items():
        for part in range(len(parts)):
            numbers += clusters_of_part(plain, name, part, _array(starts)).tolist()
            assert cluster_file(plain, name, part).exists()
    for name, seeds in (("web", range(12)), ("docs", range(8, 18))):
        made = records(name, seeds)
        ids += [int(r["id"].removeprefix(name)) // 10 for n in range(3) for r in made[n::3]]
    assert len(numbers) == len(ids)
    for (a, seed_a), (b, seed_b) in itertools.combinations(zip(numbers, ids, strict=True), 2):
        assert (a == b) == (seed_a == seed_b)
    assert all(numbers[n] == n for n in set(numbers))


def _array(values: list[int]) -> Any:
    import numpy as np

    return np.array(values, np.int64)


def test_verify_leaves_no_pair_below_the_threshold(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """With loose bands many candidates are false: verified clusters are exactly the true ones."""
    made = []
    for seed in range(8):
        words = builders.prose(seed, 120).split()
        for copy in range(5):
            draw = Random(100 * seed + copy)
            edited = [f"w{draw.random()}" if draw.random() < 0.02 * copy else w for w in words]
            made.append(builders.document(10 * seed + copy, " ".join(edited)))
    made_sources = {"web": source(tmp_path, "web", made)}
    texts = {r["id"]: naive.shingles(r["text"], 5) for r in made}
    true = {(a, b): naive.jaccard(texts[a], texts[b]) for a, b in itertools.combinations(texts, 2)}
    given = {"sources": made_sources, "dedup_ranges": 2}
    loose = settled(tmp_path, tiny_tokenizer, "loose", **given, dedup=[LOOSE])
    checked = settled(
        tmp_path, tiny_tokenizer, "checked", **given, dedup=[{**LOOSE, "verify": True}]
    )
    order = list(texts)
    numbers = [(order.index(a), order.index(b)) for (a, b), s in true.items() if s >= 0.6]
    want = naive.clusters(len(order), numbers)
    members = {r["document"]: r["cluster"] for r in rows(checked, "clusters")}
    assert [members.get(n, n) for n in range(len(order))] == want
    assert len(rows(loose)) > len(rows(checked)) > 5
    for row in rows(checked):
        pair = tuple(sorted((row["id"], row["duplicate_of_id"]), key=order.index))
        assert row["jaccard"] == true[pair]  # type: ignore[index]


def test_only_parts_with_candidates_are_read_to_verify(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """A part without a candidate is not opened again: its input may be gone by then."""
    twins = [builders.document(n, varied(3)) for n in range(2)]
    made = {
        "web": source(tmp_path, "web", twins),
        "docs": source(tmp_path, "docs", [builders.document(5, varied(9))]),
    }
    given = pipeline(
        tmp_path, tiny_tokenizer, "run", sources=made, dedup=[{**NEAR, "verify": True}]
    )
    run(given, last="candidates")
    plan = run(given, last="candidates")
    (tmp_path / "in" / "docs.jsonl").write_bytes(b"")
    from dedup_runs import run_one

    for name in ("shingles", "verify", "clusters"):
        for task in plan.passes[name]:
            run_one(plan, task)
    assert [r["id"] for r in rows(plan)] == ["doc-1"]


def test_finding_nothing_and_dropping_most_are_said_loudly(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """A step without a find, and one that takes most documents, are notes with the likely cause."""
    different = [builders.document(n, builders.prose(n, 6)) for n in range(1200)]
    nothing = settled(
        tmp_path,
        tiny_tokenizer,
        "nothing",
        sources={"web": source(tmp_path, "web", different)},
        part_bytes=10**6,
        dedup=[{**NEAR, "name": "near"}],
    )
    (said,) = [line for line in notes(nothing) if "near" in line]
    assert "near found no duplicate among 1,200 documents" in said
    same = [builders.document(n, "Page not found " + "x" * (n % 7 == 0)) for n in range(40)]
    most = settled(
        tmp_path,
        tiny_tokenizer,
        "most",
        sources={"web": source(tmp_path, "web", same)},
        dedup=[{"type": "exact"}],
    )
    (said,) = [line for line in notes(most) if "exact" in line]
    assert "exact dropped 38 of 40 documents" in said
    assert "one cluster has 34 documents" in said


@pytest.mark.parametrize("same", [True, False], ids=["identical", "one word each"])
def test_a_hundred_thousand_short_documents(
    tmp_path: Path, tiny_tokenizer: Path, same: bool
) -> None:
    """As many identical documents leave one; as many of one word each all stay, unlike any other.

    Names of letters alone: runs of digits are all the same to `minhash`.
    """
    count, letters = 100_000, str.maketrans("0123456789", "ghijklmnop")
    words = ("few words alike" if same else f"{n:x}".translate(letters) for n in range(count))
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"id":"d{n}","text":"{w}"}}\n' for n, w in enumerate(words)))
    plan = settled(
        tmp_path,
        tiny_tokenizer,
        "run",
        sources={"web": {"inputs": [str(path)]}},
        dedup=[{"type": "exact"}, NEAR],
        part_bytes=1 << 20,
    )
    record = RecordBook(plan.pipeline.output).read("clusters", plan.passes["clusters"][0].key)
    near = record.counts["steps"]["minhash"]
    assert near["comparable"] == count
    assert near["clusters"] == same
    assert near["members"] == (count if same else 0)
    assert record.counts["dropped"]["web"] == ({"exact.duplicate": count - 1} if same else {})

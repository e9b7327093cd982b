"""The preset datatrove-0.10 against datatrove's own MinHash stages, run afresh."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_duplicates import edited
from peers import adversarial_texts, english_documents, english_sample, needs

from dolmix.dedup import MinHash, candidate_pairs, clusters
from dolmix.dedup.datatrove_files import read_removals, read_signatures, write_signatures
from dolmix.dedup.datatrove_stages import Bucket, join_bucket, resolve_pairs
from dolmix.dedup.datatrove_text import simplify
from dolmix.document import TextBatch

pytestmark = pytest.mark.conformance

VARIANTS = [("xxhash", 64), ("xxhash", 32), ("sha1", 64), ("sha1", 32)]
TASKS = 3
HARD_CHARS = 2000


@pytest.fixture(scope="module", autouse=True)
def _peer() -> Iterator[None]:
    """Let datatrove remember words, and hash strings with an xxHash that takes bytes alone.

    datatrove 0.10.1 gives xxhash strings, which version 4 of that package refuses; their UTF-8 is
    what earlier versions hashed.
    """
    needs("spacy")
    import xxhash
    from datatrove.utils.hashes import xxhash as theirs

    peers._split_once()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "xxhash64", lambda text: xxhash.xxh64_intdigest(text.encode()))
        patch.setattr(theirs, "xxhash32", lambda text: xxhash.xxh32_intdigest(text.encode()))
        yield


def ours(function: str = "xxhash", bits: int = 64, **settings: Any) -> MinHash:
    """Make the preset with datatrove's treatment of short documents."""
    fixed = {"preset": "datatrove-0.10", "short": "keep"}
    return MinHash.model_validate(
        {**fixed, "hash_function": function, "hash_bits": bits, **settings}
    )


def theirs(function: str = "xxhash", bits: int = 64, **settings: Any) -> Any:
    """Make datatrove's configuration."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    return MinhashConfig(hash_config=HashConfig(precision=bits, hash_fc=function), **settings)


def assert_same(texts: Sequence[str], function: str, bits: int) -> None:
    """Every lane of every document is datatrove's, and so is which ones have a signature."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

    stage = MinhashDedupSignature("memory://unused", theirs(function, bits))
    found = ours(function, bits).signatures(TextBatch.of(list(texts)))
    for text, lanes, valid in zip(texts, found.lanes.tolist(), found.valid, strict=True):
        shingles = stage.get_shingles(text)
        assert bool(valid) == (shingles.size > 0), repr(text[:200])
        if valid:
            assert lanes == np.concatenate(stage.get_signature(shingles)).tolist(), text[:200]


@pytest.mark.parametrize(("function", "bits"), VARIANTS)
def test_real_documents(shared: Path, function: str, bits: int) -> None:
    """Real English documents of six kinds, keyed by their ids."""
    assert_same(english_sample(shared, 0.6), function, bits)


def test_hard_documents() -> None:
    """Texts made against word splitters and decoders, but for those that take datatrove long."""
    assert_same([text for text in adversarial_texts() if len(text) < HARD_CHARS], "xxhash", 64)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=4))
@settings(max_examples=40)
def test_any_text(texts: list[str]) -> None:
    """Any characters in any order."""
    assert_same([f"{text} {text} the end" for text in texts], "xxhash", 64)


def test_simplified_texts_of_other_languages(shared: Path) -> None:
    """Simplified texts, before they are split, in every language of the corpus."""
    from datatrove.utils.text import simplify_text

    folder = "web_multilingual"
    texts = [record["text"] for record in peers._records(shared, (folder,))][::7]
    assert len(texts) > 50
    assert simplify(TextBatch.of(texts)).text.to_pylist() == [simplify_text(t) for t in texts]


@cache
def tasks_of(shared: Path) -> tuple[tuple[str, ...], ...]:
    """Documents of three tasks: real ones, edited copies, exact copies, and short ones."""
    real = [text[:4000] for text in english_sample(shared, 3.0)]
    real = [text for text in real if len(text.split()) > 60][:150]
    texts = list(real)
    for n, text in enumerate(real[:90]):
        similarity = (0.7, 0.8, 0.9, 0.95, 1.0)[n % 5]
        texts.append(edited(text, similarity, ngram=5, seed=n))
        if n % 4 == 0:
            texts.append(edited(texts[-1], 0.85, ngram=5, seed=1000 + n))
    texts += ["Too short", "Too short", "", "four words, not five", *real[100:110]]
    order = np.random.default_rng(3).permutation(len(texts)).tolist()
    return tuple(tuple(texts[at] for at in order[task::TASKS]) for task in range(TASKS))


def run_signatures(folder: Path, tasks: Sequence[Sequence[str]], config: Any) -> None:
    """Run datatrove's first stage."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

    for task, texts in enumerate(tasks):
        documents = (Document(text=text, id=str(n)) for n, text in enumerate(texts))
        MinhashDedupSignature(str(folder), config).run(documents, task, len(tasks))


def run_buckets(signatures: Path, folder: Path, config: Any, workers: int = 1) -> None:
    """Run datatrove's second stage."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupBuckets

    world = config.num_buckets * workers
    for rank in range(world):
        stage = MinhashDedupBuckets(str(signatures), str(folder), config=config)
        stage.run(rank=rank, world_size=world)


def run_clusters(pairs: Path, folder: Path, config: Any) -> None:
    """Run datatrove's third stage."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupCluster

    stage = MinhashDedupCluster(
        str(pairs), str(folder), config, save_cluster_id=True, save_cluster_size=True
    )
    stage.run(None, 0, 1)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("function", "bits", "workers"), [("xxhash", 64, 1), ("sha1", 32, 2)])
def test_every_stage_stands_in_for_datatrove(
    shared: Path, tmp_path: Path, function: str, bits: int, workers: int
) -> None:
    """Signatures, pairs, removals, cluster ids and sizes are the same files, byte for byte.

    Each of our stages reads what datatrove's stage before it wrote, and the other way round, so
    that any of the three can take the other's place.
    """
    tasks, config = tasks_of(shared), theirs(function, bits)
    run_signatures(tmp_path / "sig", tasks, config)
    step = ours(function, bits)
    for task, texts in enumerate(tasks):
        batches = [TextBatch.of(list(texts[:50])), TextBatch.of(list(texts[50:]))]
        write_signatures(tmp_path / "our-sig", task, step, map(step.signatures, batches))
    assert contents(tmp_path / "our-sig") == contents(tmp_path / "sig")

    run_buckets(tmp_path / "our-sig", tmp_path / "dups", config, workers)
    for number in range(14):
        for worker in range(workers):
            bucket = Bucket(number, 8, bits, worker, workers)
            join_bucket(tmp_path / "sig", tmp_path / "our-dups", bucket)
    assert contents(tmp_path / "our-dups") == contents(tmp_path / "dups")

    run_clusters(tmp_path / "our-dups", tmp_path / "out", config)
    removed = resolve_pairs(
        tmp_path / "dups", tmp_path / "our-out", save_cluster_id=True, save_cluster_size=True
    )
    assert contents(tmp_path / "our-out") == contents(tmp_path / "out")
    assert removed > 70


def test_an_index_is_joined_as_datatrove_does(shared: Path, tmp_path: Path) -> None:
    """An index of datatrove's making, against it and within the new documents, or against it."""
    from datatrove.pipeline.dedup.minhash import MinhashBuildIndex, MinhashDedupBuckets

    config = theirs(num_buckets=3, hashes_per_bucket=4)
    old, *new = tasks_of(shared)
    run_signatures(tmp_path / "old", [old], config)
    run_signatures(tmp_path / "new", new, config)
    for bucket in range(3):
        stage = MinhashBuildIndex(str(tmp_path / "old"), str(tmp_path / "index"), "web", config)
        stage.run(None, bucket, 3)
    for only in (True, False):
        for bucket in range(3):
            MinhashDedupBuckets(
                str(tmp_path / "new"),
                str(tmp_path / f"dups{only}"),
                str(tmp_path / "index"),
                config,
                only_dedup_in_index=only,
            ).run(None, bucket, 3)
            join_bucket(
                tmp_path / "new",
                tmp_path / f"our-dups{only}",
                Bucket(bucket, rows=4),
                index=tmp_path / "index",
                only_dedup_in_index=only,
            )
        assert contents(tmp_path / f"our-dups{only}") == contents(tmp_path / f"dups{only}")
        run_clusters(tmp_path / f"dups{only}", tmp_path / f"out{only}", config)
        resolve_pairs(
            tmp_path / f"dups{only}",
            tmp_path / f"our-out{only}",
            save_cluster_id=True,
            save_cluster_size=True,
        )
        assert contents(tmp_path / f"our-out{only}") == contents(tmp_path / f"out{only}")


def test_dolmix_finds_the_pairs_and_removals_of_datatrove(shared: Path, tmp_path: Path) -> None:
    """Keys, candidate pairs and clusters of the pipeline drop as many documents of each cluster.

    Documents that hang together are the same sets; which one of a set stays is dolmix's to choose.
    """
    tasks, config, step = tasks_of(shared), theirs(), ours()
    run_signatures(tmp_path / "sig", tasks, config)
    run_buckets(tmp_path / "sig", tmp_path / "dups", config)
    run_clusters(tmp_path / "dups", tmp_path / "out", config)
    texts = [(task, n, text) for task, part in enumerate(tasks) for n, text in enumerate(part)]
    keys = step.match_keys(TextBatch.of([text for *_, text in texts]))
    documents = np.flatnonzero(keys.valid)
    found = clusters(
        len(texts),
        [
            candidate_pairs(keys.values[documents, band, 0], documents)
            for band in range(step.num_bands)
        ],
    )
    removed = set()
    for task in range(TASKS):
        path = tmp_path / "out" / f"{task:06d}.remove"
        removed |= {(task, n) for n in read_removals(path).tolist()}
    sizes = Counter(found.tolist())
    gone = Counter(int(found[at]) for at, (task, n, _) in enumerate(texts) if (task, n) in removed)
    assert gone == Counter({root: size - 1 for root, size in sizes.items() if size > 1})
    assert sum(gone.values()) > 70


def test_candidates_of_each_band_are_those_of_datatrove(shared: Path, tmp_path: Path) -> None:
    """Documents that share a key of a band are those that share its lanes in datatrove's file."""
    tasks, step = tasks_of(shared)[:1], ours()
    run_signatures(tmp_path / "sig", tasks, theirs())
    keys = step.match_keys(TextBatch.of(list(tasks[0])))
    documents = np.flatnonzero(keys.valid)
    for band in range(step.num_bands):
        path = tmp_path / "sig" / f"bucket_{band:03d}" / "00000.minhash.sig"
        banded = read_signatures(path, rows=8)
        _, groups = np.unique(banded.lanes, axis=0, return_inverse=True)
        expected = candidate_pairs(groups.astype(np.uint64), banded.documents.astype(np.int64))
        mine = candidate_pairs(keys.values[documents, band, 0], documents)
        assert mine.tolist() == expected.tolist()


@pytest.mark.conformance_full
@pytest.mark.parametrize(("function", "bits"), VARIANTS[:3:2])
def test_every_document(shared: Path, function: str, bits: int) -> None:
    """Every English document of the corpus."""
    texts = [text for text in english_documents(shared) if "IS_ALPHA" not in text]
    for at in range(0, len(texts), 100):
        assert_same(texts[at : at + 100], function, bits)

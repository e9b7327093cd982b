"""Statistics of a store, local and remote, held to what its own reader gives."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import UsageError
from dolmix.pipeline.plan import Plan
from dolmix.report import store_stats
from dolmix.report.stats import describe
from dolmix.report.wanted import Wanted
from dolmix.shards import open_store
from dolmix.shards.describe import load_pinned
from dolmix.shards.ids import RECORD


@pytest.fixture(scope="module")
def store(made_run: Plan) -> Path:
    """Give the store of the run's first source."""
    return made_run.pipeline.output / "stores" / "web@1"


@pytest.fixture(scope="module")
def told(store: Path) -> dict[str, Any]:
    """Describe it, with texts by the tokenizer that its run names."""
    found = describe(str(store), Wanted(ngrams=2, top=5), quiet=True)
    return dict(found["sources"]["web@1"])


def texts_of(plan: Plan, store: Path) -> list[str]:
    """Decode all documents."""
    with open_store(store) as opened:
        tokenizer = load_pinned(opened, plan.pipeline.tokenizer.path)
        spans = [opened.document_span(n) for n in range(opened.num_documents)]
        return [tokenizer.decode(opened.tokens(a, b - 1).tolist()) for a, b in spans]


def test_counts_lengths_and_tokens_are_the_store_s(store: Path, told: dict[str, Any]) -> None:
    """Totals of the manifest, every document in a bin, the most frequent ids by count."""
    with open_store(store) as opened:
        totals = opened.manifest.totals
        tokens = Counter(opened.tokens(0, opened.num_tokens).tolist())
    counts = told["counts"]
    assert (counts["documents"], counts["tokens"], counts["bytes"]) == (
        totals.documents, totals.tokens, totals.bytes,
    )  # fmt: skip
    assert sum(row["documents"] for row in told["lengths"]["tokens"]) == totals.documents
    assert [row["count"] for row in told["tokens"]["top"]] == [c for _, c in tokens.most_common(5)]
    assert told["tokens"]["distinct"] == len(tokens)


def test_columns_domains_and_values_are_those_of_its_documents(
    store: Path, told: dict[str, Any]
) -> None:
    """Kept columns with quantiles and frequent values; domains with documents and tokens."""
    with open_store(store) as opened:
        rows = opened.provenance(range(opened.num_documents))
    words = sorted(row.columns["gopher.word_count"] for row in rows)
    column = told["columns"]["gopher.word_count"]
    assert (column["quantiles"]["p0"], column["quantiles"]["p100"]) == (words[0], words[-1])
    languages = Counter(row.columns["lang.value"] for row in rows)
    assert told["columns"]["lang.value"]["nulls"] == languages.pop(None, 0)
    assert {r["value"]: r["count"] for r in told["columns"]["lang.value"]["top"]} == languages
    domains = told["domains"]
    assert domains["without_url"] == sum(row.url is None for row in rows)
    there = [row for row in rows if row.url and "bbc" in row.url]
    bbc = next(row for row in domains["top"] if "bbc" in row["domain"])
    assert (bbc["documents"], bbc["tokens"]) == (len(there), sum(row.num_tokens for row in there))


def test_ngrams_are_those_of_the_decoded_texts(
    made_run: Plan, store: Path, told: dict[str, Any]
) -> None:
    """Without the token that ends each document; the manifest's bytes are found again."""
    texts = texts_of(made_run, store)
    assert told["texts"]["bytes"] == told["counts"]["bytes"]
    words = [text.split() for text in texts]
    pairs = Counter(f"{a} {b}" for w in words for a, b in pairwise(w))
    assert told["ngrams"][1]["total"] == pairs.total()
    assert all(pairs[row["ngram"]] == row["count"] for row in told["ngrams"][1]["top"])


def test_cuts_and_threads_change_nothing(
    store: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts decoded in small runs by several threads give the same bytes."""
    monkeypatch.setattr(store_stats, "UNIT_TOKENS", 700)
    monkeypatch.setattr(store_stats, "BATCH_TOKENS", 150)
    again = describe(str(store), Wanted(ngrams=2, top=5, workers=3), quiet=True)
    assert json.dumps(again["sources"]["web@1"]) == json.dumps(told)


def test_a_remote_store_is_described_alike(
    made_run: Plan, store: Path, told: dict[str, Any]
) -> None:
    """By ranges, whatever the storage; its tokenizer has to be named."""
    remote = "memory://bucket/stats/web@1"
    system = fsspec.filesystem("memory")
    system.put(str(store), "/bucket/stats/web@1", recursive=True)
    try:
        named = Wanted(ngrams=2, top=5, tokenizer=made_run.pipeline.tokenizer.path)
        found = describe(remote, named, quiet=True)
        without = describe(remote, Wanted(ngrams=2, top=5), quiet=True)
    finally:
        system.rm("/bucket/stats", recursive=True)
    assert found["sources"]["web@1"] == told
    assert "ngrams" not in without["sources"]["web@1"]
    assert any("--tokenizer" in note for note in without["notes"])


def test_another_tokenizer_is_refused(store: Path, tmp_path: Path, made_run: Plan) -> None:
    """Texts by another tokenizer would be another store's."""
    other = tmp_path / "tokenizer.json"
    other.write_bytes(made_run.pipeline.tokenizer.path.read_bytes() + b" ")
    with pytest.raises(UsageError, match="was made with"):
        describe(str(store), Wanted(tokenizer=other), quiet=True)


def test_a_text_that_is_there_twice_is_a_duplicate(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Without dedup, the index of text hashes tells how many a store has, in which clusters."""
    import builders
    import dedup_runs

    numbers = [1, 2, 1, 3, 1, 2]
    texts = (builders.document(n, builders.prose(seed)) for n, seed in enumerate(numbers))
    source = dedup_runs.source(tmp_path, "web", texts)
    made = dedup_runs.pipeline(tmp_path, tiny_tokenizer, "run", sources={"web": source})
    run = dedup_runs.run(made, last="store").pipeline.output
    (found,) = describe(str(run / "stores" / "web@1"), Wanted(), quiet=True)["sources"].values()
    (step,) = found["duplicates"]
    assert (step["documents"], step["duplicates"], step["clusters"]) == (6, 3, 2)
    assert [(b["from"], b["documents"], b["members"]) for b in step["sizes"]] == [(2, 2, 5)]


class FakeStore:
    """What `_run_lengths` asks a store for."""

    def __init__(self, keys: list[int]) -> None:
        self.num_documents = len(keys)
        self.folder = self
        self._items = np.zeros(len(keys), RECORD)
        self._items["key"] = sorted(keys)

    def sorted_items(self, *_: Any) -> Any:
        """Give the whole index."""
        return self._items


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 9))
def test_runs_of_equal_hashes_are_found_across_blocks(keys: list[int], block: int) -> None:
    """However the index is cut, each hash is counted once, with all of its documents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_stats, "INDEX_ITEMS", block)
        found = np.concatenate(list(store_stats._run_lengths(FakeStore(keys))))
    assert found.tolist() == [count for _, count in sorted(Counter(keys).items())]

"""What statistics of a store promise: exact counts, each by a second way."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import store_builder
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dolmix.cli.shards import app
from dolmix.errors import StoreError
from dolmix.shards import open_store
from dolmix.shards.layout import count_values
from dolmix.shards.stats import describe_columns, describe_contents, length_histogram


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 70), max_size=40), shard_tokens=st.integers(1, 90))
def test_the_histogram_counts_every_document_and_token_once(
    lengths: list[int], shard_tokens: int
) -> None:
    """Each bin holds the documents of its range, and their tokens; bins touch."""
    with TemporaryDirectory() as folder:
        documents = store_builder.documents(lengths)
        store_builder.write(Path(folder), documents, shard_tokens=shard_tokens)
        with open_store(Path(folder) / "web@1") as store:
            found = length_histogram(store)
    for entry in found:
        inside = [n for n in lengths if entry["from"] <= n < entry["to"]]
        assert (entry["documents"], entry["tokens"]) == (len(inside), sum(inside))
    assert sum(entry["documents"] for entry in found) == len(lengths)
    assert [entry["to"] for entry in found[:-1]] == [entry["from"] for entry in found[1:]]


@given(pieces=st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=6))
def test_values_are_counted_over_pieces(pieces: list[list[int]]) -> None:
    """The same values and counts as those of all pieces together."""
    values, counts = count_values(np.array(piece, np.int64) for piece in pieces)
    expected = Counter(n for piece in pieces for n in piece)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == expected
    assert values.tolist() == sorted(expected)


def test_columns_are_summed_up_over_shards(tmp_path: Path) -> None:
    """Numbers: range, mean, quantiles, NaN and null apart; text and truth: the most frequent."""
    documents = store_builder.documents([2] * 7)
    rows = (
        documents.rows.drop_columns(["language.score"])
        .append_column("score", pa.array([1.0, None, 3.0, 2.0, float("nan"), 5.0, 4.0]))
        .append_column("lang", pa.array(["en", "de", "en", None, "en", "fr", "de"]))
        .append_column("ok", pa.array([True, False, True, True, True, None, None]))
        .append_column("list", pa.array([[1], None, [2], [], [], [], []]))
    )
    documents = store_builder.Documents(documents.tokens, documents.lengths, rows)
    store_builder.write(tmp_path, documents, shard_tokens=5)
    with open_store(tmp_path / "web@1") as store:
        found = describe_columns(store)
    assert list(found) == ["score", "lang", "ok", "list"]
    score = found["score"]
    assert (score["values"], score["missing"]) == (6, 1)
    assert (score["min"], score["max"], score["mean"]) == (1.0, 5.0, 3.0)
    assert (score["quantiles"]["p50"], score["quantiles_of"]) == (3.0, 5)
    assert found["lang"]["top"][0] == {"value": "en", "count": 3}
    assert (found["lang"]["distinct"], found["lang"]["missing"]) == (3, 1)
    assert found["ok"]["top"] == [{"value": "True", "count": 4}, {"value": "False", "count": 1}]
    assert found["list"] == {"values": 6, "missing": 1}


def test_text_hashes_are_no_kept_column(tmp_path: Path) -> None:
    """`text_hash` is the store's own: the summary leaves it out."""
    documents = store_builder.with_text_hashes(store_builder.documents([3, 3]))
    store_builder.write(tmp_path, documents)
    with open_store(tmp_path / "web@1") as store:
        assert list(describe_columns(store)) == ["language.score"]


def test_a_store_without_documents_has_statistics(tmp_path: Path) -> None:
    """Nothing to count is no error."""
    with store_builder.open_writer(tmp_path) as writer:
        writer.commit()
    with open_store(tmp_path / "web@1") as store:
        found = describe_contents(store, top=3, tokenizer=None)
    assert (found["length_histogram"], found["columns"], found["top_tokens"]) == ([], {}, [])
    assert found["bytes_per_token"] is None


def test_tokens_are_counted_and_ranked(tmp_path: Path) -> None:
    """The most frequent ids with their counts, ties by id; an id out of range is an error."""
    documents = store_builder.documents([400], largest_id=9)
    store_builder.write(tmp_path, documents, tokenizer=store_builder.pin(largest_id=9))
    expected = Counter(documents.tokens.tolist())
    with open_store(tmp_path / "web@1") as store:
        found = describe_contents(store, top=4, tokenizer=None)
    ranked = sorted(expected.items(), key=lambda item: (-item[1], item[0]))[:4]
    assert [(t["id"], t["count"]) for t in found["top_tokens"]] == ranked
    tok = tmp_path / "web@1/shards/00000.tok"
    tok.write_bytes(np.full(400, 77, "<u2").tobytes())
    with (
        open_store(tmp_path / "web@1") as store,
        pytest.raises(StoreError, match="token 0 is id 77, the tokenizer's largest is 9"),
    ):
        describe_contents(store, top=4, tokenizer=None)


def test_the_command_prints_all_of_it(tmp_path: Path) -> None:
    """Lengths, columns and tokens are told, as text and as JSON."""
    store_builder.write(tmp_path, store_builder.documents([3, 5, 8]))
    ran = CliRunner().invoke(app, ["stats", str(tmp_path / "web@1")])
    assert ran.exit_code == 0
    assert "language.score   3 values, 0 missing  min " in ran.stdout
    ran = CliRunner().invoke(app, ["stats", str(tmp_path / "web@1"), "--json"])
    found = json.loads(ran.stdout)
    assert [entry["documents"] for entry in found["length_histogram"]] == [1, 1, 1]

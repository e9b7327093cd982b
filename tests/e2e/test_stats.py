"""`dolmix stats` through the command line: a run, its kept documents, a store; text and files."""

import json
from pathlib import Path

import pyarrow.parquet as pq
from commands import Dolmix


def test_stats_of_a_run_and_of_its_stores_agree(
    dolmix: Dolmix, finished_run: Path, tmp_path: Path
) -> None:
    """Kept documents are what the stores hold; text, JSON and Parquet tell the same."""
    folder = tmp_path / "tables"
    done = dolmix("stats", finished_run, "--kept", "--ngrams", "2", "--json", "--parquet", folder)
    told = json.loads(done.stdout)
    for name, source in told["sources"].items():
        store = finished_run / "stores" / f"{name}@1"
        totals = json.loads((store / "manifest.json").read_bytes())["totals"]
        counts = source["counts"]
        assert [counts[n] for n in ("documents", "bytes", "tokens")] == [
            totals[n] for n in ("documents", "bytes", "tokens")
        ]
        assert source["texts"]["bytes"] == totals["bytes"]
    rows = pq.read_table(folder / "ngrams.parquet").to_pylist()
    listed = [row for s in told["sources"].values() for g in s["ngrams"] for row in g["top"]]
    assert [row["ngram"] for row in rows] == [row["ngram"] for row in listed]
    shown = dolmix("stats", finished_run / "stores" / "web@1", "--ngrams", "1", "--top", "3").stdout
    documents = told["sources"]["web"]["counts"]["documents"]
    assert shown.startswith(f"web@1: {documents:,} documents (kept)")
    assert "n-grams: exact counts" in shown
    assert "neither a run nor a store" in dolmix("stats", tmp_path, expect=2).stderr

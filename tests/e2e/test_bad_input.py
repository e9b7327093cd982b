"""What a user sees of bad input: file, record, cause, next step; exit 1 for data, 2 for config."""

import gzip
import json
from pathlib import Path
from typing import Any

import builders
import pytest
import yaml
from commands import Dolmix

GOOD = json.dumps(builders.document(1)).encode()


def truncated_gzip(folder: Path) -> Path:
    """Write a .gz that ends early."""
    lines = b"".join(json.dumps(builders.document(n)).encode() + b"\n" for n in range(500))
    path = folder / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(lines, mtime=0)[:-2000])
    return path


def lines(name: str, *records: bytes) -> Any:
    """Return a maker of a file with these lines."""
    return lambda folder: builders.write_jsonl(folder / name, records)


BAD_DATA = {
    "truncated gzip": (truncated_gzip, ["cut.jsonl.gz", "gzip"]),
    "invalid UTF-8": (
        lines("latin.jsonl", GOOD, b'{"id": "a", "text": "caf\xe9"}'),
        ["latin.jsonl", "line 2", "UTF-8"],
    ),
    "bad JSON": (lines("bad.jsonl", GOOD, b'{"id": '), ["bad.jsonl", "line 2", "JSON"]),
    "null text": (
        lines("null.jsonl", b'{"id": "a", "text": null}'),
        ["null.jsonl", "line 1", "null"],
    ),
    "missing field": (
        lines("misspelt.jsonl", b'{"id": "a", "texts": "x"}'),
        ["misspelt.jsonl", "line 1", "'text'", "texts"],
    ),
    "empty file": (lines("empty.jsonl"), ["empty.jsonl", "no records"]),
}


def write_pipeline(folder: Path, tokenizer: Path, path: Path, **settings: Any) -> Path:
    """Write a pipeline over one input file."""
    raw = builders.pipeline(
        folder / "run", tokenizer, sources={"web": {"inputs": [str(path)]}}, **settings
    )
    written = folder / "pipeline.yaml"
    written.write_text(yaml.safe_dump(raw))
    return written


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_stops_the_run_with_its_place(
    dolmix: Dolmix, tmp_path: Path, tiny_tokenizer: Path, kind: str
) -> None:
    """Under `fail`: exit 1, the message has file, line and cause; nothing is committed."""
    make, expected = BAD_DATA[kind]
    config = write_pipeline(tmp_path, tiny_tokenizer, make(tmp_path))
    failed = dolmix("run", config, expect=1)
    for part in expected:
        assert part in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "run" / "stores").exists()
    assert not [p for p in (tmp_path / "run").rglob("*") if p.name.endswith(".part")]


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_is_set_aside_when_asked(
    dolmix: Dolmix, tmp_path: Path, tiny_tokenizer: Path, kind: str
) -> None:
    """Under `skip`: the run succeeds, the record is counted and kept with file and cause."""
    make, expected = BAD_DATA[kind]
    skip = {"policy": "skip", "max_frac": 1.0}
    config = write_pipeline(tmp_path, tiny_tokenizer, make(tmp_path), on_bad_record=skip)
    funnel = json.loads(dolmix("run", config, "--json").stdout)[0]
    assert funnel["bad_records"] == 1
    aside = list((tmp_path / "run" / "bad-records" / "web").iterdir())
    row = json.loads(aside[0].read_bytes())
    assert row["path"] == expected[0]
    assert row["cause"]


def test_a_misspelt_key_is_a_configuration_error(
    dolmix: Dolmix, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Exit 2, the dotted path, and what was probably meant."""
    path = builders.write_jsonl(tmp_path / "in.jsonl", [GOOD])
    config = write_pipeline(tmp_path, tiny_tokenizer, path, tokeniser={})
    failed = dolmix("plan", config, expect=2)
    assert "tokeniser: unknown key; did you mean 'tokenizer'?" in failed.stderr


def test_a_weight_beyond_max_epochs_is_a_configuration_error(
    dolmix: Dolmix, tmp_path: Path, finished_run: Path
) -> None:
    """Exit 2, with the source, its demand, its supply and the largest feasible budget."""
    store = next(p for p in (finished_run / "stores").iterdir() if p.name.startswith("web@"))
    mix = {
        "name": "greedy",
        "seed": 1,
        "sequence_length": 64,
        "batch_size": 4,
        "sources": {"web": {"store": str(store), "max_epochs": 1.5}},
        "stages": [{"name": "main", "tokens": 10_000_000, "weights": {"web": 1.0}}],
    }
    path = tmp_path / "mix.yaml"
    path.write_text(yaml.safe_dump(mix))
    failed = dolmix("mix", "resolve", path, expect=2)
    assert "'web'" in failed.stderr
    assert "max_epochs" in failed.stderr
    assert not list(tmp_path.glob("*.lock.json"))


def test_a_missing_model_says_how_to_get_it(
    dolmix: Dolmix, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """The language filter without its file: exit 2 before any work, and the next step."""
    path = builders.write_jsonl(tmp_path / "in.jsonl", [GOOD])
    language = {"type": "language", "model": str(tmp_path / "lid.176.ftz")}
    raw = builders.pipeline(
        tmp_path / "run",
        tiny_tokenizer,
        sources={"web": {"inputs": [str(path)], "filters": [language]}},
    )
    config = tmp_path / "pipeline.yaml"
    config.write_text(yaml.safe_dump(raw))
    failed = dolmix("run", config, expect=2)
    assert "get_lid_model.py" in failed.stderr


def test_an_unknown_step_and_an_unknown_document(dolmix: Dolmix, lock: Path) -> None:
    """A step outside the order is usage (2); a document in no store is a finding (1)."""
    assert "1" in dolmix("order", "show", lock, "--step", "100000", expect=2).stderr
    assert "nobody" in dolmix("order", "find", lock, "--doc", "nobody", expect=1).stderr

"""The WARC folder of the corpus as a source: every response accounted for, damage by policy."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import builders
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from commands import Dolmix
from peers import needs

from dolmix.files.warc import Record, read_records

RESPONSES, CONVERSIONS = 482, 1


@pytest.fixture
def archives(shared: Path) -> Path:
    """Folder of the corpus' WARC and WET files."""
    needs("resiliparse")
    return shared / "corpus_seed" / "web_warc"


def write_pipeline(folder: Path, tokenizer: Path, inputs: str, **settings: Any) -> Path:
    """Write a pipeline over WARC files, into the run `run` in `folder`."""
    source = {"inputs": [inputs], "warc": {"extractor": "resiliparse"}}
    raw = builders.pipeline(
        folder / "run",
        tokenizer,
        sources={"web": source},
        keep_columns=["warc.date", "warc.offset", "warc.content_type"],
        **settings,
    )
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def decisions(run: Path) -> pa.Table:
    """Decisions on all documents."""
    files = sorted((run / "decisions" / "web").glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in files])


@pytest.mark.corpus
def test_every_response_of_the_corpus_is_accounted_for(
    dolmix: Dolmix, tmp_path: Path, tiny_tokenizer: Path, archives: Path
) -> None:
    """Kept or dropped with a reason, by id; the parts' number and size change nothing."""
    hashes = set()
    for part_bytes in (1 << 40, 400_000):
        folder = tmp_path / str(part_bytes)
        folder.mkdir()
        config = write_pipeline(
            folder, tiny_tokenizer, str(archives / "*.gz"), part_bytes=part_bytes
        )
        funnel = json.loads(dolmix("run", config, "--json").stdout)[0]
        hashes.add(funnel["content_hash"])
    assert len(hashes) == 1
    assert funnel["documents"] == RESPONSES + CONVERSIONS
    assert funnel["bad_records"] == 0
    assert funnel["kept"] + sum(funnel["dropped"].values()) == funnel["documents"]
    assert funnel["dropped"]["warc.status"] == 47
    assert funnel["dropped"]["warc.content_type"] == 122
    found = decisions(folder / "run")
    known = {
        item.headers["warc-record-id"]: item
        for path in archives.glob("*.gz")
        for item in read_records(str(path), "gz", max_bytes=1 << 30)
        if isinstance(item, Record)
    }
    wanted = Counter(i for i, r in known.items() if r.type in {"response", "conversion"})
    assert Counter(f"<urn:uuid:{i}>" for i in found["id"].to_pylist()) == wanted
    for id_, offset, date in zip(
        *(found[n].to_pylist() for n in ("id", "warc.offset", "warc.date")), strict=True
    ):
        record = known[f"<urn:uuid:{id_}>"]
        assert (record.offset, record.headers["warc-date"]) == (offset, date)
    shard = pq.read_table(folder / "run" / "stores" / "web@1" / "shards" / "00000.docs.parquet")
    assert {"warc.date", "warc.offset", "warc.content_type"} <= set(shard.column_names)


@pytest.mark.corpus
def test_damaged_archives_follow_the_policy(
    dolmix: Dolmix, tmp_path: Path, tiny_tokenizer: Path, archives: Path
) -> None:
    """A damaged member, a lost end: `fail` stops with the place, `skip` loses those two alone."""
    path = tmp_path / "cut.warc.gz"
    shutil.copyfile(archives / "commoncrawl-12pages.warc.gz", path)
    items = list(read_records(str(path), "gz", max_bytes=1 << 30))
    pages = [item for item in items if isinstance(item, Record) and item.type == "response"]
    damaged, last = pages[4], items[-1]
    stored = bytearray(path.read_bytes()[:-20])
    stored[damaged.offset + 2000] ^= 255
    path.write_bytes(bytes(stored))
    failed = dolmix("run", write_pipeline(tmp_path, tiny_tokenizer, str(path)), expect=1)
    assert f"cut.warc.gz: WARC record at byte {damaged.offset:,}: gzip member" in failed.stderr
    assert not (tmp_path / "run" / "stores").exists()
    skip = {"policy": "skip", "max_frac": 0.5}
    config = write_pipeline(tmp_path, tiny_tokenizer, str(path), on_bad_record=skip)
    funnel = json.loads(dolmix("run", config, "--json").stdout)[0]
    assert funnel["bad_records"] == 2
    assert funnel["documents"] == len(pages) - 1
    aside = next((tmp_path / "run" / "bad-records" / "web").iterdir()).read_text()
    rows = [json.loads(line) for line in aside.splitlines()]
    assert [row["offset"] for row in rows] == [damaged.offset, last.offset]
    assert "cut off" in rows[1]["cause"]


def test_archives_that_a_pattern_hides_are_a_usage_error(
    dolmix: Dolmix, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Nothing says that the source reads WARC files: exit 1, and what to set."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wet").write_bytes(b"")
    raw = builders.pipeline(
        tmp_path / "run",
        tiny_tokenizer,
        sources={"web": {"inputs": [str(tmp_path / "in" / "*")]}},
    )
    config = tmp_path / "pipeline.yaml"
    config.write_text(yaml.safe_dump(raw))
    assert "'warc: {}'" in dolmix("plan", config, expect=1).stderr

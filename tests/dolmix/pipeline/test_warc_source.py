"""A source of WARC files in a pipeline: its settings, its first filter, its task keys."""

from pathlib import Path
from typing import Any

import builders
import pytest
from warc_files import gzipped, page, record, response

from dolmix.config import parse
from dolmix.errors import ConfigError, DataError
from dolmix.files import extract
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.findings import status
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.plan import make_plan
from dolmix.pipeline.spec import Pipeline

GOPHER = {"type": "gopher"}


def pipeline(folder: Path, tokenizer: Path, **source: Any) -> Pipeline:
    """Load a pipeline of one source."""
    raw = builders.pipeline(folder / "run", tokenizer, sources={"web": source})
    return parse(Pipeline, raw, origin="test")


def labels(made: Pipeline) -> list[str]:
    """Names of the source's filters."""
    return [f.label for f in made.sources["web"].filters]


def test_inputs_named_like_archives_are_read_as_such(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """With the defaults, and the filter that drops what holds no text before all others."""
    for name in ("a.warc.gz", "x/*.WARC", "s3://b/*.warc.wet.gz"):
        made = pipeline(tmp_path, tiny_tokenizer, inputs=[name], filters=[GOPHER])
        assert made.sources["web"].warc is not None
        assert labels(made) == ["warc", "gopher"]
    plain = pipeline(tmp_path, tiny_tokenizer, inputs=["a.jsonl"], filters=[GOPHER])
    assert plain.sources["web"].warc is None
    assert labels(plain) == ["gopher"]


def test_what_was_loaded_loads_again(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """A plan keeps the resolved pipeline: the filter does not come twice."""
    made = pipeline(tmp_path, tiny_tokenizer, inputs=["*"], warc={"favor": "recall"})
    again = parse(Pipeline, made.model_dump(mode="json"), origin="plan")
    assert labels(again) == ["warc"]
    assert again == made


def test_problems_of_filters_keep_their_place(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """The filter that nobody wrote does not shift the paths of those that somebody did."""
    with pytest.raises(ConfigError, match=r"sources\.web\.filters\.0\.min_wards"):
        pipeline(tmp_path, tiny_tokenizer, inputs=["a.warc"], filters=[GOPHER | {"min_wards": 1}])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Write a file of one record."""
    path = tmp_path / "in" / "a.warc.gz"
    path.parent.mkdir()
    path.write_bytes(gzipped([record(b"x", "metadata")]))
    return path


def keys(folder: Path, tokenizer: Path, **source: Any) -> list[str]:
    """Keys of the filter tasks."""
    return [t.key for t in make_plan(pipeline(folder, tokenizer, **source)).tasks("filter")]


def test_keys_hold_settings_and_versions_of_extractors(
    tmp_path: Path, tiny_tokenizer: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another setting or another version reads again; another time limit does not."""
    monkeypatch.setattr(extract, "version", lambda _: "1.0")
    given = {"inputs": [str(archive)]}
    first = keys(tmp_path, tiny_tokenizer, **given)
    assert keys(tmp_path, tiny_tokenizer, **given, warc={"timeout_s": 5}) == first
    assert keys(tmp_path, tiny_tokenizer, **given, warc={"favor": "recall"}) != first
    monkeypatch.setattr(extract, "version", lambda _: "2.0")
    assert keys(tmp_path, tiny_tokenizer, **given) != first


def test_files_of_texts_need_no_extractor(
    tmp_path: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch, archive: Path
) -> None:
    """A WET source runs where no extractor is installed; one of pages says what to install."""
    monkeypatch.setattr(extract, "PACKAGES", dict.fromkeys(extract.PACKAGES, ("no-such-package",)))
    texts = archive.with_name("a.warc.wet.gz")
    texts.write_bytes(archive.read_bytes())
    assert keys(tmp_path, tiny_tokenizer, inputs=[str(texts)])
    with pytest.raises(ConfigError, match=r"sources\.web\.warc: extractor .*dolmix\[warc\]"):
        keys(tmp_path, tiny_tokenizer, inputs=[str(archive)])


def test_archives_behind_a_pattern_must_be_asked_for(
    tmp_path: Path, tiny_tokenizer: Path, archive: Path
) -> None:
    """Their empty documents would otherwise be kept."""
    hidden = str(archive.parent / "*")
    with pytest.raises(DataError, match=r"a\.warc\.gz is a WARC file.*'warc: {}'"):
        keys(tmp_path, tiny_tokenizer, inputs=[hidden])
    plain = {"extractor": "none"}
    assert keys(tmp_path, tiny_tokenizer, inputs=[hidden], warc=plain)


def test_a_run_accounts_for_every_record_of_its_archives(
    tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """By type: what became a document, what is only counted, what is bad; rerun or not."""
    text = response(builders.prose(1).encode(), type_="text/plain")
    records = [record(text), record(response(page())), record(b"x", "request"), record(text)]
    path = tmp_path / "in" / "a.warc.gz"
    path.parent.mkdir()
    path.write_bytes(gzipped(records)[:-30])
    raw = builders.pipeline(
        tmp_path / "run",
        tiny_tokenizer,
        sources={"web": {"inputs": [str(path)], "warc": {"extractor": "none"}}},
        on_bad_record={"policy": "skip", "max_frac": 0.5},
    )
    for filters in ([], [GOPHER]):
        raw["sources"]["web"] |= {"filters": filters, "version": len(filters) + 1}
        plan = run_pipeline(parse(Pipeline, raw, origin="test"), quiet=True)
        (funnel,) = funnels(plan)
        assert (funnel.documents, funnel.kept, funnel.bad_records) == (2, 1, 1)
        assert funnel.describe()["warc_records"] == {"request": 1, "response": 2}
        told = status(tmp_path / "run")["warc"]["web"]
        assert told["records"] == {"request": 1, "response": 2}
        assert told["account"] == (
            "3 WARC records: 2 are documents (response 2), 1 only counted (request 1); bad: 1"
        )

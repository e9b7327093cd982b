"""The whole way, files to tokens: dolmix's exact presets against datatrove's own pipeline.

Language, Gopher repetition, Gopher quality, MinHash in four stages, tokens; each side reads the
same files and runs as its users run it, with two workers. No text is empty: datatrove's reader
leaves such documents out before any filter sees them.
"""

import gzip
from hashlib import blake2b
from pathlib import Path

import orjson
import pytest
import zstandard
from near_duplicates import edited
from peers import _records, english_sample, needs

pytestmark = pytest.mark.conformance

FILES = 2
"""Input files, one for each task of datatrove: it keeps the first of two documents in the order of
tasks, to which it deals files in turn, and dolmix the one of the smaller id."""


def documents(shared: Path) -> list[dict[str, str]]:
    """English pages, edited and exact copies of some, pages of other languages, short texts."""
    texts = english_sample(shared, 1.2)
    long = [text for text in texts if 100 < len(text.split()) < 5000]
    texts += [edited(text, 0.9, ngram=5, seed=n) for n, text in enumerate(long[:40])]
    texts += long[40:50]
    texts += [record["text"] for record in _records(shared, ("web_multilingual",))][::200]
    texts += ["Too short.", "the <|endoftext|> of it"]
    ids = [blake2b(f"{n}".encode(), digest_size=6).hexdigest() for n in range(len(texts))]
    return [{"id": id_, "text": text} for id_, text in sorted(zip(ids, texts, strict=True))]


def write(folder: Path, records: list[dict[str, str]]) -> list[Path]:
    """Write the documents in order, over several files."""
    folder.mkdir()
    paths = []
    for number in range(FILES):
        rows = records[number * len(records) // FILES : (number + 1) * len(records) // FILES]
        paths.append(folder / f"{number}.jsonl.zst")
        lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        paths[-1].write_bytes(zstandard.ZstdCompressor().compress(lines))
    return paths


@pytest.mark.corpus
@pytest.mark.timeout(800)
def test_every_decision_and_every_token_is_datatroves(
    shared: Path, lid_model: Path, tmp_path: Path
) -> None:
    """Same documents dropped for the same reasons, same ones as repeated, same ids of the rest."""
    for package in ("spacy", "fasttext"):
        needs(package)
    from datatrove_run import differences, our_verdicts, pipeline_of, read_verdicts, run_datatrove

    from dolmix.config import parse
    from dolmix.pipeline.engine import run_pipeline
    from dolmix.pipeline.spec import Pipeline

    tokenizer = tmp_path / "tokenizer.json"
    packed = shared / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json.gz"
    tokenizer.write_bytes(gzip.decompress(packed.read_bytes()))
    files = write(tmp_path / "in", documents(shared))
    run_datatrove(tmp_path / "in", tmp_path / "datatrove", lid_model, tokenizer)
    theirs = read_verdicts(tmp_path / "datatrove")
    raw = pipeline_of("exact", files, tmp_path / "run", lid_model, tokenizer)
    run_pipeline(parse(Pipeline, raw, origin="test"), quiet=True)
    assert list(differences(our_verdicts(tmp_path / "run"), theirs)) == []
    assert len({reason.partition(".")[0] for reason in theirs.dropped.values()}) == 3
    assert len(theirs.repeated) > 10
    assert len(theirs.tokens) > 100

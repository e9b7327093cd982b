"""Training the n-gram model: same settings and texts, same bytes; fluent text surprises less."""

import json
import random
from pathlib import Path

import builders
import numpy as np
import pytest
from typer.testing import CliRunner

from dolmix.cli.classifier import app
from dolmix.config import load
from dolmix.document import TextBatch
from dolmix.errors import DataError
from dolmix.learned.ngram import NgramTraining, train
from dolmix.sources import BadRecords, Fields, plan_parts, read_part
from dolmix.text.ngram_model import read_model

ROOT = Path(__file__).resolve().parents[3]


def corpus(folder: Path, documents: int = 60) -> tuple[str, ...]:
    """Write two files of prose."""
    for name, numbers in (("a", range(documents // 2)), ("b", range(documents // 2, documents))):
        records = [builders.document(n, builders.prose(n, 50)) for n in numbers]
        builders.write_jsonl(folder / f"{name}.jsonl.gz", records)
    return (str(folder / "*.jsonl.gz"),)


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """Another seed holds other documents out, and gives another model."""
    inputs = corpus(tmp_path)
    files = {}
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        output = tmp_path / f"{name}.ngram"
        config = NgramTraining(inputs=inputs, output=output, held_out_frac=0.2, seed=seed)
        made = train(config)
        files[name] = output.read_bytes()
        assert made.about["documents"] + made.about["held_out"]["documents"] == 60
    assert files["one"] == files["two"] != files["other"]


def test_the_file_says_what_it_was_made_of(tmp_path: Path) -> None:
    """Settings, inputs with their digests, counts, and how well it predicts what was held out."""
    config = NgramTraining(
        inputs=corpus(tmp_path), output=tmp_path / "m.ngram", held_out_frac=0.2, min_trigram=1
    )
    about = train(config).about
    assert about == read_model(tmp_path / "m.ngram").about
    assert about["settings"]["min_trigram"] == 1
    assert [Path(i["path"]).name for i in about["inputs"]] != []
    assert all(i["size"] > 0 for i in about["inputs"])
    held = about["held_out"]
    assert 0 < held["bits_per_unit"] < np.log2(about["vocabulary"])
    assert held["perplexity"]["0.05"] <= held["perplexity"]["0.95"]


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    """Of more text than `max_bytes`, whole record batches until it is reached; the rest unread."""
    inputs = corpus(tmp_path)
    whole = train(NgramTraining(inputs=inputs, output=tmp_path / "m", held_out_frac=0)).about
    some = train(
        NgramTraining(inputs=inputs, output=tmp_path / "m", held_out_frac=0, max_bytes=1)
    ).about
    assert some["documents"] == 30
    assert whole["documents"] == 60


def test_inputs_without_text_are_refused(tmp_path: Path) -> None:
    """There is nothing to learn from empty documents."""
    builders.write_jsonl(tmp_path / "a.jsonl", [builders.document(0, "")])
    config = NgramTraining(inputs=(str(tmp_path / "a.jsonl"),), output=tmp_path / "m")
    with pytest.raises(DataError, match="no text to train on"):
        train(config)


def test_the_command_trains_and_tells(tmp_path: Path) -> None:
    """From a YAML file with overrides; `--json` gives what the model's file says."""
    path = tmp_path / "ngram.yaml"
    path.write_text(f"inputs: {json.dumps(corpus(tmp_path))}\noutput: {tmp_path / 'm.ngram'}\n")
    told = CliRunner().invoke(app, ["train-ngram", str(path), "min_trigram=1", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["settings"]["min_trigram"] == 1
    assert found["path"] == str(tmp_path / "m.ngram")
    lines = CliRunner().invoke(app, ["train-ngram", str(path)])
    assert "bits a unit on held-out documents" in lines.stdout


def test_the_shipped_file_loads() -> None:
    """`configs/ngram/` holds settings of this kind."""
    files = sorted((ROOT / "configs" / "ngram").glob("*.yaml"))
    assert files
    for path in files:
        assert load(NgramTraining, path).output


def test_shuffled_words_are_more_surprising_than_fluent_ones(shared: Path, tmp_path: Path) -> None:
    """Trained on novels and speeches, judged on film reviews: the area under the curve.

    Each review against itself with its words shuffled, and all against all.
    """
    seed = shared / "corpus_seed"
    made = train(
        NgramTraining(
            inputs=(str(seed / "speeches" / "*"), str(seed / "papers" / "*")),
            output=tmp_path / "m.ngram",
        )
    )
    parts = plan_parts([str(seed / "reviews" / "*")], part_bytes=1 << 30)
    batch = next(iter(read_part(parts[0], Fields(), [], BadRecords(), lambda _: None)))
    fluent = [text for text in batch.text.to_pylist() if text.strip()][:150]
    draw = random.Random(0)
    shuffled = [" ".join(draw.sample(text.split(), len(text.split()))) for text in fluent]
    model = read_model(made.path)
    scores = model.score(TextBatch.of([*fluent, *shuffled])).perplexity()
    good, bad = scores[: len(fluent)], scores[len(fluent) :]
    assert np.mean(bad > good) > 0.99
    assert np.mean(bad[:, None] > good[None, :]) > 0.9

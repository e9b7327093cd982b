"""Classifier: scores are the model's, units are cut out, and cards fill in what settings leave."""

import json
from pathlib import Path
from typing import Any

import pytest
from peers import needs
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters import Classifier, judge
from dolmix.filters.base import column_identity
from dolmix.text.edits import edited, read_edits
from dolmix.text.fasttext_prepare import PREPARATIONS

ENGLISH = "This page explains how the filter reads a document and what it does with the answer."
GERMAN = "Diese Seite erklärt, wie der Filter ein Dokument liest und was er damit macht."
TEXTS = [ENGLISH, GERMAN, f"{ENGLISH}\n\n{GERMAN}\n{GERMAN}", "", "\n \n"]


def asked(lid_model: Path, text: str) -> dict[str, float]:
    """Ask the package for all probabilities of a prepared text."""
    import fasttext

    model: Any = fasttext.FastText.load_model(str(lid_model))
    line = text.replace("\n", " ") + "\n"
    return {label[9:]: prob for prob, label in model.f.predict(line, -1, 0.0, "strict")}


@pytest.mark.parametrize("text", list(PREPARATIONS))
def test_the_score_is_the_labels_probability(lid_model: Path, text: str) -> None:
    """The sum over `labels` of what the package gives for the prepared text, within 1e-6."""
    filter_ = Classifier.model_validate({"model": lid_model, "labels": ["en", "de"], "text": text})
    columns = filter_.columns(TextBatch.of(TEXTS))
    for n, raw in enumerate(TEXTS):
        expected = asked(lid_model, PREPARATIONS[text](raw))
        assert columns["score"][n].as_py() == pytest.approx(
            expected.get("en", 0) + expected.get("de", 0), abs=2e-6
        )
        assert columns["label"][n].as_py() == max(expected, key=lambda label: expected[label])
    assert {name: c.type for name, c in columns.items()} == filter_.column_types()


def test_the_top_labels_probability_is_turned_round(lid_model: Path) -> None:
    """With `probability: top` the score is that of the first label, or what it leaves of 1."""
    filter_ = Classifier(model=lid_model, labels=("de",), probability="top")
    columns = filter_.columns(TextBatch.of(TEXTS[:2]))
    english = asked(lid_model, ENGLISH)["en"]
    assert columns["score"][0].as_py() == pytest.approx(1 - english, abs=1e-6)
    assert columns["score"][1].as_py() == pytest.approx(asked(lid_model, GERMAN)["de"], abs=1e-6)


def test_limits_are_kept_and_report_only_drops_nothing(lid_model: Path) -> None:
    """Below min_score and above max_score documents go; with report_only there is no rule."""
    texts = TextBatch.of(TEXTS[:2])
    low = Classifier(model=lid_model, labels=("en",), min_score=0.5, text="datatrove")
    assert judge(low, low.columns(texts), texts).to_pylist() == [None, "classifier.score_low"]
    high = low.model_copy(update={"min_score": None, "max_score": 0.5})
    assert judge(high, high.columns(texts), texts).to_pylist() == ["classifier.score_high", None]
    silent = low.model_copy(update={"report_only": True})
    assert list(silent.rules()) == []
    assert column_identity(low) == column_identity(high) == column_identity(silent)


@pytest.mark.parametrize(("worst", "setting"), [("low", "min_score"), ("high", "max_score")])
def test_a_share_becomes_a_limit(lid_model: Path, worst: Any, setting: str) -> None:
    """A run is asked for the limit, and the filter with that limit drops what is beyond it."""
    filter_ = Classifier(model=lid_model, labels=("en",), drop_worst_frac=0.5, worst=worst)
    (quantile,) = filter_.quantiles()
    assert (quantile.setting, quantile.column, quantile.worst) == (setting, "score", worst)
    texts = TextBatch.of(TEXTS[:2])
    columns = filter_.columns(texts)
    assert judge(filter_, columns, texts).null_count == 2
    limited = filter_.with_limits({setting: 0.5})
    assert judge(limited, columns, texts).null_count == 1


@pytest.mark.parametrize("unit", ["line", "paragraph"])
def test_units_beyond_a_limit_are_cut_out(lid_model: Path, unit: Any) -> None:
    """Every unit has the score that it would have as a document, and those below the limit go."""
    filter_ = Classifier(model=lid_model, labels=("en",), unit=unit, cut_below=0.5)
    texts = TextBatch.of([*TEXTS, f"{GERMAN}\n{ENGLISH}\n\n{ENGLISH}"])
    columns = filter_.columns(texts)
    after = edited(texts, read_edits(columns["edit"])).text.to_pylist()
    assert after[:3] == [ENGLISH, "", ENGLISH]
    assert columns["units"].to_pylist()[:5] == [1, 1, 3 if unit == "line" else 2, 0, 0]
    assert columns["units_removed"].to_pylist()[:5] == [0, 1, 2 if unit == "line" else 1, 0, 0]
    if unit == "line":
        assert after[5] == f"{ENGLISH}\n\n{ENGLISH}"
    alone = Classifier(model=lid_model, labels=("en",)).columns(texts)
    assert columns["score"][0] == alone["score"][0]
    assert columns["score"][3].as_py() is None
    share = columns["removed_frac"][2].as_py()
    sizes = [len(text.encode()) for text in (ENGLISH, GERMAN)]
    joint = 2 * sizes[1] + (unit == "paragraph")
    assert share == pytest.approx(joint / (joint + sizes[0]))
    assert {name: c.type for name, c in columns.items()} == filter_.column_types()


@pytest.mark.parametrize("sentences", ["spacy-en", "blingfire"])
def test_sentences_beyond_a_limit_are_cut_out(lid_model: Path, sentences: Any) -> None:
    """Each sentence has the score that it would have as a document; one gap goes with it."""
    needs(sentences.removesuffix("-en"))
    given = {"unit": "sentence", "sentences": sentences, "labels": ("de",), "cut_above": 0.4}
    filter_ = Classifier.model_validate({"model": lid_model, **given})
    first = f"{ENGLISH} {GERMAN}\n\n{ENGLISH}\n{GERMAN}"
    texts = TextBatch.of([*TEXTS, first, f"{GERMAN} {GERMAN} {ENGLISH}"])
    columns = filter_.columns(texts)
    after = edited(texts, read_edits(columns["edit"])).text.to_pylist()
    assert after[:2] == [ENGLISH, ""]
    assert after[-2:] == [f"{ENGLISH}\n\n{ENGLISH}", ENGLISH]
    assert columns["units"].to_pylist() == [1, 1, 3, 0, 0, 4, 3]
    assert columns["units_removed"].to_pylist() == [0, 1, 2, 0, 0, 2, 2]
    alone = Classifier(model=lid_model, labels=("de",)).columns(texts)
    assert columns["score"][:2] == alone["score"][:2]
    assert {name: c.type for name, c in columns.items()} == filter_.column_types()
    assert filter_.splitter == f"sentences: {sentences}"
    assert set(filter_.digests()) == {"model", "sentences"}


@pytest.mark.parametrize("unit", ["sentence", "line", "paragraph"])
def test_a_documents_score_is_that_of_its_units(lid_model: Path, unit: Any) -> None:
    """Mean by bytes, largest or smallest of what each unit has as a document; null of none."""
    needs("spacy")
    gap = "\n\n"
    texts = TextBatch.of([f"{ENGLISH}{gap}{GERMAN}{gap}{GERMAN}", ENGLISH, "", "\n \n"])
    given = {"model": lid_model, "labels": ("en",)}
    alone = Classifier.model_validate(given).columns(TextBatch.of([ENGLISH, GERMAN]))
    english, german = alone["score"].to_pylist()
    sizes = [len(text.encode()) for text in (ENGLISH, GERMAN)]
    mean = (sizes[0] * english + 2 * sizes[1] * german) / (sizes[0] + 2 * sizes[1])
    for wanted, score in {"mean": mean, "max": english, "min": german}.items():
        about = {**given, "unit": unit, "document_score": wanted}
        filter_ = Classifier.model_validate(about)
        found = filter_.columns(texts)["score"].to_pylist()
        assert found[0] == pytest.approx(score, abs=1e-12)
        assert found[1:] == [english, None, None]


def test_any_sentence_can_drop_its_document(lid_model: Path) -> None:
    """The largest score of a sentence against a limit: one is enough."""
    needs("spacy")
    about = {"unit": "sentence", "document_score": "max", "max_score": 0.4, "name": "toxic"}
    filter_ = Classifier.model_validate({"model": lid_model, "labels": ("de",), **about})
    texts = TextBatch.of([f"{ENGLISH} {ENGLISH}", f"{ENGLISH} {GERMAN} {ENGLISH}", ""])
    reasons = judge(filter_, filter_.columns(texts), texts)
    assert reasons.to_pylist() == [None, "toxic.score_high", None]
    other = filter_.model_copy(update={"document_score": "mean"})
    assert column_identity(other) != column_identity(filter_)


def test_a_card_fills_in_what_settings_leave_open(lid_model: Path, tmp_path: Path) -> None:
    """Label, preparation and worst end come from the card beside the model, if it is its card."""
    model = tmp_path / "mine.ftz"
    model.write_bytes(lid_model.read_bytes())
    filter_ = Classifier(model=model, drop_worst_frac=0.2)
    with pytest.raises(FilterError, match="has no card that says so"):
        filter_.digests()
    card = tmp_path / "mine.ftz.card.json"
    about = {"positive": "de", "text": "dolma", "worst": "high"}
    card.write_text(json.dumps({"digest": file_digest(model), "settings": about}))
    assert filter_.quantiles()[0].setting == "max_score"
    explicit = Classifier(model=model, labels=("de",), text="dolma")
    texts = TextBatch.of(TEXTS)
    assert filter_.columns(texts) == explicit.columns(texts)
    assert set(filter_.digests()) == {"model", "card"}
    assert set(explicit.digests()) == {"model"}
    card.write_text(json.dumps({"digest": "other", "settings": about}))
    with pytest.raises(FilterError, match="is the card of another model"):
        filter_.columns(texts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_score": 0.5, "drop_worst_frac": 0.1}, "either drop_worst_frac or min_score"),
        ({"cut_below": 0.5}, "are about units"),
        ({"unit": "line", "max_removed_frac": 0.5}, "needs cut_below or cut_above"),
        ({"document_score": "max"}, "document_score: max is about units"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    """Two limits, limits of units without units, a share of nothing."""
    with pytest.raises(ValidationError, match=message):
        Classifier.model_validate({"type": "classifier", "model": "m.bin", **settings})


def test_a_label_that_the_model_does_not_know_is_refused(lid_model: Path) -> None:
    """Its score would be 0 for every document without a word."""
    filter_ = Classifier(model=lid_model, labels=("hq",))
    with pytest.raises(FilterError, match=r"classifier\.labels names 'hq', but"):
        filter_.columns(TextBatch.of(["x"]))

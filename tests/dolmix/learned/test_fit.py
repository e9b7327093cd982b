"""Training a classifier: the same bytes every time, whatever memory held before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dolmix.errors import DataError, FilterError
from dolmix.learned.fit import FEWEST_ROWS, LABEL_PREFIX, Fitting, Scorer, fit

ROOT = Path(__file__).resolve().parents[3]
SMALL = Fitting(dim=8, buckets=FEWEST_ROWS, keep_features=512, epochs=2, min_count=1)
SELLING = ("buy a cheap {} now", "best price for {} and free delivery", "order {} today, big sale")
TELLING = ("the {} was seen by nobody", "they wrote about a {} in the war", "nobody knew the {}")
WORDS = [f"{a}{b}" for a in ("lamp", "chair", "river", "stone", "coat") for b in "abcdefghij"]
ROWS = [
    (label, text.format(word))
    for word in WORDS
    for label, texts in (("ad", SELLING), ("clean", TELLING))
    for text in texts
]
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
if sys.argv[3] == "dirty":
    junk = [np.full(50_000 + n, np.nan) for n in range(200)]
    del junk
from tests_fit_rows import ROWS, SMALL
from dolmix.learned.fit import fit
fit(ROWS, SMALL, Path(sys.argv[2]))
"""


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """One seed, one thread: one model, in one interpreter again and again."""
    for name in ("a", "b"):
        fit(ROWS, SMALL, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone can be told to zero new memory")
def test_what_memory_held_before_does_not_enter(tmp_path: Path) -> None:
    """FastText reads memory that it never wrote: a process full of junk trains the same model."""
    rows = f"from dolmix.learned.fit import Fitting\nROWS = {ROWS!r}\nSMALL = {SMALL!r}\n"
    (tmp_path / "tests_fit_rows.py").write_text(rows)
    (tmp_path / "one.py").write_text(SCRIPT)
    for state in ("clean", "dirty"):
        command = [sys.executable, str(tmp_path / "one.py"), "-", str(tmp_path / state), state]
        junk = {"MALLOC_PERTURB_": "170"} if state == "dirty" else {}
        path = f"{ROOT}{os.pathsep}{tmp_path}"
        subprocess.run(command, env={**os.environ, **junk, "PYTHONPATH": path}, check=True)
    assert (tmp_path / "clean").read_bytes() == (tmp_path / "dirty").read_bytes()


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    """The seed enters."""
    fit(ROWS, SMALL, tmp_path / "a")
    fit(ROWS, SMALL.model_copy(update={"seed": 2}), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_a_trained_model_tells_the_labels_apart(tmp_path: Path) -> None:
    """Texts with unseen words in seen phrases get the label of the phrases."""
    fit(ROWS, SMALL.model_copy(update={"epochs": 20}), tmp_path / "m.ftz")
    scorer = Scorer(tmp_path / "m.ftz", "ad")
    assert set(scorer.labels) == {"ad", "clean"}
    scores = scorer.scores([t.format("zither") for t in (*SELLING, *TELLING)])
    assert (scores[:3] > 0.5).all()
    assert (scores[3:] < 0.5).all()


def test_scores_take_any_text(tmp_path: Path) -> None:
    """Empty texts, line ends, NUL and lone surrogates get a score, not an error."""
    fit(ROWS, SMALL, tmp_path / "m.ftz")
    scores = Scorer(tmp_path / "m.ftz", "ad").scores(
        ["", "\n", "a\nb", "a\0b", "\u3000", LABEL_PREFIX]
    )
    assert ((scores >= 0) & (scores <= 1)).all()


def test_one_label_is_refused(tmp_path: Path) -> None:
    """A classifier needs a choice; the message says which labels there are, nothing is written."""
    with pytest.raises(DataError, match=r"two labels or more; these have \['ad'\]"):
        fit([("ad", "x y z")] * 9, SMALL, tmp_path / "m.ftz")
    assert not list(tmp_path.iterdir())


def test_a_label_in_two_words_is_refused(tmp_path: Path) -> None:
    """FastText would take the second word as text."""
    with pytest.raises(DataError, match="one word without spaces; this one is 'no ad'"):
        fit([("no ad", "x")], SMALL, tmp_path / "m.ftz")


def test_a_text_cannot_smuggle_in_a_label(tmp_path: Path) -> None:
    """`__label__x` inside a text is text: the model has the labels of the rows alone."""
    fit([*ROWS, ("ad", f"buy {LABEL_PREFIX}evil now")], SMALL, tmp_path / "m.ftz")
    assert set(Scorer(tmp_path / "m.ftz", "ad").labels) == {"ad", "clean"}


def test_unknown_labels_and_files_are_named(tmp_path: Path) -> None:
    """What is missing is said, with what there is."""
    fit(ROWS, SMALL, tmp_path / "m.ftz")
    with pytest.raises(FilterError, match="no label 'good'; its labels are"):
        Scorer(tmp_path / "m.ftz", "good")
    with pytest.raises(FilterError, match="there is no model"):
        Scorer(tmp_path / "none.ftz", "ad")
    (tmp_path / "text").write_text("no model")
    with pytest.raises(FilterError, match="is no fastText model"):
        Scorer(tmp_path / "text", "ad")

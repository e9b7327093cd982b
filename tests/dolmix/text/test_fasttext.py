"""Compiled fastText: every kind of model, held against the package and against plain Python."""

import logging
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pytest
from fasttext_models import KINDS, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_fasttext import hashed, rows, softmax, tokens, tree

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.text import fasttext_scorer
from dolmix.text.fasttext_kernel import END_HASH
from dolmix.text.fasttext_model import read_model
from dolmix.text.fasttext_prepare import PREPARATIONS, prepared
from dolmix.text.fasttext_scorer import FastText, spans_of
from dolmix.text.fasttext_stretch import CHARACTERS
from dolmix.text.fasttext_tree import build_tree
from dolmix.text.fasttext_words import hash_bytes

PIECES = [
    *("das ", "ist", "words ", "larger", " than", "\n", "\t", "\x00", "\x0b", "\u2028", "\u3000"),
    *(
        "</s>",
        " </s> ",
        "__label__en",
        " __label__zz ",
        "это ",
        "ещё",
        "это大",
        "简短的句子",
        "😀",
        "é",
    ),
    *(
        "x" * 45,
        "长" * 30,
        " ",
        "İ",
        "ΣΑΣ",
        "ß",
        "Ⅷ",
        "\x1f",
        "\x85",
        "\uff21",
        "<",
        ">",
        "number7 of ",
    ),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
TEXT = st.one_of(TEXTS, st.text(max_size=30))


@pytest.fixture(scope="module", params=list(KINDS))
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train one model a kind."""
    return trained(request.param, tmp_path_factory.mktemp("models"))


def package_answers(path: Path, texts: list[str], most: int) -> list[dict[str, float]]:
    """Ask the package: probability by label, best first."""
    model: Any = fasttext.FastText.load_model(str(path))
    lines = [text.replace("\n", " ") + "\n" for text in texts]
    return [{label: p for p, label in model.f.predict(line, most, 0.0, "strict")} for line in lines]


@settings(max_examples=15)
@given(texts=st.lists(TEXT, min_size=1, max_size=12))
def test_every_kind_of_model_answers_as_the_package_does(
    model_path: Path, texts: list[str]
) -> None:
    """The same labels in the same order, each probability within 1e-6, for K = 1, 3 and all."""
    model = fasttext_scorer.open_model(str(model_path))
    assert model._package is None
    for most in (1, 3, len(model.labels)):
        found = model.ask(spans_of(TextBatch.of(texts)), text="datatrove", most=most)
        for n, expected in enumerate(package_answers(model_path, texts, most)):
            labels = [model.labels[i] for i in found.labels[n] if i >= 0]
            assert labels == [label.removeprefix("__label__") for label in expected]
            assert found.probs[n, : len(labels)] == pytest.approx(list(expected.values()), abs=1e-6)


def test_labels_that_are_asked_for_have_their_probability(model_path: Path) -> None:
    """A wanted label's probability is the one among all; 0 where a tree left it out."""
    model = fasttext_scorer.open_model(str(model_path))
    texts = ["das ist words", "", "это 简短的句子", "zzz"]
    wanted = model.places(("en", "ru"), setting="labels")
    found = model.ask(spans_of(TextBatch.of(texts)), text="datatrove", wanted=wanted)
    for n, expected in enumerate(package_answers(model_path, texts, -1)):
        both = [expected.get(f"__label__{label}", 0.0) for label in ("en", "ru")]
        assert found.wanted[n].tolist() == pytest.approx(both, abs=1e-6)


def test_codes_that_stay_codes_answer_alike(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quantised matrix that is too large to expand is added piece by piece, to the last bit."""
    spans = spans_of(TextBatch.of(["das ist words", "это 大 简短的句子 larger than", ""]))
    first = FastText(model_path).ask(spans, text="datatrove", most=2)
    monkeypatch.setattr("dolmix.text.fasttext_model.EXPAND_BYTES", -1)
    again = FastText(model_path).ask(spans, text="datatrove", most=2)
    assert (first.labels == again.labels).all()
    assert (first.probs == again.probs).all()


@settings(max_examples=15)
@given(text=TEXTS)
def test_the_kernel_equals_its_naive_twin(text: str, tmp_path_factory: Any) -> None:
    """Tokens, subwords, word n-grams and sums of a dense model are those of plain Python."""
    folder = tmp_path_factory.getbasetemp() / "naive"
    path = folder / "ova.bin"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        trained("softmax", folder)
        (folder / "softmax.bin").rename(path)
    tables = read_model(path).tables
    words, file = tables.words, tables.words.file.tobytes()
    spans = zip(words.starts, words.sizes, strict=True)
    entries = {file[start : start + size]: n for n, (start, size) in enumerate(spans)}
    num_words, _, bucket, least, most, ngrams = tables.shape[:6].tolist()
    about = {"words": entries, "num_words": num_words, "bucket": bucket, "kept": None}
    about |= {"least": least, "most": most, "word_ngrams": ngrams}
    asked = rows(text, about)
    expected = softmax(tables.rows[asked], tables.outputs.T)
    model = fasttext_scorer.open_model(str(path))
    found = model.ask(
        spans_of(TextBatch.of([text])), text="datatrove", wanted=np.arange(len(model.labels))
    )
    assert found.wanted[0].tolist() == pytest.approx(expected, abs=1e-6)


@given(text=TEXT)
def test_each_preparation_is_the_one_that_python_says(text: str) -> None:
    """The prepared bytes have the tokens of the prepared string; sigmas are left to Python."""
    batch = TextBatch.of(["before \u2028", text, ""])
    for name, prepare in PREPARATIONS.items():
        ready, left = prepared(spans_of(batch), name)
        mine = ready.utf8[ready.starts[1] : ready.stops[1]].tobytes().decode()
        if left[1]:
            assert "Σ" in text
            assert mine == ""
        else:
            assert tokens(mine) == tokens(prepare(text))


def test_a_sigma_is_lowered_by_its_neighbours(lid_model: Path) -> None:
    """Texts that the kernel leaves to Python get their answers all the same, in their places."""
    model = fasttext_scorer.open_model(str(lid_model.resolve()))
    texts = ["ΣΑΣ ΠΔΥΣΣΓΥΣ ΣΓΙΡΣ", "plain English words", "ΣΑΣ"]
    found = model.ask(spans_of(TextBatch.of(texts)), text="dolma", most=2)
    lowered = TextBatch.of([PREPARATIONS["dolma"](text) for text in texts])
    again = model.ask(spans_of(lowered), text="datatrove", most=2)
    assert (found.labels == again.labels).all()
    assert (found.probs == again.probs).all()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_the_tree_is_fasttexts(counts: list[int]) -> None:
    """Children of every inner node, ties included."""
    counts.sort(reverse=True)
    built = build_tree(np.array(counts, np.int64))
    pairs = list(zip(built.left.tolist(), built.right.tolist(), strict=True))
    assert pairs == [(-1, -1)] * len(counts) + tree(counts)


@given(st.binary(max_size=20))
def test_hashes_are_of_signed_bytes(word: bytes) -> None:
    """FNV-1a with bytes above 127 as negative numbers; `</s>` has the constant."""
    assert hash_bytes(np.frombuffer(word, np.uint8), 0, len(word)) == hashed(word)
    assert hashed(b"</s>") == END_HASH


@pytest.mark.parametrize("letter", ["a", "ö", "长", "😀"])
def test_words_and_texts_of_any_length(model_path: Path, letter: str) -> None:
    """Words that end before, at and behind the end of a stretch, or fill some, alone and mixed."""
    model = fasttext_scorer.open_model(str(model_path))
    sizes = [*range(CHARACTERS - 8, CHARACTERS + 3), 2 * CHARACTERS - 5, 3 * CHARACTERS + 1]
    runs = ["".join(chr(ord(letter) + n % 5) for n in range(size)) for size in sizes]
    texts = runs + [f"das {run} ist <{run}> words {run[:70]}" for run in runs]
    texts += [("das ist " * 200)[: CHARACTERS - n] + " " + runs[0] for n in range(6)]
    found = model.ask(spans_of(TextBatch.of(texts)), text="datatrove")
    for n, expected in enumerate(package_answers(model_path, texts, 1)):
        ((label, prob),) = expected.items()
        assert model.labels[found.labels[n, 0]] == label.removeprefix("__label__")
        assert found.probs[n, 0] == pytest.approx(prob, abs=1e-6)


def test_labels_with_a_prefix_of_their_own(tmp_path: Path) -> None:
    """Their words count for nothing in a text, though they do not start with `__label__`."""
    path = trained("own labels", tmp_path)
    model = FastText(path)
    assert model._package is None
    texts = ["das @en ist", "das ist", "@en", "@zz words", "das __label__en ist"]
    found = model.ask(spans_of(TextBatch.of(texts)), text="datatrove")
    expected = [next(iter(a.items())) for a in package_answers(path, texts, 1)]
    assert [model.labels[n] for n in found.labels[:, 0]] == [label for label, _ in expected]
    assert found.probs[:, 0] == pytest.approx([prob for _, prob in expected], abs=1e-6)
    assert found.probs[0, 0] == found.probs[1, 0]


def test_two_threads_get_the_answers_of_one(lid_model: Path) -> None:
    """One model, asked by two threads at the same time, says what it says to one."""
    model = fasttext_scorer.open_model(str(lid_model.resolve()))
    texts = [f"{piece} number{n} words larger than" for n in range(300) for piece in PIECES]
    batches = [spans_of(TextBatch.of(texts[n::4])) for n in range(4)]
    alone = [model.ask(batch, text="dolma", most=2) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda batch: model.ask(batch, text="dolma", most=2), batches * 3))
    for one, other in zip(alone * 3, both, strict=True):
        assert (one.labels == other.labels).all()
        assert (one.probs == other.probs).all()


def test_a_damaged_file_is_refused(model_path: Path, tmp_path: Path) -> None:
    """Cut anywhere, or with a wrong number in its head, a model is refused or read; no more."""
    data = model_path.read_bytes()
    copy = tmp_path / "copy.bin"
    for size in [0, 3, 8, 40, 63, 64, 90, 100, 200, len(data) // 2, len(data) - 1]:
        copy.write_bytes(data[:size])
        with pytest.raises(FilterError, match=r"copy\.bin is no fastText model"):
            read_model(copy)
    for at in [0, 4, 8, 28, 32, 36, 40, 44, 64, 68, 72, 76]:
        for value in (-1, 2**31 - 1):
            copy.write_bytes(data[:at] + struct.pack("<i", value) + data[at + 4 :])
            try:
                read_model(copy)
            except FilterError:
                continue
            assert at in (28, 40, 44, 76)  # n-grams that it has none of, and its tokens


def test_where_the_package_disagrees_it_answers(
    lid_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel that says something else is not believed, and the log says so."""
    monkeypatch.setattr(fasttext_scorer, "CLOSE", -1.0)
    with caplog.at_level(logging.WARNING):
        slow = FastText(lid_model)
    assert "the package answers" in caplog.text
    spans = spans_of(TextBatch.of(["plain English words", "", "Ein deutscher Satz"]))
    wanted = slow.places(("de",), setting="labels")
    mine = slow.ask(spans, text="dolma", most=2, wanted=wanted)
    monkeypatch.undo()
    fast = FastText(lid_model).ask(spans, text="dolma", most=2, wanted=wanted)
    assert (mine.labels == fast.labels).all()
    assert np.abs(mine.probs - fast.probs).max() <= 1e-6
    assert np.abs(mine.wanted - fast.wanted).max() <= 1e-6

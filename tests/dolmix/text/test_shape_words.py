"""Shape words: the kernel and its twin say the same of any text, in any script."""

import random

import naive_shapes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.text.fasttext_prepare import PREPARATIONS, prepared
from dolmix.text.fasttext_scorer import spans_of
from dolmix.text.shape_edges import EDGES
from dolmix.text.shape_ratios import FEATURES
from dolmix.text.shape_words import shape_words

PIECES = (
    *("The", "river", "rose", "to", "it", "a", "I", "of", "strength", "rhythms", "aaargh", "x9"),
    *(
        "iPhone",
        "don't",
        "U.S.",
        "end.",
        'said."',
        "why?",
        "(yes)",
        "one,",
        "--",
        "|",
        "#1",
        "\u00e9t\u00e9",
    ),
    *(
        "\u041e\u043d\u0430",
        "\u0434\u043e\u043c.",
        "\u03a3\u0391\u03a3",
        "\u0939\u093f\u0928\u094d\u0926\u0940\u0964",
        "\u0643\u062a\u0627\u0628\u061f",
        "\u653f\u5e9c\u3002",
        "\u304b\u306a\uff0c",
        "\u0130stanbul",
        "c\u0430t",
    ),
)
"""Words with every oddity, of seven scripts."""
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(TEXTS, st.text(st.characters(exclude_categories=["Cs"]), max_size=60)))
def test_shape_words_are_those_of_the_naive_twin(text: str) -> None:
    """Any text: words of seven scripts, or any characters."""
    assert shape_words(text) == naive_shapes.shape_words(text, EDGES)


@pytest.mark.parametrize("count", [1, 127, 191, 192, 193, 500])
def test_long_texts_are_cut_into_windows(count: int) -> None:
    """One window up to 191 words, then as many as fit, all about as long; the twin agrees."""
    rng = random.Random(count)
    text = " ".join(rng.choices(PIECES[:24], k=count))
    made = shape_words(text)
    assert made == naive_shapes.shape_words(text, EDGES)
    assert made.count("\ue000") == 2 * max(1, (count + 64) // 128)


def test_texts_of_a_batch_do_not_touch_each_other() -> None:
    """Each text of a batch has the words that it has alone, empty ones and Greek ones too."""
    texts = [
        "",
        " \n",
        "A word. And more!",
        "\u03a3\u0391\u03a3 is left to Python",
        "\u653f\u5e9c",
        "x " * 400,
    ]
    made, left = prepared(spans_of(TextBatch.of(texts)), "shaped")
    assert np.flatnonzero(left).tolist() == [3]
    for n, text in enumerate(texts):
        mine = made.utf8[made.starts[n] : made.stops[n]].tobytes().decode()
        assert mine.split() == ([] if left[n] else PREPARATIONS["shaped"](text).split())


def test_shapes_know_no_words() -> None:
    """Where consonants change places all through a text, its shape words stay as they were."""
    text = "He saw the river rise, and she did not. They ran home, past the old mill."
    other = text.translate(str.maketrans("svtrwnhSVTRWNH", "hsvtrwnHSVTRWN"))
    assert other != text
    assert shape_words(other) == shape_words(text)
    assert shape_words(" ".join(sorted(text.split()))) != shape_words(text)


def test_edges_are_in_order() -> None:
    """Every ratio has edges that rise, and no more of them than there are letters."""
    assert len(EDGES) == FEATURES
    assert all(list(some) == sorted(set(some)) for some in EDGES)
    assert max(map(len, EDGES)) < 26

"""Reading texts in units by threads: results in order, errors as they are, early ends."""

from collections import Counter
from collections.abc import Iterator
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.errors import DataError
from dolmix.report import frequent
from dolmix.report.progress import Progress
from dolmix.report.texts import Measured, Unit, in_order, measure_texts

QUIET = Progress(quiet=True)


def unit(texts: list[str], reads: list[int] | None = None) -> Unit:
    """Give what reads some texts, two a batch; note each reading."""

    def read() -> Iterator[TextBatch]:
        if reads is not None:
            reads.append(len(texts))
        for start in range(0, len(texts), 2):
            yield TextBatch.of(texts[start : start + 2])

    return read


def measured(units: list[Unit], workers: int = 1) -> Measured:
    """Measure texts, n-grams of up to two words."""
    return measure_texts(units, 2, 3, workers=workers, progress=QUIET)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.text(alphabet="ab é\n日", max_size=12), max_size=4), max_size=4),
    st.sampled_from([1, 3]),
)
def test_texts_are_measured_as_python_does(units: list[list[str]], workers: int) -> None:
    """Characters, words, lines and n-grams, empty texts and empty units among them."""
    texts = [text for some in units for text in some]
    found = measured([unit(some) for some in units], workers)
    assert (found.documents, found.num_bytes, found.characters, found.words, found.lines) == (
        len(texts),
        sum(len(text.encode()) for text in texts),
        sum(map(len, texts)),
        sum(len(text.split()) for text in texts),
        sum(len(StringIO(text, newline="\n").readlines()) for text in texts),
    )
    words = Counter(word for text in texts for word in text.split())
    assert dict(found.ngrams[0].ngrams).items() <= words.items()
    assert [count for _, count in found.ngrams[0].ngrams] == [c for _, c in words.most_common(3)]


def test_the_second_reading_ends_where_all_is_known() -> None:
    """Counts that need no second look cost none: only units with unnamed n-grams are read again."""
    reads: list[int] = []
    found = measured([unit(["a a b"], reads), unit(["a c", "b b"], reads), unit(["a"], reads)])
    assert len(reads) == 3 + 2
    assert found.ngrams[0].ngrams == (("a", 4), ("b", 3), ("c", 1))


def test_estimated_counts_are_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tables that are too small every unit is read twice, and listed counts are exact."""
    monkeypatch.setattr(frequent.Table.__init__, "__defaults__", (8,))
    reads: list[int] = []
    texts = [" ".join(f"w{n % 11}" for n in range(start, 60)) for start in range(4)]
    found = measured([unit([text], reads) for text in texts])
    assert len(reads) == 8
    words = Counter(word for text in texts for word in text.split())
    assert all(words[text] == count for text, count in found.ngrams[0].ngrams)
    assert found.ngrams[0].elsewhere > 0
    assert found.ngrams[0].distinct is None


@pytest.mark.parametrize("workers", [1, 4])
def test_results_come_in_order_and_errors_as_they_are(workers: int) -> None:
    """Whichever thread is done first; the error of an item is raised at its place."""
    assert list(in_order(lambda n: n * n, range(50), workers)) == [n * n for n in range(50)]

    def fails(n: int) -> int:
        if n == 3:
            raise DataError("bad input")
        return n

    results = in_order(fails, range(50), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="bad input"):
        next(results)

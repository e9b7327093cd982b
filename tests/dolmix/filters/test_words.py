"""Words of lists: what is a word, which count in which language, what follows."""

import gzip
import unicodedata
from pathlib import Path
from typing import Any

import naive_words
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import judge
from dolmix.filters.base import column_identity
from dolmix.filters.words import ListedWords
from dolmix.text.edits import edited, read_edits
from dolmix.text.listed_words import entry_table, find_listed

PIECES = [*"aBbéñn中文किไทİ", "ab", "e\u0301", "\u00ad"]
GAPS = [" ", "-", "\n", "\n\n", "_", "\u2028", ", ", "\t\n "]
TEXTS = st.lists(st.sampled_from(PIECES + GAPS), max_size=40).map("".join)
ENTRIES = st.lists(
    st.lists(st.sampled_from([*PIECES, " ", "-"]), min_size=1, max_size=5).map("".join), max_size=6
)


def lists_in(folder: Path, **lists: str) -> list[Path]:
    """Write lists, a file each, named as given."""
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return [folder / f"{name}.txt" for name in lists]


def measured(filter_: ListedWords, texts: list[str], **fields: list[str | None]) -> dict[str, Any]:
    """Columns of some texts, plain."""
    found = filter_.columns(TextBatch.of(texts, fields=fields))
    return {name: values.to_pylist() for name, values in found.items()}


@settings(deadline=None, max_examples=200)
@given(st.lists(TEXTS, max_size=4), ENTRIES, ENTRIES)
def test_counts_are_those_of_the_plain_twin(
    texts: list[str], first: list[str], second: list[str]
) -> None:
    """Words, matches, different ones, words in them, lines, and the first match's list."""
    lists = {"x": first, "y": second}
    table = entry_table([(e, 1) for e in first] + [(e, 2) for e in second])
    found = find_listed(TextBatch.of(texts), table, np.full(len(texts), 3, np.uint64))
    for row, text in enumerate(texts):
        told = naive_words.measure(text, lists)
        words, matches, distinct, matched, bits = found.counts[row].tolist()
        assert (words, matches, distinct) == (
            told["word_count"],
            told["matches"],
            told["distinct"],
        )
        assert (matched / words if words else 0.0) == told["frac"]
        hits = found.hits[found.ends[row] : found.ends[row + 1]]
        assert (len(hits), np.count_nonzero(hits)) == (told["lines_total"], told["lines_listed"])
        assert {0: None, 1: "x", 2: "y", 3: "x"}[bits] == told["list"]


@settings(deadline=None, max_examples=100)
@given(st.lists(TEXTS, max_size=4))
def test_lines_with_a_listed_word_go(tmp_path_factory: Any, texts: list[str]) -> None:
    """Of the lines that are not blank those without a match stay, as they were, in their order."""
    folder = tmp_path_factory.mktemp("lists")
    filter_ = ListedWords(lists=lists_in(folder, en="b\nñ\n"), cut_lines=True)
    batch = TextBatch.of(texts)
    columns = filter_.columns(batch)
    after = edited(batch, read_edits(columns["edit"])).text.to_pylist()
    for text, left in zip(texts, after, strict=True):
        expected = naive_words.measure(text, {"en": ["b", "ñ"]})["left"]
        assert [line for line in left.split("\n") if line.strip()] == expected


def test_a_word_is_a_whole_one_in_any_case(tmp_path: Path) -> None:
    """Case, soft hyphens and Unicode forms make no difference; accents and letters around do."""
    (path,) = lists_in(tmp_path, es="# of cones\nCoño\nfoo bar\nfoo\n中文\n")
    filter_ = ListedWords(lists=[path], max_matches=0)
    texts = {
        "el COÑO!": 1,
        unicodedata.normalize("NFD", "coño"): 1,
        "co\u00adño": 1,
        "el cono, coños": 0,
        "foo-BAR foo": 2,
        "foo\nbar": 1,
        "food": 0,
        "在中文里": 1,
        "of cones": 0,
    }
    assert measured(filter_, list(texts))["matches"] == list(texts.values())
    assert measured(filter_, ["foo bar foo foo"])["distinct"] == [2]
    assert measured(filter_, ["foo bar foo x"])["frac"] == [0.75]


def test_a_language_has_its_own_list(tmp_path: Path) -> None:
    """The list of a document's language counts, `any` always; without either nothing is known."""
    given_ = lists_in(tmp_path, en="gift\n", de="gift\nnot\n", any="zzz\n")
    languages = ['"en"', '"de"', '"en-GB"', '"fr"', None, "7"]
    texts = ["gift not zzz"] * len(languages)
    filter_ = ListedWords(lists=given_, language_field="lang", max_matches=0)
    found = measured(filter_, texts, lang=languages)
    assert found["matches"] == [2, 3, 2, 1, 1, 1]
    assert found["list"] == ["en", "de", "en", "any", "any", "any"]
    without = ListedWords(lists=given_[:2], language_field="lang", max_matches=0, cut_lines=True)
    found = measured(without, texts, lang=languages)
    assert found["matches"] == [1, 2, 1, None, None, None]
    assert found["edit"][3:] == [None] * 3
    for on_missing, last in (("keep", None), ("drop", "words.matches_missing")):
        filter_ = without.model_copy(update={"on_missing": on_missing})
        batch = TextBatch.of(texts, fields={"lang": languages})
        reasons = judge(filter_, filter_.columns(batch), batch).to_pylist()
        assert reasons == ["words.matches"] * 3 + [last] * 3


def test_each_limit_drops_beyond_it(tmp_path: Path) -> None:
    """One document at each limit stays, the next goes; the first rule that fires is the reason."""
    (path,) = lists_in(tmp_path, en="bad\nworse\n")
    texts = ["bad one\ntwo\nthree four", "bad bad\ntwo\nthree four", "bad worse\nbad\nthree four"]
    limits = {"max_matches": 1, "max_distinct": 1, "max_frac": 0.4, "max_line_frac": 0.5}
    reasons = {
        "max_matches": [None, "words.matches", "words.matches"],
        "max_distinct": [None, None, "words.distinct"],
        "max_frac": [None, None, "words.frac"],
        "max_line_frac": [None, None, "words.line_frac"],
    }
    for setting, limit in limits.items():
        filter_ = ListedWords.model_validate({"lists": [path], setting: limit})
        batch = TextBatch.of(texts)
        judged = judge(filter_, filter_.columns(batch), batch).to_pylist()
        assert judged == reasons[setting], setting


def test_lists_count_by_content_and_name(tmp_path: Path) -> None:
    """The same list elsewhere gives the same key, packed or not the same finds; a word more not."""
    (tmp_path / "other").mkdir()
    (here,) = lists_in(tmp_path, en="bad\n")
    (there,) = lists_in(tmp_path / "other", en="bad\n")
    filters = [ListedWords(lists=[path], max_matches=0) for path in (here, there)]
    assert column_identity(filters[0]) == column_identity(filters[1])
    (tmp_path / "en.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfbad\r\n"))
    packed = ListedWords(lists=[tmp_path / "en.txt.gz"], max_matches=0)
    assert measured(packed, ["so bad"]) == measured(filters[0], ["so bad"])
    there.write_text("bad\nworse\n")
    assert column_identity(filters[0]) != column_identity(filters[1])


def test_a_list_that_is_none_is_an_error_and_lost_entries_are_told(tmp_path: Path) -> None:
    """Missing, empty, not UTF-8: with the path and what a list is; no rule: what to set."""
    filter_ = ListedWords(lists=[tmp_path / "en.txt"], max_matches=0)
    with pytest.raises(FilterError, match=r"words\.lists: there is no file .*en\.txt"):
        filter_.digests()
    (tmp_path / "en.txt").write_text("# nothing\n\n")
    with pytest.raises(FilterError, match="has no words"):
        filter_.columns(TextBatch.of(["x"]))
    (tmp_path / "de.txt").write_bytes(b"\xff\n")
    with pytest.raises(FilterError, match="is no UTF-8 text"):
        ListedWords(lists=[tmp_path / "de.txt"], max_matches=0).columns(TextBatch.of(["x"]))
    with pytest.raises(ValidationError, match="cut_lines is False and no limit is given"):
        ListedWords(lists=[tmp_path / "en.txt"])
    (tmp_path / "fr.txt").write_text("\U0001f595\nmot\n")
    (said,) = ListedWords(lists=[tmp_path / "fr.txt"], max_matches=0).remarks()
    assert said.startswith("1 of 2 entries have no letter or digit")
    empty = ListedWords(lists=[tmp_path / "fr.txt"], max_matches=0).columns(TextBatch.of([]))
    assert empty["matches"] == pa.array([], pa.int64())

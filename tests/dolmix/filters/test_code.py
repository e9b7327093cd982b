"""Stars and word shares: which values are counts, where they come from, what odd ones mean."""

import gzip
import json
from pathlib import Path
from typing import Any

import naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import Stars, WordShare, judge
from dolmix.filters.code import star_count

ODD = [-1, 2.5, "n/a", "", "-1", "seven", "NaN", "true", True, False, [7], {"a": 7}, 1e300, 2**63]


def batch(stars: list[Any], repos: list[Any] | None = None) -> TextBatch:
    """Documents with these star values; None is a record without the field."""
    as_json = [None if s is None else json.dumps(s) for s in stars]
    names = [None if r is None else json.dumps(r) for r in repos or [None] * len(stars)]
    fields = {"metadata.stars": as_json, "metadata.repo": names}
    return TextBatch.of(["x"] * len(stars), fields=fields)


def counts(filter_: Stars, texts: TextBatch) -> list[int | None]:
    """Give the star column as a list."""
    found: list[int | None] = filter_.columns(texts)["stars"].to_pylist()
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a table of three repositories, gzipped, one of them odd."""
    path = tmp_path / "stars.csv.gz"
    rows = "repo,stars,source\nOwner/Name,12,a list\nowner/few,1,a list\nowner/odd,n/a,a list\n"
    path.write_bytes(gzip.compress(rows.encode()))
    return path


@pytest.mark.parametrize(
    ("value", "stars"),
    [(7, 7), ("7", 7), (3.0, 3), ("3.0", 3), (0, 0), (1e3, 1000), (2**63 - 1, 2**63 - 1)],
)
def test_whole_numbers_count_however_they_are_written(value: object, stars: int) -> None:
    """Numbers, numbers as text, and floats without a fraction are star counts."""
    assert star_count(value) == stars
    assert counts(Stars(), batch([value])) == [stars]


@pytest.mark.parametrize("odd", ODD)
def test_odd_values_are_missing_or_fail(odd: object) -> None:
    """What is no whole number from 0 is as good as none, or an error that shows the value."""
    assert counts(Stars(), batch([odd])) == [None]
    with pytest.raises(FilterError, match=r"metadata\.stars holds .* which is no star count"):
        counts(Stars(on_odd="fail"), batch([5, odd]))


def test_nan_and_deep_nesting_are_odd() -> None:
    """Field texts that strict JSON refuses are odd values, not crashes."""
    texts = TextBatch.of(["x"] * 2, fields={"metadata.stars": ["NaN", "[" * 5000 + "]" * 5000]})
    assert counts(Stars(), texts) == [None, None]


def test_null_is_missing_and_never_odd() -> None:
    """A record without the field, or with JSON null, has no value to object to."""
    texts = TextBatch.of(["x"] * 2, fields={"metadata.stars": [None, "null"]})
    assert counts(Stars(on_odd="fail"), texts) == [None, None]


@pytest.mark.parametrize(
    ("on_missing", "expected"),
    [
        ("drop", ["stars.stars", None, "stars.stars_missing"]),
        ("keep", ["stars.stars", None, None]),
    ],
)
def test_few_stars_and_missing_stars_have_reasons_of_their_own(
    on_missing: str, expected: list[str | None]
) -> None:
    """1 star is below 2; no count follows `on_missing`."""
    filter_ = Stars(on_missing=on_missing)  # type: ignore[arg-type]
    assert judge(filter_, filter_.columns(batch([1, 2, None]))).to_pylist() == expected


def test_zero_is_a_threshold_and_null_is_off() -> None:
    """With min_stars 0 a missing count still follows `on_missing`; with null nothing is asked."""
    columns = Stars().columns(batch([0, None]))
    assert judge(Stars(min_stars=0), columns).to_pylist() == [None, "stars.stars_missing"]
    assert judge(Stars(min_stars=None), columns).to_pylist() == [None, None]


def test_the_table_answers_where_the_field_does_not(table: Path) -> None:
    """The field comes first, odd values fall through, case of repository names does not matter."""
    repos = ["owner/name", "OWNER/NAME", "owner/few", "owner/odd", "owner/none", None, 7]
    stars = [3, "n/a", None, None, None, None, None]
    filter_ = Stars(table=table)
    assert filter_.fields() == ("metadata.stars", "metadata.repo")
    assert counts(filter_, batch(stars, repos)) == [3, 12, 1, None, None, None, None]
    assert Stars().fields() == ("metadata.stars",)


def test_an_odd_table_entry_fails_when_told_so(table: Path) -> None:
    """The error names the table and the repository."""
    with pytest.raises(FilterError, match=r"stars\.csv\.gz for owner/odd holds 'n/a'"):
        counts(Stars(table=table, on_odd="fail"), batch([None], ["owner/odd"]))


def test_a_table_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    """A missing file, wrong columns and a damaged archive each say what is wrong."""
    with pytest.raises(FilterError, match=r"stars\.table: there is no file"):
        Stars(table=tmp_path / "none.csv").digests()
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("name,count\na/b,3\n")
    with pytest.raises(FilterError, match=r"has no column repo and no stars; it has name, count"):
        counts(Stars(table=wrong), batch([None], ["a/b"]))
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(gzip.compress(b"repo,stars\na/b,3\n" * 99)[:40])
    with pytest.raises(FilterError, match="cannot be read"):
        counts(Stars(table=damaged), batch([None], ["a/b"]))


def test_a_table_is_part_of_the_task_key(table: Path) -> None:
    """Another table is another digest."""
    before = Stars(table=table).digests()
    table.write_bytes(gzip.compress(b"repo,stars\n"))
    assert Stars(table=table).digests() != before
    assert Stars().digests() == {}


@pytest.mark.corpus
def test_the_real_star_table_is_read(shared: Path) -> None:
    """Every entry of the real table is a star count, and a repository of the corpus is found."""
    table = shared / "stars" / "repo_stars.csv.gz"
    filter_ = Stars(table=table, on_odd="fail")
    names = [r.split(",")[0] for r in gzip.decompress(table.read_bytes()).decode().splitlines()[1:]]
    found = counts(filter_, batch([None] * len(names), names))
    assert len(names) > 1000
    assert None not in found


@given(st.lists(st.lists(st.sampled_from(["a ", "b\n", "c ", "dd "]), max_size=30).map("".join)))
def test_word_shares_equal_the_plain_definition(texts: list[str]) -> None:
    """Shares go by occurrences among whitespace words; 0.0 without words."""
    columns = WordShare().columns(TextBatch.of(texts))
    expected = [
        (first / max(len(words), 1), (first + second) / max(len(words), 1))
        for words in map(str.split, texts)
        for first, second in [naive.top_counts(words)]
    ]
    assert list(zip(*(c.to_pylist() for c in columns.values()), strict=True)) == expected


def test_word_shares_are_dropped_above_the_limit_alone() -> None:
    """30 % for one word and 50 % for two are kept; beyond, the single word is the first reason."""
    at_limit = "a a a b b c d e f g"
    filter_ = WordShare()
    texts = TextBatch.of([at_limit, "a a a a b c d e f g", "a a a b b b c d e f"])
    assert judge(filter_, filter_.columns(texts)).to_pylist() == [
        None,
        "word_share.top1_frac",
        "word_share.top2_frac",
    ]

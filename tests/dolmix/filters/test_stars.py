"""Stars: which values are counts, where they come from, what odd ones mean."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import Stars, judge
from dolmix.filters.stars import star_count

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


def written(path: Path, text: str) -> Path:
    """Write a file and give its path back."""
    path.write_text(text, encoding="utf-8")
    return path


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
    with pytest.raises(
        FilterError,
        match=r"document '1' \(record 1\): metadata\.stars holds .* which is no star count",
    ):
        counts(Stars(on_odd="fail"), batch([5, odd]))


def test_an_odd_value_is_pinned_on_its_first_document() -> None:
    """Id and record are those of the first document with an odd value, wherever its batch began."""
    texts = batch([5, 5, None, "n/a", -1, "n/a"]).take(np.array([1, 2, 3, 4, 5]))
    with pytest.raises(FilterError, match=r"document '3' \(record 3\): .* holds 'n/a'"):
        counts(Stars(on_odd="fail"), texts)


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
    texts = batch([1, 2, None])
    assert judge(filter_, filter_.columns(texts), texts).to_pylist() == expected


def test_zero_is_a_threshold_and_null_is_off() -> None:
    """With min_stars 0 a missing count still follows `on_missing`; with null nothing is asked."""
    texts = batch([0, None])
    columns = Stars().columns(texts)
    assert judge(Stars(min_stars=0), columns, texts).to_pylist() == [None, "stars.stars_missing"]
    assert judge(Stars(min_stars=None), columns, texts).to_pylist() == [None, None]


def test_the_table_answers_where_the_field_does_not(table: Path) -> None:
    """The field comes first, odd values fall through, case of repository names does not matter."""
    repos = ["owner/name", "OWNER/NAME", "owner/few", "owner/odd", "owner/none", None, 7]
    stars = [3, "n/a", None, None, None, None, None]
    filter_ = Stars(table=table)
    assert filter_.fields() == ("metadata.stars", "metadata.repo")
    assert counts(filter_, batch(stars, repos)) == [3, 12, 1, None, None, None, None]
    assert Stars().fields() == ("metadata.stars",)


def test_an_odd_table_entry_fails_when_told_so(table: Path) -> None:
    """The error names document, table and repository; a count in the field spares a document."""
    filter_ = Stars(table=table, on_odd="fail")
    assert counts(filter_, batch([3], ["owner/odd"])) == [3]
    with pytest.raises(
        FilterError, match=r"document '1' \(record 1\): .*stars\.csv\.gz for owner/odd holds 'n/a'"
    ):
        counts(filter_, batch([3, None], ["owner/odd", "owner/odd"]))


def test_a_table_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    """A missing file, wrong columns and an empty table each say what is wrong."""
    with pytest.raises(FilterError, match=r"stars\.table: there is no file"):
        Stars(table=tmp_path / "none.csv").digests()
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("name,count\na/b,3\n")
    with pytest.raises(FilterError, match=r"has no column repo and no stars; it has name, count"):
        counts(Stars(table=wrong), batch([None], ["a/b"]))
    with pytest.raises(FilterError, match=r"header\.csv has no column repo .* it has none"):
        counts(Stars(table=written(tmp_path / "header.csv", "")), batch([None], ["a/b"]))


@pytest.mark.parametrize("damage", ["cut short", "wrong bytes", "no archive"])
def test_a_damaged_table_is_explained(tmp_path: Path, damage: str) -> None:
    """Whichever way an archive is broken, the error names the table and says what it should be."""
    packed = bytearray(gzip.compress(b"repo,stars\n" + b"a/b,3\n" * 99))
    broken = {
        "cut short": packed[:40],
        "wrong bytes": packed[:12] + b"\xff" * 20 + packed[32:],
        "no archive": b"repo,stars\n",
    }
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(bytes(broken[damage]))
    with pytest.raises(FilterError, match=r"damaged\.csv\.gz cannot be read: .*CSV file"):
        counts(Stars(table=damaged), batch([None], ["a/b"]))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("repo,stars\na/b,3\n" + "x" * 200_000 + ",1\n", 3),
        ("x" * 200_000 + ",stars\n", 1),
        ('repo,stars\na/b,"3\n' + "c/d,4\n" * 30_000, 2),
        ('repo,stars\na/b,"3\nc/d,4\n', 2),
    ],
    ids=["long field", "long header", "long open quote", "open quote"],
)
def test_a_table_that_is_no_csv_is_explained(tmp_path: Path, text: str, line: int) -> None:
    """A field beyond the reader's limit, an unclosed quote say, is named by its line."""
    with pytest.raises(FilterError, match=rf"odd\.csv cannot be read: line {line}: "):
        counts(Stars(table=written(tmp_path / "odd.csv", text)), batch([None], ["a/b"]))


def test_a_repository_with_two_counts_is_refused(tmp_path: Path) -> None:
    """Both rows are named by their lines; which one counts is not for chance to decide."""
    text = 'repo,stars,note\nA/b,3,"two\nlines"\nc/d,7,\na/B,12,\n'
    with pytest.raises(
        FilterError, match=r"two\.csv gives a/B two counts: '3' on line 2 and '12' on line 5"
    ):
        counts(Stars(table=written(tmp_path / "two.csv", text)), batch([None], ["a/b"]))


def test_a_repository_may_be_listed_again_with_the_same_count(tmp_path: Path) -> None:
    """However the count is written; odd counts are all the same, namely none."""
    text = "repo,stars\na/b,3\nA/B,3\na/b,3.0\nc/d,n/a\nc/d,\n"
    table = written(tmp_path / "same.csv", text)
    assert counts(Stars(table=table), batch([None] * 2, ["a/b", "c/d"])) == [3, None]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_may_have_any_line_ends(tmp_path: Path, end: str) -> None:
    """Unix, Windows and old Macintosh files read the same."""
    path = tmp_path / "ends.csv"
    path.write_bytes(end.join(["repo,stars", "a/b,3", "c/d,4", ""]).encode())
    assert counts(Stars(table=path), batch([None] * 2, ["a/b", "c/d"])) == [3, 4]


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

"""Code: each rule's limit, languages by field, presets, and texts that parsers are not given."""

import json
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.filters import Code, judge

COMMENTED = "# why this is as it is\nvalue = 1\n" * 3
PLAIN = "value = compute(first, second)\n" * 5
OFF: dict[str, Any] = {
    "max_line_length": None,
    "max_avg_line_length": None,
    "min_alnum_frac": None,
    "min_alpha_per_token": None,
    "drop_xml": False,
    "max_comment_frac": None,
    "min_comment_frac": None,
    "min_html_text_frac": None,
}
COLUMNS = ("max_line_length", "avg_line_length", "alnum_frac", "xml")


def batch(texts: list[str], values: list[Any] | None = None, path: str = "ext") -> TextBatch:
    """Documents with these values in a field of their metadata; None is a record without it."""
    values = [None] * len(texts) if values is None else values
    as_json = [None if v is None else json.dumps(v) for v in values]
    return TextBatch.of(texts, fields={f"metadata.{path}": as_json})


def reasons(filter_: Code, texts: TextBatch) -> list[str | None]:
    """Verdict of each document."""
    found: list[str | None] = judge(filter_, filter_.columns(texts), texts).to_pylist()
    return found


def only(**settings: Any) -> Code:
    """Make the filter with these rules alone."""
    return Code(**(OFF | settings))


def values(filter_: Code, texts: TextBatch, column: str) -> list[Any]:
    """One column as a list."""
    columns: Columns = filter_.columns(texts)
    found: list[Any] = columns[column].to_pylist()
    return found


@pytest.mark.parametrize(
    ("settings", "kept", "dropped", "reason"),
    [
        ({"max_line_length": 5}, "abcde\nf", "abcdef", "max_line_length"),
        ({"max_avg_line_length": 3.0}, "abcde\nf\n", "abcde\nfg", "avg_line_length"),
        ({"min_alnum_frac": 0.25}, "a+-*", "a+-*/", "alnum_frac"),
        ({"min_alpha_per_token": 1.5}, "abc", "ab", "alpha_per_token"),
        ({"drop_xml": True}, "x" * 87 + "<?xml version=", "x" * 86 + "<?xml version=", "xml"),
    ],
)
def test_each_rule_drops_beyond_its_limit_alone(
    settings: dict[str, Any], kept: str, dropped: str, reason: str
) -> None:
    """A value equal to its threshold is kept; a rule works with every other one off."""
    assert reasons(only(**settings), batch([kept, dropped])) == [None, f"code.{reason}"]


def test_shares_of_comments_have_two_limits() -> None:
    """At the upper limit kept, at the lower dropped: the peer's rules are `> 0.8` and `<= 0.01`."""
    texts = batch(["// 45678\nx", "//" * 5, "x = 1 // y", "x = 123"], ["js"] * 4)
    filter_ = only(max_comment_frac=0.8, min_comment_frac=0.4)
    assert values(filter_, texts, "comment_frac") == [0.8, 1.0, 0.4, 0.0]
    expected = [None, "code.comment_frac_high", "code.comment_frac_low", "code.comment_frac_low"]
    assert reasons(filter_, texts) == expected


def test_only_commented_languages_are_asked_for_comments() -> None:
    """Any other language, and a record without one, lies between the limits."""
    exts = ["py", "java", "js", "go", "PY", None, 7, ["py"], ""]
    filter_ = Code()
    found = values(filter_, batch([PLAIN] * len(exts), exts), "comment_frac")
    assert found == [0.0, 0.0, 0.0] + [0.5] * 6


def test_html_is_dropped_for_its_visible_text() -> None:
    """Scripts, styles and tags are not visible; a hundred characters are as good as none."""
    pytest.importorskip("bs4")
    page = "<p>" + "word " * 21 + "</p><script>" + "x" * 100 + "</script>"
    short = "<p>" + "w" * 100 + "</p>"
    texts = batch([page, short, short, ""], ["html", "htm", "go", "html"])
    filter_ = only(min_html_text_frac=0.2)
    assert values(filter_, texts, "html_text_frac") == [105 / len(page), 0.0, 1.0, -1.0]
    assert reasons(filter_, texts) == [
        None,
        *["code.html_text_frac"] * 1,
        None,
        "code.html_text_frac",
    ]


def test_rules_judge_in_the_published_order() -> None:
    """A file against which everything can be said is dropped for its longest line first."""
    texts = batch(["<?xml version=" + "- " * 1000], ["js"])
    expected = {
        "max_line_length": "max_line_length",
        "max_avg_line_length": "avg_line_length",
        "min_alnum_frac": "alnum_frac",
        "min_alpha_per_token": "alpha_per_token",
        "drop_xml": "xml",
        "min_comment_frac": "comment_frac_low",
    }
    settings: dict[str, Any] = {}
    for setting, code in expected.items():
        assert reasons(Code(**settings), texts) == [f"code.{code}"]
        settings[setting] = OFF[setting]
    assert reasons(Code(**settings), texts) == [None]


@pytest.mark.parametrize(
    ("holds", "value", "python"),
    [
        ("extension", "py", True),
        ("extension", ".py", False),
        ("extension", "Python", False),
        ("path", "src/a.b/tool.py", True),
        ("path", "src/a.py/tool", False),
        ("path", "py", False),
        ("path", "src/xpy", False),
        ("path", ".py", True),
        ("language", "Python", True),
        ("language", "py", False),
    ],
)
def test_a_language_is_told_by_what_the_field_holds(holds: str, value: str, python: bool) -> None:
    """Extensions go by case and without their dot, paths by their last part, names in any case."""
    filter_ = Code(field="metadata.what", field_holds=holds)  # type: ignore[arg-type]
    assert filter_.fields() == ("metadata.what",)
    found = values(filter_, batch([COMMENTED], [value], path="what"), "comment_frac")
    assert (found != [0.5]) == python


def test_extensions_are_kept_by_how_a_path_ends() -> None:
    """RedPajama's endings: by case, `Dockerfile` alone or at the end of a longer name."""
    paths = ["a/b.py", "a/b.PY", "Dockerfile", "x/prod.Dockerfile", "b.tar.gz", "a.b/LICENSE", None]
    filter_, texts = Code(preset="redpajama"), batch([PLAIN] * 7, paths, path="path")
    found = values(filter_, texts, "extension")
    assert found == [".py", ".PY", "Dockerfile", "Dockerfile", ".gz", "LICENSE", None]
    odd = "code.extension"
    assert reasons(filter_, texts) == [None, odd, None, None, odd, odd, f"{odd}_missing"]


def test_the_longest_listed_ending_is_the_extension() -> None:
    """With `.gz` and `.tar.gz` listed, both are kept, each as itself."""
    filter_ = Code(extensions=(".gz", ".tar.gz", ".c"))
    texts = batch(["x"] * 4, ["tar.gz", "gz", "c", "cc"])
    assert values(filter_, texts, "extension") == [".tar.gz", ".gz", ".c", ".cc"]


def test_extensions_need_a_field_that_has_them() -> None:
    """A language's name ends with no extension, so the two settings do not go together."""
    with pytest.raises(ValidationError, match=r"extensions needs a file's extension or path"):
        Code(extensions=(".py",), field="metadata.language", field_holds="language")
    with pytest.raises(ValidationError, match=r"at least 1 item"):
        Code(extensions=())


def test_presets_are_the_published_thresholds() -> None:
    """Both have RedPajama's numbers; dolma's adds StarCoder's, RedPajama's the extensions."""
    dolma, redpajama = Code(), Code(preset="redpajama")
    for filter_ in (dolma, redpajama):
        assert [filter_.max_line_length, filter_.max_avg_line_length] == [1000, 100]
        assert [filter_.min_alnum_frac, filter_.min_alpha_per_token] == [0.25, 1.5]
    assert [dolma.max_comment_frac, dolma.min_comment_frac] == [0.8, 0.01]
    assert [dolma.min_html_text_frac, dolma.drop_xml, dolma.extensions] == [0.2, True, None]
    assert len(redpajama.extensions or ()) == 66
    assert set(redpajama.column_types()) == {*COLUMNS, "alpha_per_token", "extension"}


def test_a_column_that_no_rule_asks_for_is_not_made() -> None:
    """Parsing costs, so does a field; with line rules alone neither is needed."""
    lines = only(max_line_length=1000)
    assert lines.fields() == ()
    assert lines.digests() == {}
    assert list(lines.columns(TextBatch.of(["x"]))) == list(COLUMNS)
    assert sorted(Code().digests()) == ["comments", "html", "words"]


def test_a_filter_with_every_rule_off_is_refused() -> None:
    """It would keep everything, which no one writes a filter for."""
    with pytest.raises(ValidationError, match=r"every rule is off"):
        only()


@pytest.mark.parametrize(
    ("on_missing", "verdict"), [("keep", None), ("drop", "code.comment_frac_high_missing")]
)
def test_large_files_are_not_parsed(on_missing: str, verdict: str | None) -> None:
    """Beyond `max_parse_bytes` Python and HTML have no value; scanned languages do."""
    texts = batch([COMMENTED] * 3, ["py", "html", "js"])
    filter_ = Code(max_parse_bytes=len(COMMENTED) - 1, on_missing=on_missing)  # type: ignore[arg-type]
    assert values(filter_, texts, "comment_frac") == [None, 0.5, 0.0]
    assert values(filter_, texts, "html_text_frac") == [1.0, None, 1.0]
    assert reasons(filter_, texts)[0] == verdict
    every = Code(max_parse_bytes=None)
    assert None not in values(every, texts, "comment_frac")


def test_an_unparsed_file_can_stop_a_run() -> None:
    """`on_missing: fail` names the document and the column."""
    filter_ = Code(max_parse_bytes=1, on_missing="fail")
    with pytest.raises(FilterError, match=r"document '0'.*code\.comment_frac is missing"):
        reasons(filter_, batch([COMMENTED], ["py"]))


@pytest.mark.parametrize(
    ("package", "setting"), [("bs4", "min_html_text_frac"), ("regex", "min_alpha_per_token")]
)
def test_a_package_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, setting: str
) -> None:
    """At planning as at work, the error says what to install or which rule to switch off."""
    from dolmix.text.code_html import _soup
    from dolmix.text.code_marks import code_table

    monkeypatch.setitem(sys.modules, package, None)
    for known in (_soup, code_table):
        known.cache_clear()
    filter_ = Code()
    for ask in (filter_.digests, lambda: filter_.columns(batch(["<p>"], ["html"]))):
        with pytest.raises(FilterError, match=rf"dolmix\[code\].*{setting} to null"):
            ask()
    spared = Code(**{setting: None})
    assert reasons(spared, batch([COMMENTED], ["py"])) == [None]
    for known in (_soup, code_table):
        known.cache_clear()

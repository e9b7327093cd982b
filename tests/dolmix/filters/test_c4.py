"""C4: each rule at its edge, what it leaves of a text, and settings that contradict themselves."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dolmix.config import parse
from dolmix.document import TextBatch
from dolmix.errors import ConfigError, FilterError
from dolmix.filters import judge
from dolmix.filters.c4 import C4
from dolmix.text.edits import edited, read_edits

GOOD = "The cat sat on the mat. It was a good mat.\n" * 3
LONG = "a b " + "x" * 1001 + "."


def outcome(text: str, **settings: Any) -> tuple[str | None, str]:
    """Reason of one text, and the text after its edit."""
    filter_ = C4(**settings)
    texts = TextBatch.of([text])
    columns = filter_.columns(texts)
    assert {name: c.type for name, c in columns.items()} == filter_.column_types()
    after = edited(texts, read_edits(columns["edit"])) if filter_.has_edit else texts
    return judge(filter_, columns, texts)[0].as_py(), after.text[0].as_py()


@pytest.mark.parametrize(
    ("line", "settings", "stays"),
    [
        ("Three more words.", {}, "Three more words."),
        (" \u3000Three more words.\t", {}, "Three more words."),
        (LONG, {}, None),
        (LONG, {"max_word_length": 1002}, LONG),
        (LONG, {"max_word_length": None}, LONG),
        ("No mark at its end", {}, None),
        ("No mark at its end", {"terminal_punct": False}, "No mark at its end"),
        ("It ends in dots...", {}, None),
        ("It ends in dots....", {}, None),
        ("It ends so…", {}, None),
        ('He said "no."', {}, 'He said "no."'),
        ("He said 'no.'", {}, "He said 'no.'"),
        ("Two words.", {}, None),
        ("Two words.", {"min_words_per_line": 2}, "Two words."),
        ("Two.", {"min_words_per_line": None}, "Two."),
        ("Please enable JAVAscript now.", {}, None),
        ("Please enable JAVAscript now.", {"javascript": None}, "Please enable JAVAscript now."),
        ("Read our Privacy Policy now.", {}, None),
        ("This site uses coo\u212aies.", {}, None),
        ("Read our Privacy Policy.", {"policy": None}, "Read our Privacy Policy."),
        ("It is so[12] they say.[edit]", {}, "It is so they say."),
        ("It is so[٣٤] they say.[ 1]", {"terminal_punct": False}, "It is so they say.[ 1]"),
        ("It is[1] so.", {"remove_citations": False}, "It is[1] so."),
        ("It is so. [1]", {}, None),
        ("It was java[1]script once.", {}, None),
    ],
)
def test_lines_go_or_stay_by_datatroves_reading(
    line: str, settings: dict[str, Any], stays: str | None
) -> None:
    """One line between good ones: it goes, stays, or loses its citations."""
    reason, text = outcome(f"{GOOD}{line}\n{GOOD}", **settings)
    assert reason is None
    assert text == GOOD + (f"{stays}\n" if stays is not None else "") + GOOD.rstrip()


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        (GOOD, {}, None),
        ("", {}, "c4.sentences"),
        ("The cat sat. " * 4, {}, "c4.sentences"),
        ("The cat sat. " * 4, {"min_sentences": 4}, None),
        ("", {"min_sentences": None}, None),
        (GOOD + "A bit of Lorem Ipsum here.", {}, "c4.lorem_ipsum"),
        (GOOD + "A bit of Lorem Ipsum here", {}, None),
        (GOOD + "A bit of { here.", {}, "c4.curly_bracket"),
        (GOOD + "A { of javascript here.", {}, None),
        (GOOD + "A { of lorem ipsum here.", {}, "c4.lorem_ipsum"),
        (GOOD + "A { stands here.\nThen lorem ipsum comes.", {}, "c4.curly_bracket"),
        (
            GOOD + "A { stands here.\nThen lorem ipsum comes.",
            {"curly_bracket": None},
            "c4.lorem_ipsum",
        ),
        (GOOD + "A { stands here.", {"curly_bracket": False}, None),
        (GOOD + "Then lorem ipsum comes.", {"lorem_ipsum": False}, None),
        ("x" * 200 + "\n" + "y" * 200 + "\n" + "z" * 200, {"lines": False}, None),
        ("x" * 200 + "\n" + "y" * 200 + "\n" + "z" * 199, {"lines": False}, "c4.paragraph_chars"),
        ("x" * 200 + "\n" + "y" * 200, {"lines": False}, "c4.paragraph_chars"),
    ],
)
def test_documents_go_by_datatroves_reading(
    text: str, settings: dict[str, Any], expected: str | None
) -> None:
    """Each rule on whole documents; of two, the one whose line comes first."""
    if settings.get("lines") is False:
        settings = {**settings, "min_paragraph_chars": 200}
    assert outcome(text, **settings)[0] == expected


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("One two three.\nno mark\n\nTwo words.\nA b c.", {}, (None, "One two three.\nA b c.")),
        ("  One two three. \nno mark", {}, (None, "  One two three. \n")),
        ("It ends so here...", {}, (None, "It ends so here...")),
        ("It ends in 'quotes.'", {}, (None, "")),
        ("no mark here", {"terminal_punct": False}, (None, "no mark here")),
        ("Two words.", {"min_words_per_line": None}, (None, "Two words.")),
        ("", {}, (None, "")),
        ("a {", {}, ("c4.curly_bracket", "")),
        ("a lorem ipsum {", {"curly_bracket": None}, ("c4.lorem_ipsum", "")),
        ("myJavaScript", {}, ("c4.javascript", "")),
        ("myJavaScript", {"javascript": "word"}, (None, "")),
        ("my JavaScript", {"javascript": "word"}, ("c4.javascript", "")),
        ("my JavaScript", {"javascript": None}, (None, "")),
    ],
)
def test_lines_and_documents_go_by_dolmas_reading(
    text: str, settings: dict[str, Any], expected: tuple[str | None, str]
) -> None:
    """Lines are not stripped and go with their newline; marks count wherever they stand."""
    assert outcome(text, preset="dolma-1.2", **settings) == expected


def test_counts_say_why_lines_went() -> None:
    """Each line is counted once by datatrove's reading, and by dolma's for each rule it fails."""
    text = f"A b c.\nno mark\n\nTwo words.\n{LONG}\nUse javascript here.\nUse cookies here now."
    columns = C4().columns(TextBatch.of([text]))
    counts = {name: c[0].as_py() for name, c in columns.items() if name.startswith("lines_")}
    expected = {"total": 7, "too_long_word": 1, "no_terminal_punct": 2, "too_few_words": 1}
    expected |= {"javascript": 1, "policy": 1, "kept": 1, "lorem_ipsum": 0, "curly_bracket": 0}
    assert counts == {f"lines_{name}": count for name, count in expected.items()}
    columns = C4(preset="dolma-1.2").columns(TextBatch.of([text]))
    counts = {name: c[0].as_py() for name, c in columns.items() if name.startswith("lines_")}
    expected = {"total": 7, "no_terminal_punct": 2, "too_few_words": 3, "kept": 4}
    assert counts == {f"lines_{name}": count for name, count in expected.items()}


def test_a_run_reports_the_lines_of_rules_that_are_on() -> None:
    """A count that can only be 0 is none to report."""
    line = ("lines_total", "lines_too_long_word", "lines_no_terminal_punct", "lines_too_few_words")
    assert C4().edit_counts() == (*line, "lines_javascript", "lines_policy", "lines_kept")
    some = C4(terminal_punct=False, policy=None, javascript=None, max_word_length=None)
    assert some.edit_counts() == ("lines_total", "lines_too_few_words", "lines_kept")
    assert C4(preset="dolma-1.2").edit_counts() == (line[0], *line[2:], "lines_kept")
    assert C4(lines=False, min_paragraph_chars=200).edit_counts() == ()


def test_only_a_text_that_changes_has_an_edit() -> None:
    """Null says that the text stays as it is."""
    edit = C4().columns(TextBatch.of([GOOD.strip(), GOOD]))["edit"].to_pylist()
    assert edit[0] is None
    assert edit[1] == [{"start": len(GOOD) - 1, "stop": len(GOOD), "put": 0}]


@pytest.fixture
def naughty(tmp_path: Path) -> Path:
    """Write a list with a word, a word with a mark in it, a phrase, and a blank line."""
    path = tmp_path / "words.txt"
    path.write_text("drat\nb*gger\n\n 2 fie \nёлки\n")
    return path


@pytest.mark.parametrize(
    ("text", "datatrove", "dolma"),
    [
        ("Oh drat it", True, True),
        ("DRAT", True, True),
        ("Oh drat, it", True, False),
        ("hydrated", False, False),
        ("un-drat-ed", True, False),
        ("un_drat_ed", False, False),
        ("a b*gger.", True, False),
        ("12 fiefs", False, True),
        ("a 2 fie!", True, True),
        ("a 2\nfie!", False, False),
        ("ЁЛКИ", True, True),
        ("clean", False, False),
    ],
)
def test_naughty_words_by_both_readings(
    naughty: Path, text: str, datatrove: bool, dolma: bool
) -> None:
    r"""Datatrove wants `\W` around words and phrases; dolma white space around words alone."""
    assert outcome(text, lines=False, naughty_words=naughty)[0] == (
        "c4.naughty_word" if datatrove else None
    )
    assert outcome(text, preset="dolma-1.2", lines=False, naughty_words=naughty)[0] == (
        "c4.naughty_word" if dolma else None
    )


def test_naughty_words_anywhere(naughty: Path) -> None:
    """For languages without spaces, inside words too."""
    reason, _ = outcome("hydrated", lines=False, naughty_words=naughty, naughty_anywhere=True)
    assert reason == "c4.naughty_word"


def test_a_list_that_is_no_list(tmp_path: Path) -> None:
    """A missing, an empty and a binary list are refused with the path and what it should be."""
    texts = TextBatch.of(["x"])
    for content, message in ((None, "no file"), (b"\n \n", "no words"), (b"\xff", "no UTF-8")):
        path = tmp_path / f"{message}.txt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FilterError, match=message) as error:
            C4(lines=False, naughty_words=path).columns(texts)
        assert str(path) in str(error.value)


def test_digests_hold_the_list_and_spacys_rules(naughty: Path) -> None:
    """What the columns depend on enters the task key, and only that."""
    pytest.importorskip("spacy")
    assert set(C4().digests()) == {"sentences"}
    assert set(C4(min_sentences=None, naughty_words=naughty).digests()) == {"naughty_words"}
    assert C4(preset="dolma-1.2").digests() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "dolma-1.2", "min_sentences": 5}, "preset datatrove-0.10 has it"),
        ({"preset": "dolma-1.2", "policy": True}, "preset datatrove-0.10 has it"),
        ({"preset": "dolma-1.2", "min_paragraph_chars": 200}, "preset datatrove-0.10 has it"),
        ({"javascript": "word"}, "preset dolma-1.2 has it"),
        ({"lines": False}, "every rule is off"),
        ({"lines": False, "min_paragraph_chars": 200, "policy": True}, "lines is false"),
        ({"naughty_anywhere": True}, "give naughty_words too"),
        ({"preset": "c4"}, "datatrove-0.10"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    """What a preset does not measure is refused, with the preset that does."""
    with pytest.raises(ValidationError, match=message):
        C4(**settings)


def test_switched_off_settings_of_the_other_preset_are_no_error() -> None:
    """Null and false say nothing that dolma's tagger could not do."""
    filter_ = C4(preset="dolma-1.2", min_sentences=None, policy=False)
    assert filter_.definition == "dolma 1.2.1 c4_v2"


def test_the_yaml_of_a_setting_that_is_not_measured_names_it() -> None:
    """The message that a user sees has the setting, its value and the way out."""
    with pytest.raises(ConfigError, match=r"max_word_length 9 is not what dolma-1\.2 measures"):
        parse(C4, {"type": "c4", "preset": "dolma-1.2", "max_word_length": 9}, origin="x.yaml")


def test_definition_and_splitter_say_what_was_measured(naughty: Path) -> None:
    """Kept in every column's metadata."""
    assert C4().definition == "datatrove 0.10 C4QualityFilter"
    assert C4().splitter == "whitespace; sentences: spacy-en"
    alone = C4(lines=False, naughty_words=naughty, min_paragraph_chars=200)
    assert alone.definition == "datatrove 0.10 C4BadWordsFilter + C4ParagraphFilter"
    assert not alone.has_edit
    assert alone.splitter == ""
    assert C4(preset="dolma-1.2", javascript="word").definition == "dolma 1.2.1 c4_v1"
    assert C4(preset="dolma-1.2").splitter == "whitespace"

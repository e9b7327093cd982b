"""Visible text of HTML: what counts, and what the parser is not given."""

import time
import warnings
from typing import Any

import pytest
from code_texts import code_texts

from dolmix.text.code_html import html_text_frac

soup = pytest.importorskip("bs4")
LONG = "word " * 30
XML = "<?xml version='1.0'?><a></a>"


def by_hand(text: str) -> float:
    """Share of visible text, without the precautions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            page = soup.BeautifulSoup(text, "html.parser")
        except (soup.ParserRejectedMarkup, ValueError):
            return -1.0
    for hidden in page(["script", "style"]):
        hidden.extract()
    chars = len(page.get_text())
    return chars / len(text) if chars > 100 else 0.0


@pytest.mark.parametrize(
    ("text", "chars"),
    [
        (f"<p>{LONG}</p>", 150),
        (f"<style>{LONG}</style><p>{LONG}</p><script>{LONG}</script>", 150),
        (f"<!-- {LONG} -->{LONG}", 150),
        (LONG, 150),
        ("w" * 100, 0),
        ("w" * 101, 101),
    ],
)
def test_visible_text_is_what_is_left_without_tags(text: str, chars: int) -> None:
    """Scripts, styles and comments are none; a hundred characters count as none."""
    assert html_text_frac(text) == chars / len(text)


def test_made_up_html_is_measured_as_the_parser_does(recwarn: pytest.WarningsRecorder) -> None:
    """Two hundred texts of pieces of markup, warnings of the parser kept from the user."""
    texts = [text for text in code_texts(200, "html", seed=3) if text]
    found = [html_text_frac(text) for text in [*texts, XML]]
    assert len(recwarn) == 0
    assert found == [by_hand(text) for text in [*texts, XML]]
    assert {found[-1], min(found)} == {0.0, -1.0}
    assert max(found) > 0.5


def test_an_empty_text_and_one_that_the_parser_refuses_are_below_any_limit() -> None:
    """As in dolma -1.0, which no threshold of a share lets pass."""
    assert html_text_frac("") == -1.0
    assert html_text_frac("&#" + "1" * 5000 + "; and text") == -1.0


@pytest.mark.parametrize(
    ("failure", "value"), [(TypeError, 0.0), (UnboundLocalError, 0.0), (AssertionError, -1.0)]
)
def test_failures_of_the_parser_have_the_peers_values(
    monkeypatch: pytest.MonkeyPatch, failure: type[Exception], value: float
) -> None:
    """Two kinds of errors are a share of nothing, any other is -1.0; none ends a run."""

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(soup.BeautifulSoup, "reset", fail)
    assert html_text_frac(LONG) == value


HOSTILE = ("<!--", "<![CDATA[", "<?", "</", "<a a=", "<")


@pytest.mark.parametrize("piece", HOSTILE)
def test_tags_without_end_are_not_read_over_and_over(piece: str) -> None:
    """A megabyte of them would take hours in the parser: no value, at once."""
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    assert html_text_frac(text) is None
    assert time.process_time() - start < 2


def test_deep_nesting_is_measured() -> None:
    """Twenty thousand open tags are read like any others."""
    text = "<a>" * 20_000 + LONG
    assert html_text_frac(text) == len(LONG) / len(text)


def test_much_markup_with_ends_is_measured() -> None:
    """What only looks alike is no reason: every tag and comment here has its end."""
    text = f"<!-- x --><![if x]><p>{LONG}</p><![endif]>" * 300
    assert html_text_frac(text) == pytest.approx(150 * 300 / len(text), abs=0.01)


def test_many_scripts_take_no_longer_than_other_tags() -> None:
    """The time for a script does not grow with the text before it (else: hundreds of times)."""
    took = []
    for tag in ("strong", "script"):
        text = f"a<{tag}></{tag}>" * 20_000
        start = time.process_time()
        assert html_text_frac(text) == 20_000 / len(text)
        took.append(time.process_time() - start)
    assert took[1] < 30 * took[0]

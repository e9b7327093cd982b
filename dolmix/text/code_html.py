"""Visible text of HTML, as Beautiful Soup gives it with Python's own parser."""

import re
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from dolmix.errors import FilterError
from dolmix.text.code_quiet import without_warnings

SHORTEST = 100
"""Text of so many characters or fewer counts as none."""
BROKEN = -1.0
"""Share of a text on which the parser gives up, and of an empty one."""
UNCLOSED = ((r"<", ">"), (r"<!--", "-->"), (r"<!\[", "]>"), (r"<!\[\w+\s*\[", "]]>"))
"""Patterns of what opens, and what then has to follow."""
MOST_REREADING = 100
"""Characters that may be read over and over for want of an end, per character of the text."""
FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, ValueError)
"""What a parser may raise; ParserRejectedMarkup comes on top."""


def html_text_frac(text: str) -> float | None:
    """Share of a text's characters that are visible; scripts and styles are not.

    As dolma's `filter_html`: 0.0 where no more than 100 characters are visible, -1.0 where the
    parser fails, as of an empty text.

    returns  None for a text that opens tags or comments without end, which Python's parser would
             read over and over

    Raises FilterError without Beautiful Soup.
    """
    if not text:
        return BROKEN
    if _rereading(text) > MOST_REREADING * len(text) + 10**6:
        return None
    _, rejected = _soup()
    try:
        with without_warnings():
            visible = _visible_chars(text)
    except (TypeError, UnboundLocalError):
        return 0.0
    except (rejected, *FAILURES):
        return BROKEN
    return visible / len(text) * (visible > SHORTEST)


def html_parser() -> str:
    """Name and version of the parser.

    Raises FilterError without Beautiful Soup.
    """
    _soup()
    return f"beautifulsoup4 {version('beautifulsoup4')}"


def _rereading(text: str) -> int:
    """Bound the characters read in search of ends that are not there."""
    most = 0
    for opening, closing in UNCLOSED:
        rest = text[text.rfind(closing) + 1 :]
        most = max(most, len(rest) * sum(1 for _ in re.finditer(opening, rest)))
    return most


def _visible_chars(text: str) -> int:
    # get_text leaves out what scripts and styles hold; taking each out first, as dolma does, looks
    # through all that stands before it
    soup, _ = _soup()
    return len(soup(text, features="html.parser").get_text())


@lru_cache(maxsize=1)
def _soup() -> tuple[Any, type[Exception]]:
    try:
        from bs4 import BeautifulSoup, ParserRejectedMarkup
    except ModuleNotFoundError:
        raise FilterError(
            "visible text of HTML is found with Beautiful Soup, which is not installed. Run "
            "`pip install 'dolmix[code]'`, or set min_html_text_frac to null."
        ) from None
    return BeautifulSoup, ParserRejectedMarkup

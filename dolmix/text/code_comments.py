"""Share of comments in source code, by language."""

from collections.abc import Callable

from dolmix.document import U8Array
from dolmix.text.code_java import java_comments
from dolmix.text.code_javascript import javascript_comments
from dolmix.text.code_points import U32Array, lexer_points, lexer_table
from dolmix.text.code_python import python_comments


def python_comment_frac(text: str) -> float | None:
    """Characters in docstrings and comments over all characters; see `python_comments`."""
    chars = python_comments(text)
    return None if chars is None else _share(chars, text)


def java_comment_frac(text: str) -> float:
    """Characters in comments over all characters, as Pygments 2.21 sees them."""
    return _scanned(java_comments, text)


def javascript_comment_frac(text: str) -> float:
    """Characters in comments over all characters, as Pygments 2.21 sees them."""
    return _scanned(javascript_comments, text)


COMMENT_FRACS: dict[str, Callable[[str], float | None]] = {
    "python": python_comment_frac,
    "java": java_comment_frac,
    "javascript": javascript_comment_frac,
}
"""Share of comments by language; 0.0 of an empty text."""


def _scanned(scan: Callable[[U32Array, U8Array], int], text: str) -> float:
    return _share(scan(lexer_points(text), lexer_table()), text)


def _share(chars: int, text: str) -> float:
    return chars / max(len(text), 1)

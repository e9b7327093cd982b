"""Plain-Python twins of what is measured of source code, Pygments itself among them."""

import regex

TOKENS = regex.compile(r"\w+|[^\w\s]+")


def code_marks(text: str) -> tuple[int, ...]:
    """Count as `CodeMarks`: lines, longest, line characters, characters, and so on."""
    lines = [len(line) for line in text.splitlines()]
    return (
        len(lines),
        max(lines, default=0),
        sum(lines),
        len(text),
        sum(c.isalnum() for c in text),
        sum(c.isalpha() for c in text),
        len(TOKENS.split(text)),
        int("<?xml version=" in text[:100]),
    )


def lexed_comments(text: str, language: str) -> int:
    """Characters of the comments that Pygments finds, single and multi-line."""
    from pygments import lex
    from pygments.lexers import get_lexer_by_name
    from pygments.token import Comment

    kinds = (Comment.Single, Comment.Multiline)
    return sum(len(part) for kind, part in lex(text, get_lexer_by_name(language)) if kind in kinds)

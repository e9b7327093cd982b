"""Comments and docstrings of Python, as the running Python reads them.

The source is only parsed, never compiled or run. Whatever a hostile text makes the parser do, short
of taking its time, ends as a text without docstrings or without comments.
"""

import ast
import io
import tokenize

from dolmix.text.code_quiet import without_warnings

NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
"""What `ast.parse` raises: bad syntax, null bytes, nesting beyond its stacks (MemoryError too)."""
NO_TOKENS = (tokenize.TokenError, SyntaxError, ValueError, RecursionError, OverflowError)
MOST_REREADING = 10_000
"""Bytes that reading one token may copy, per byte of the text."""
ORDER = (ast.ClassDef, ast.FunctionDef, ast.Module)
"""What has a docstring, in the order in which docstrings are joined."""


class _TooLongError(Exception):
    """A token goes on over too many lines."""


def python_comments(text: str) -> int | None:
    r"""Characters of docstrings and comments, joined as dolma's tagger joins them.

    Docstrings are those of classes, then functions (not async ones), each by name, then the
    module's, cleaned as `inspect.cleandoc` does, with newlines between; then every comment without
    its `#` signs; whitespace at both ends of it all does not count. A text that does not parse has
    no docstrings; one that cannot be cut into tokens has no comments.

    returns  None for a text with a token over so many lines that reading it takes quadratic time
    """
    try:
        with without_warnings():
            return len(f"{_docstrings(text)}\n{_comments(text)}".strip())
    except _TooLongError:
        return None


def _docstrings(text: str) -> str:
    try:
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ORDER)]
    except NOT_PYTHON:
        return ""
    nodes.sort(key=lambda node: (ORDER.index(type(node)), getattr(node, "name", "")))
    return "\n".join(filter(None, map(ast.get_docstring, nodes)))


def _comments(text: str) -> str:
    """Join the comments.

    The tokenizer joins the lines of a token one by one, copying what it has each time; `copied`
    keeps count, so that one long string cannot hold up a run.
    """
    lines = io.StringIO(text)
    found: list[str] = []
    pending = copied = 0

    def read() -> str:
        nonlocal pending, copied
        line = lines.readline()
        pending += len(line)
        copied += pending
        if copied > MOST_REREADING * len(text):
            raise _TooLongError
        return line

    try:
        for token in tokenize.generate_tokens(read):
            pending = 0
            if token.type == tokenize.COMMENT:
                found.append(token.string)
    except NO_TOKENS:
        return ""
    return "".join(found).replace("#", "")

"""Regular expressions as plain lists of alternatives that a kernel can match.

spaCy's prefix, suffix and infix rules are each one long regular expression: alternatives of a few
characters, each from a set, with one or two characters before and one after that must or must not
be there. `alternatives` takes such an expression apart, in the order in which Python would try
them, and raises `Inexpressible` on anything else, so that a rule is never half understood.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, TypeAlias

Chars: TypeAlias = tuple[tuple[int, int], ...]
"""A set of characters: ranges of code points, both ends included, in order and apart."""

MAX_BEFORE, MAX_BODY = 2, 8
"""Longest look-behind and longest match, in characters, that the kernels have room for."""


class Inexpressible(Exception):  # noqa: N818 - no error: the answer "ask spaCy itself"
    """The installed rules hold something that the kernels cannot express."""


@dataclass(frozen=True)
class Alternative:
    """One way to match: `(?<=before) body (?=after)` or `(?!refused)`, between its anchors."""

    before: tuple[Chars, ...] = ()
    body: tuple[Chars, ...] = ()
    repeats: bool = False
    """Whether the last set of the body may match any number of characters more."""
    after: Chars | None = None
    refused: Chars | None = None
    anchors: frozenset[str] = field(default_factory=frozenset)
    """Of AT_BEGINNING and AT_END."""


def alternatives(pattern: str, anchors: Iterable[str] | None = ()) -> list[Alternative]:
    """Take an expression apart; every alternative must have exactly these anchors; None: any.

    Raises Inexpressible.
    """
    found = _sequence(_parsed(pattern))
    for one in found:
        if not one.body or (anchors is not None and one.anchors != frozenset(anchors)):
            raise Inexpressible(f"an alternative of {len(one.body)} characters, {one.anchors}")
        if len(one.before) > MAX_BEFORE or len(one.body) > MAX_BODY:
            raise Inexpressible(f"{len(one.before)} characters before {len(one.body)}")
        if one.repeats and (one.after or one.refused or one.before or len(set(one.body)) > 1):
            raise Inexpressible("a repeat beside other conditions")
    return found


def _parsed(pattern: str) -> Any:
    """Parse an expression with the parser of Python's own `re`, which has no public name."""
    try:
        return importlib.import_module("re._parser").parse(pattern)
    except (ImportError, AttributeError) as error:
        raise Inexpressible(f"no parser of expressions: {error}") from error


def _sequence(tree: Any) -> list[Alternative]:
    """Expand what follows each other: all combinations, in the order of a backtracking search."""
    choices = [_node(str(kind), value) for kind, value in tree]
    joined = []
    for parts in product(*choices):
        whole = Alternative()
        for part in parts:
            whole = _join(whole, part)
        joined.append(whole)
    return joined


def _join(left: Alternative, right: Alternative) -> Alternative:
    if not right.body and not right.before:
        if left.after or left.refused or "AT_END" in left.anchors:
            raise Inexpressible("two conditions at one place")
        return replace(
            left, after=right.after, refused=right.refused, anchors=left.anchors | right.anchors
        )
    if left.after or left.refused or left.repeats or "AT_END" in left.anchors:
        raise Inexpressible("something after the end of a match")
    if (right.before and left.body) or "AT_BEGINNING" in right.anchors:
        raise Inexpressible("a condition inside a match")
    return replace(
        right,
        before=left.before + right.before,
        body=left.body + right.body,
        anchors=left.anchors | right.anchors,
    )


def _node(kind: str, value: Any) -> list[Alternative]:
    """Expand one node of the parsed expression."""
    if kind == "LITERAL":
        return [Alternative(body=(((value, value),),))]
    if kind == "IN":
        return [Alternative(body=(_chars(value),))]
    if kind == "BRANCH":
        return [one for branch in value[1] for one in _sequence(branch)]
    if kind == "SUBPATTERN" and not value[1] and not value[2]:
        return _sequence(value[3])
    if kind == "AT" and str(value) in {"AT_BEGINNING", "AT_END"}:
        return [Alternative(anchors=frozenset([str(value)]))]
    if kind == "MAX_REPEAT" and value[0] >= 1 and str(value[1]) == "MAXREPEAT":
        return [Alternative(body=(_one(value[2]),) * value[0], repeats=True)]
    if kind in {"ASSERT", "ASSERT_NOT"}:
        return _condition(kind == "ASSERT", value[0] > 0, value[1])
    raise Inexpressible(f"{kind} in a rule")


def _condition(wanted: bool, ahead: bool, tree: Any) -> list[Alternative]:
    if ahead:
        return [Alternative(after=_one(tree)) if wanted else Alternative(refused=_one(tree))]
    if not wanted:
        raise Inexpressible("what must not stand before a match")
    return [Alternative(before=body) for body in _bodies(tree)]


def _bodies(tree: Any) -> list[tuple[Chars, ...]]:
    """Expand what may hold characters only."""
    found = _sequence(tree)
    if any(not one.body or one != Alternative(body=one.body) for one in found):
        raise Inexpressible("more than characters in a condition or a repeat")
    return [one.body for one in found]


def _one(tree: Any) -> Chars:
    """Expand what may be one set of characters only."""
    bodies = _bodies(tree)
    if len(bodies) != 1 or len(bodies[0]) != 1:
        raise Inexpressible("more than one character in a condition or a repeat")
    return bodies[0][0]


def _chars(members: Any) -> Chars:
    ranges: list[list[int]] = []
    for kind, value in members:
        if str(kind) not in {"LITERAL", "RANGE"}:
            raise Inexpressible(f"{kind} in a set of characters")
        ranges.append([value, value] if str(kind) == "LITERAL" else list(value))
    merged: list[list[int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    return tuple((low, high) for low, high in merged)

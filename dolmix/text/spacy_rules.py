"""The rules of the installed spaCy's English tokenizer, compiled from the package at first use.

Nothing of spaCy's tables stands in dolmix. What is read from the installed package is checked to be
of a form that the kernels express; anything else raises `Inexpressible`, and spaCy itself is asked.
"""

import json
import re
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

import numpy as np

from dolmix.document import U8Array
from dolmix.text.spacy_affixes import POINTS, compile_affixes
from dolmix.text.spacy_patterns import Alternative, Inexpressible, alternatives
from dolmix.text.spacy_specials import compile_phrases, compile_specials
from dolmix.text.spacy_tables import Rules, pack
from dolmix.text.spacy_urls import (
    DIGIT,
    LANGUAGE,
    LOWER,
    PUNCT,
    TERMINAL,
    WORD,
    language_digest,
)
from dolmix.text.spacy_windows import compile_windows

PROBES = 400
"""Chunks in a text of `probes`."""


def compile_rules(nlp: Any) -> Rules:
    """Compile the rules of a spaCy pipeline's tokenizer and sentencizer.

    Raises Inexpressible.
    """
    tokenizer = nlp.tokenizer
    if tokenizer.token_match is not None or not tokenizer.faster_heuristics:
        raise Inexpressible("a token match, or special cases sought without heuristics")
    special = special_cases(tokenizer)
    phrases = {text: cut for text, cut in _uncased(nlp, special).items() if _has_affix(nlp, text)}
    prefixes = alternatives(_pattern(tokenizer.prefix_search), ["AT_BEGINNING"])
    suffixes = alternatives(_pattern(tokenizer.suffix_search), ["AT_END"])
    infixes = alternatives(_pattern(tokenizer.infix_finditer))
    return pack(
        compile_affixes([prefixes, suffixes, infixes])
        | compile_windows(prefixes, suffixes, infixes)
        | compile_specials(special)
        | compile_phrases(special, phrases)
        | {"marks": _marks(nlp)}
    )


def rules_digest(nlp: Any) -> str:
    """Digest everything that tokens and sentences depend on."""
    tokenizer = nlp.tokenizer
    searches = [tokenizer.prefix_search, tokenizer.suffix_search, tokenizer.infix_finditer]
    searches += [tokenizer.token_match, tokenizer.url_match]
    known = {
        "version": version("spacy").split(".")[:2],
        "patterns": [search and search.__self__.pattern for search in searches],
        "flags": [search and search.__self__.flags for search in searches],
        "special": special_cases(tokenizer),
        "faster_heuristics": tokenizer.faster_heuristics,
        "ends": sorted(nlp.get_pipe("sentencizer").punct_chars),
    }
    text = json.dumps(known, sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def probes(nlp: Any) -> list[str]:
    """Make texts of the rules themselves: each special case and each affix, in several places."""
    tokenizer = nlp.tokenizer
    made = [text for text in special_cases(tokenizer) if not text.isspace()]
    for search in (tokenizer.prefix_search, tokenizer.suffix_search, tokenizer.infix_finditer):
        found = alternatives(_pattern(search), None)
        made += [_sample(one, end) for one in found for end in (0, -1)]
    places = ("{}", "({}).", "ab-{}", "x{},", "{}7", '"{}"\n', "{} ) {}")
    chunks = [place.format(*[text] * 2) for text in made for place in places]
    return [" ".join(chunks[at : at + PROBES]) for at in range(0, len(chunks), PROBES)]


def _sample(one: Alternative, end: int) -> str:
    """Spell out an alternative, each set by its first or last character."""
    sets = [*one.before, *one.body, *([] if one.after is None else [one.after])]
    return "".join(chr(chars[end][end]) for chars in sets)


def special_cases(tokenizer: Any) -> dict[str, list[str]]:
    """Read the special cases: string → its tokens, in spaCy's order."""
    from spacy.symbols import ORTH

    return {text: [piece[ORTH] for piece in pieces] for text, pieces in tokenizer.rules.items()}


def _uncased(nlp: Any, special: dict[str, list[str]]) -> dict[str, list[str]]:
    """Cut every special case as if there were none."""
    old = nlp.tokenizer
    bare = type(old)(
        nlp.vocab,
        prefix_search=old.prefix_search,
        suffix_search=old.suffix_search,
        infix_finditer=old.infix_finditer,
        url_match=old.url_match,
    )
    return {text: [token.text for token in bare(text)] for text in special}


def _has_affix(nlp: Any, text: str) -> bool:
    """Whether a special case is also sought among the tokens: spaCy's own heuristics."""
    find = nlp.tokenizer
    return bool(
        " " in text or find.find_prefix(text) or find.find_infix(text) or find.find_suffix(text)
    )


def _pattern(method: Any) -> str:
    """Read the expression behind a bound method of it: what spaCy's tokenizer holds."""
    pattern = getattr(method, "__self__", None)
    if not isinstance(pattern, re.Pattern) or pattern.flags != re.UNICODE:
        raise Inexpressible(f"{method!r:.40} where a plain expression should be")
    return str(pattern.pattern)


def _marks(nlp: Any) -> U8Array:
    """Mark code points with what URLs and sentences depend on."""
    from spacy.attrs import IS_PUNCT
    from spacy.lang.char_classes import ALPHA_LOWER

    if language_digest(_pattern(nlp.tokenizer.url_match), ALPHA_LOWER) != LANGUAGE:
        raise Inexpressible("another expression for URLs")
    ends = nlp.get_pipe("sentencizer").punct_chars
    if any(len(char) != 1 for char in ends):
        raise Inexpressible("sentences that end with more than one character")
    every = "".join(map(chr, range(POINTS)))
    marks = np.zeros(POINTS, np.uint8)
    for bit, chars in ((WORD, r"\w"), (DIGIT, r"\d"), (LOWER, f"[{ALPHA_LOWER}]")):
        for found in re.finditer(f"{chars}+", every):
            marks[found.start() : found.end()] |= bit
    if any(marks[ord(char)] & LOWER for char in ":/?#.@"):
        raise Inexpressible("top-level domains with marks")
    is_punct = nlp.vocab.lex_attr_getters[IS_PUNCT]
    seen = np.fromiter(map(str.isprintable, every), np.bool_, POINTS)
    maybe = seen & (marks & WORD == 0)
    maybe[ord("_")] = True  # the one word character that is punctuation
    for point in np.flatnonzero(maybe):
        marks[point] |= PUNCT * is_punct(every[point])
    marks[[ord(char) for char in ends]] |= TERMINAL
    return marks

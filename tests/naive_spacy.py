"""Plain Python twins of the kernels of `dolmix/text/spacy_*.py`: spaCy's algorithm and regexes.

Only the tables are spaCy's (special cases, compiled regular expressions, punctuation); what is done
with them is written out here once more, from the description of `spacy/tokenizer.pyx`.
"""

import re
from functools import cache
from typing import Any

Token = tuple[str, bool]
"""Text of a token, and whether one space follows it."""


@cache
def pipeline() -> Any:
    """SpaCy's blank English pipeline with a sentencizer."""
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


@cache
def special_cases() -> dict[str, list[str]]:
    """Read the special cases: string → its tokens."""
    from spacy.symbols import ORTH

    return {text: [p[ORTH] for p in made] for text, made in pipeline().tokenizer.rules.items()}


@cache
def phrases() -> dict[tuple[str, ...], str]:
    """Find the special cases sought among tokens, by the tokens they fall into without the rule."""
    find = pipeline().tokenizer
    sought = [
        text
        for text in special_cases()
        if " " in text or find.find_prefix(text) or find.find_infix(text) or find.find_suffix(text)
    ]
    return {tuple(cut_chunk(text, {})): text for text in sought if not text.isspace()}


def cut_chunk(chunk: str, special: dict[str, list[str]]) -> list[str]:
    """Cut text without whitespace, whatever stands around it."""
    find = pipeline().tokenizer
    heads: list[str] = []
    tails: list[str] = []
    while chunk and chunk not in special:
        before = find.find_prefix(chunk)
        if chunk[before:] in special:
            heads.append(chunk[:before])
            chunk = chunk[before:]
            break
        behind = find.find_suffix(chunk[before:])
        if behind and chunk[:-behind] in special:
            tails.insert(0, chunk[-behind:])
            chunk = chunk[:-behind]
            break
        if not before and not behind:
            break
        heads += [chunk[:before]] if before else []
        tails = ([chunk[-behind:]] if behind else []) + tails
        chunk = chunk[before : len(chunk) - behind]
    return heads + cut_core(chunk, special) + tails


def cut_core(chunk: str, special: dict[str, list[str]]) -> list[str]:
    """Cut what has neither prefix nor suffix."""
    if chunk in special:
        return special[chunk]
    tokenizer = pipeline().tokenizer
    if not chunk or tokenizer.url_match(chunk):
        return [chunk] if chunk else []
    cuts = [0]
    for match in tokenizer.infix_finditer(chunk):
        if match.start() > 0:
            cuts += [match.start(), match.end()]
    return [chunk[a:b] for a, b in zip(cuts, [*cuts[1:], len(chunk)], strict=True) if a < b]


def tokens(text: str) -> list[Token]:
    """Cut a text into tokens, whitespace among them."""
    found: list[Token] = []
    for run in re.findall(r"\s+|\S+", text):
        if not run.isspace():
            found += [(piece, False) for piece in cut_chunk(run, special_cases())]
            continue
        if run[0] == " " and found:
            found[-1] = (found[-1][0], True)
        if rest := run[1:] if run[0] == " " and found else run:
            found.append((rest, False))
    return apply_phrases(found)


def apply_phrases(found: list[Token]) -> list[Token]:
    """Put special cases in the place of the tokens that spell them."""
    longest = max(map(len, phrases()))
    runs = [
        (size, start)
        for start in range(len(found))
        for size in range(1, min(longest, len(found) - start) + 1)
        if tuple(piece for piece, _ in found[start : start + size]) in phrases()
    ]
    taken: set[int] = set()
    chosen: dict[int, int] = {}
    for size, start in sorted(runs, key=lambda run: (-run[0], run[1])):
        if start not in taken and start + size - 1 not in taken:
            chosen[start] = size
        taken |= set(range(start, start + size))
    out: list[Token] = []
    at = 0
    while at < len(found):
        run = found[at : at + chosen.get(at, 1)]
        apart = any(space for _, space in run[:-1])
        text = "".join(piece for piece, _ in run)
        if at in chosen and not apart:
            pieces = special_cases()[text]
            out += [(piece, False) for piece in pieces[:-1]] + [(pieces[-1], run[-1][1])]
        else:
            out += run
        at += len(run)
    return out


def split_words(text: str) -> list[str]:
    """Tokens without whitespace."""
    return [piece for piece, _ in tokens(text) if not piece.isspace()]


def count_sentences(text: str) -> int:
    """Sentences of a text; an empty one has one too."""
    return max(1, len(_sentences(text)))


def sentences(text: str) -> list[str]:
    """Sentences of a text that are more than white space, without it at their ends."""
    return [stripped for sentence in _sentences(text) if (stripped := sentence.strip())]


def _sentences(text: str) -> list[str]:
    """Sentences of a text, each with the space behind its last token."""
    from spacy.lang.lex_attrs import is_punct

    ends = pipeline().get_pipe("sentencizer").punct_chars
    found, seen = [""], False
    for piece, space in tokens(text):
        if seen and not is_punct(piece) and piece not in ends:
            found.append("")
            seen = False
        elif piece in ends:
            seen = True
        found[-1] += piece + " " * space
    return found

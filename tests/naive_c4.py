"""Plain-Python twins of the C4 kernels."""

import re
from collections import Counter
from collections.abc import Sequence

LONG, NO_END, FEW, JAVASCRIPT, POLICY, KEPT = (
    *("too_long_word", "no_terminal_punct", "too_few_words", "javascript", "policy", "kept"),
)
POLICIES = ("terms of use", "privacy policy", "cookie policy")
POLICIES += ("uses cookies", "use of cookies", "use cookies")
CITATION = re.compile(r"\[(\d*|edit|citation needed)\]")


def phrases_in(text: str, phrases: Sequence[tuple[str, int, bool]], edges: str) -> int:
    """Kinds of phrases in the lower case of a text: (phrase, kind, whether it must be whole)."""
    lower, edge = text.lower(), r"\W" if edges == "nonword" else r"\s"
    found = 0
    for phrase, kind, whole in phrases:
        pattern = re.escape(phrase)
        if re.search(rf"(?:{edge}|^){pattern}(?:{edge}|\Z)" if whole else pattern, lower):
            found |= kind
    return found


def judge_line(
    line: str,
    *,
    max_word_chars: int,
    citations: bool,
    punctuation: bool,
    min_words: int,
    javascript: bool,
    policy: bool,
) -> tuple[str, str, list[str]]:
    """Give one line's fate, what it is after its citations, and the document's marks that it has.

    Marks are those of the tests that the line reaches.
    """
    words, stripped = line.split(), line.strip()
    if max_word_chars >= 0 and max(map(len, words), default=0) > max_word_chars:
        return LONG, stripped, []
    clean = CITATION.sub("", stripped) if citations else stripped
    lower = clean.lower()
    if punctuation and (clean[-1:] not in tuple(".?!\"'") or clean[-3:] == "..."):
        return NO_END, clean, []
    if len(words) < min_words:
        return FEW, clean, []
    marks = ["lorem"] if "lorem ipsum" in lower else []
    if javascript and "javascript" in lower:
        return JAVASCRIPT, clean, marks
    marks += ["curly"] if "{" in clean else []
    if policy and any(phrase in lower for phrase in POLICIES):
        return POLICY, clean, marks
    return KEPT, clean, marks


def clean_lines(text: str, **rules: int) -> tuple[list[int], list[str], str]:
    """Give counts in the order of `CleanLines.counts`, the kept lines, and what is made of them."""
    judged = [judge_line(line, **rules) for line in text.splitlines()]  # type: ignore[arg-type]
    fates = Counter(fate for fate, _, _ in judged)
    marks = [mark for _, _, found in judged for mark in found]
    kept = [line for fate, line, _ in judged if fate == KEPT]
    counts = [len(judged), *(fates[f] for f in (LONG, NO_END, FEW, JAVASCRIPT, POLICY, KEPT))]
    counts += [marks.count("lorem"), marks.count("curly"), int(marks[:1] == ["lorem"])]
    return counts, kept, "\n".join(kept).strip()


def mark_lines(text: str, *, punctuation: bool, min_words: int) -> tuple[list[int], str]:
    """Give counts in the order of `MarkedLines.counts`, and the text of the lines that stay."""
    lines = text.split("\n")
    lines = [line + "\n" for line in lines[:-1]] + lines[-1:]
    unfinished = [punctuation and line.strip()[-1:] not in tuple('.?!"') for line in lines]
    short = [len(line.split()) < min_words for line in lines]
    kept = [line for line, a, b in zip(lines, unfinished, short, strict=True) if not a and not b]
    return [len(lines), sum(unfinished), sum(short), len(kept)], "".join(kept)


def third_longest_line(text: str) -> int:
    """Characters of the third longest line, 0 with fewer than three."""
    lengths = sorted(map(len, text.split("\n")), reverse=True)
    return lengths[2] if len(lengths) > 2 else 0

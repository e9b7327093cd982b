"""Plain twins of the n-gram model: units of text, modified Kneser-Ney, spelling; no rounding."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BOUNDARY = "\n"
UNKNOWN = "<unknown>"
LONGEST = 32
APOSTROPHES = "'\u2019"
JOINERS = {0x200C, 0x200D}
SEPARATORS = {0x2028, 0x2029}
BLANKS = {0x85, 0xA0, 0xAD, 0x202F, 0x205F, 0x2060, *range(0x2000, 0x2010)} - JOINERS
SIGNS = {0xD7, 0xF7, 0x60C, 0x61B, 0x61F, 0x6D4, 0x964, 0x965}
UNSPACED = {*range(0xE00, 0xF00), *range(0x1000, 0x10A0), *range(0x1780, 0x1800)}


def kind(char: str) -> str:
    """Say what a character is: a letter, a sign, white space, the end of a line."""
    point = ord(char)
    if char == "\n" or point in SEPARATORS:
        return "newline"
    if point < 0x80:
        return "letter" if char.isalnum() else "space" if point <= 32 or point == 127 else "sign"
    if point in BLANKS:
        return "space"
    if point in JOINERS or 0x2C00 <= point < 0x2E00:
        return "letter"
    spaced = 0xC0 <= point < 0x2000 and point not in SIGNS and point not in UNSPACED
    return "letter" if spaced else "sign"


def folded(char: str) -> str:
    """Small letter of ASCII, Latin-1, Greek and Cyrillic capitals; 0 of a digit."""
    point = ord(char)
    if "0" <= char <= "9":
        return "0"
    if 0xC0 <= point <= 0xDE or 0x391 <= point <= 0x3A9 or 0x410 <= point <= 0x42F:
        return chr(point + 0x20)
    if 0x400 <= point <= 0x40F:
        return chr(point + 0x50)
    return char.lower() if point < 0x80 else char


def units(text: str) -> list[tuple[str, str]]:
    """Units of a text, each with its spelling; boundaries have none, and none is at either end."""
    found: list[tuple[str, str]] = []
    at, broken = 0, False
    while at < len(text):
        what = kind(text[at])
        if what in {"space", "newline"}:
            broken = broken or what == "newline"
            at += 1
            continue
        if broken and found:
            found.append((BOUNDARY, ""))
        broken = False
        stop = word_end(text, at) if what == "letter" else at + 1
        spelt = text[at:stop]
        is_word = what == "letter"
        unit = "".join("'" if c in APOSTROPHES else folded(c) for c in spelt) if is_word else spelt
        found.append((unit, spelt))
        at = stop
    return found


def word_end(text: str, start: int) -> int:
    """Where the word ends that starts at `start`."""
    at = start
    while at < len(text) and at - start < LONGEST:
        char = text[at]
        joins = (
            char in APOSTROPHES
            and at > start
            and at + 1 < len(text)
            and kind(text[at + 1]) == "letter"
        )
        if kind(char) != "letter" and not joins:
            break
        at += 1
    return at


def spelling(spelt: str) -> list[int]:
    """Symbols of a spelling: bytes with small ASCII letters, and the end (256)."""
    return [*("".join(c.lower() if c.isascii() else c for c in spelt)).encode(), 256]


@dataclass
class Model:
    """Probabilities as they are, one context after another."""

    vocabulary: list[str]
    trigrams: dict[tuple[str, str], dict[str, float]]
    bigrams: dict[str, dict[str, float]]
    unigrams: dict[str, float]
    spellings: Counter[tuple[int, int]]

    def probability(self, unit: str, older: str, last: str) -> float:
        """P(unit | the two before it)."""
        kept = self.trigrams.get((older, last), {})
        if unit in kept:
            return kept[unit]
        left = 1 - sum(kept.values())
        free = 1 - sum(self.shorter(other, last) for other in kept)
        return self.shorter(unit, last) * (left / free if kept else 1.0)

    def shorter(self, unit: str, last: str) -> float:
        """P(unit | the one before it)."""
        kept = self.bigrams.get(last, {})
        if unit in kept:
            return kept[unit]
        left = 1 - sum(kept.values())
        free = 1 - sum(self.unigrams[other] for other in kept)
        return self.unigrams[unit] * (left / free if kept else 1.0)

    def spelt(self, symbol: int, before: int) -> float:
        """P(symbol of a spelling | the one before it)."""
        alone = Counter[int]()
        for (_, then), count in self.spellings.items():
            alone[then] += count
        single = witten_bell(alone, symbol, 1 / 257)
        after = Counter({then: n for (a, then), n in self.spellings.items() if a == before})
        return witten_bell(after, symbol, single)

    def bits(self, text: str) -> tuple[float, int, int]:
        """Bits of a text, its units, and those that are unknown."""
        older = last = BOUNDARY
        total, unknown, found = 0.0, 0, units(text)
        for unit, spelt in found:
            now = unit if unit in self.unigrams else UNKNOWN
            total -= math.log2(self.probability(now, older, last))
            if now == UNKNOWN:
                unknown += 1
                before = 256
                for symbol in spelling(spelt):
                    total -= math.log2(self.spelt(symbol, before))
                    before = symbol
            older, last = last, now
        return total, len(found), unknown


def witten_bell(counts: Counter[int], symbol: int, lower: float) -> float:
    """Share of a symbol among counts, interpolated with what it is without them."""
    total, kinds = sum(counts.values()), len(counts)
    return (counts[symbol] + kinds * lower) / (total + kinds) if total else lower


def train(texts: Sequence[str], *, min_count: int, min_trigram: int) -> Model:
    """Estimate the model of some texts, one dictionary after another."""
    every = [units(text) for text in texts]
    counts = Counter(u for found in every for u, _ in found if u != BOUNDARY)
    known = {unit for unit, count in counts.items() if count >= min_count}
    vocabulary = [BOUNDARY, UNKNOWN, *sorted(known)]
    stream, spellings = [BOUNDARY, BOUNDARY], Counter[tuple[int, int]]()
    for found in every:
        for unit, spelt in found:
            stream.append(unit if unit in known or unit == BOUNDARY else UNKNOWN)
            if stream[-1] == UNKNOWN:
                before = 256
                for symbol in spelling(spelt):
                    spellings[before, symbol] += 1
                    before = symbol
        stream += [BOUNDARY, BOUNDARY]
    seen = Counter(zip(stream, stream[1:], stream[2:], strict=False))
    follows2 = Counter((b, c) for _, b, c in seen)
    follows1 = Counter(c for _, c in follows2)
    unigrams = interpolated(
        {u: follows1[u] for u in vocabulary}, dict.fromkeys(vocabulary, 1 / len(vocabulary))
    )
    model = Model(vocabulary, {}, {}, unigrams, spellings)
    for last, kept in grouped(follows2):
        model.bigrams[last] = {
            u: p for u, p in interpolated(kept, unigrams, follows2.values()).items() if u in kept
        }
    for context, kept in grouped(seen):
        lower = {u: model.shorter(u, context[1]) for u in vocabulary}
        shares = interpolated(kept, lower, seen.values())
        often = {u: shares[u] for u, count in kept.items() if count >= min_trigram}
        if often:
            model.trigrams[context] = often
    return model


def grouped(counts: Mapping[Any, int]) -> Iterator[tuple[Any, dict[str, int]]]:
    """Give counts of n-grams by their context: one unit, or a pair."""
    contexts: dict[Any, dict[str, int]] = {}
    for ngram, count in counts.items():
        context = ngram[0] if len(ngram) == 2 else ngram[:-1]
        contexts.setdefault(context, {})[ngram[-1]] = count
    yield from contexts.items()


def interpolated(
    counts: Mapping[str, int], lower: Mapping[str, float], every: Iterable[int] | None = None
) -> dict[str, float]:
    """P(unit) of each unit: its count less a discount, and its part of what discounts took.

    every  counts of all n-grams of the order, from which the discounts are estimated
    """
    one, two, three = discounts(list(counts.values() if every is None else every))
    off = {u: (0.0, one, two, three)[min(n, 3)] for u, n in counts.items()}
    total, shared = sum(counts.values()), sum(off.values())
    return {u: (counts.get(u, 0) - off.get(u, 0.0) + shared * p) / total for u, p in lower.items()}


def discounts(counts: list[int]) -> tuple[float, float, float]:
    """Discounts of counts 1, 2, and 3 or more (Chen and Goodman 1998), or 0.5, 1 and 1.5."""
    n = [sum(c == k for c in counts) for k in range(5)]
    if min(n[1:4]) > 0:
        share = n[1] / (n[1] + 2 * n[2])
        found = tuple(k - (k + 1) * share * n[k + 1] / n[k] for k in (1, 2, 3))
        if all(0 < off < k for k, off in enumerate(found, 1)):
            return found
    return 0.5, 1.0, 1.5

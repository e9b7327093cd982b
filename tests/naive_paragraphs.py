"""Plain-Python twins of paragraph dedup and decontamination: slow, obvious, held to by kernels."""

import unicodedata
from collections.abc import Iterable, Sequence

from naive_dedup import UNSPACED

Unit = tuple[int, int, bytes | None]
"""Start and stop in bytes, and the normalised bytes; None where those are too few."""


def units(text: str, *, paragraphs: bool, normalize: str, min_bytes: int) -> list[Unit]:
    """Lines that are not blank, or runs of them."""
    spans: list[list[int]] = []
    place, joins = 0, False
    for line in text.split("\n"):
        size = len(line.encode())
        if line.strip():
            if joins:
                spans[-1][1] = place + size
            else:
                spans.append([place, place + size])
        joins = paragraphs and bool(line.strip())
        place += size + 1
    data = text.encode()
    return [(a, b, _normalised(data[a:b].decode(), normalize, min_bytes)) for a, b in spans]


def _normalised(unit: str, normalize: str, min_bytes: int) -> bytes | None:
    if normalize == "strip":
        unit = unit.strip()
    if normalize == "whitespace":
        unit = " ".join(unit.split())
    data = unit.encode()
    return data if len(data) >= min_bytes else None


def duplicates(documents: Iterable[Sequence[Unit]]) -> list[list[bool]]:
    """Which units of which documents stand earlier in the corpus."""
    seen: set[bytes] = set()
    found = []
    for document in documents:
        marks = []
        for _, _, content in document:
            marks.append(content in seen)
            if content is not None:
                seen.add(content)
        found.append(marks)
    return found


def without(text: str, found: Sequence[Unit], out: Sequence[bool]) -> str:
    """Text after some units went: with the gap after each, or, at the end, with the gap before."""
    data = text.encode()
    if not any(out):
        return text
    kept = [n for n in range(len(found)) if not out[n]]
    if not kept:
        return (data[: found[0][0]] + data[found[-1][1] :]).decode()
    pieces = [data[: found[0][0]]]
    for n in kept[:-1]:
        following = found[n + 1][0]
        pieces.append(data[found[n][0] : following])
    pieces.append(data[found[kept[-1]][0] : found[kept[-1]][1]])
    pieces.append(data[found[-1][1] :])
    return b"".join(pieces).decode()


def bloom_places(key: int, size: int, num_hashes: int, seed: int) -> list[int]:
    """Bits of a key, by enhanced double hashing."""
    mask = (1 << 64) - 1
    at = spread((key + seed) & mask) % size
    step = spread(key ^ (~seed & mask)) % size
    places = []
    for k in range(num_hashes):
        places.append(at)
        at = (at + step) % size
        step = (step + k + 1) % size
    return places


def spread(code: int) -> int:
    """Avalanche of XXH64."""
    mask = (1 << 64) - 1
    code = ((code ^ code >> 33) * 0xC2B2AE3D27D4EB4F) & mask
    code = ((code ^ code >> 29) * 0x165667B19E3779F9) & mask
    return code ^ code >> 32


def folded_words(text: str) -> list[str]:
    """Split into runs of letters and digits, lower-cased, without accents, or single characters."""
    words, word = [], ""
    for char in text:
        if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
            continue
        alone = any(start <= ord(char) < stop for start, stop in UNSPACED)
        if word and (alone or not char.isalnum()):
            words.append(word)
            word = ""
        if char.isalnum():
            word += unicodedata.normalize("NFD", char.lower())[0]
        if word and alone:
            words.append(word)
            word = ""
    return [*words, word] if word else words


def grams(words: Sequence[str], n: int, min_words: int) -> set[tuple[str, ...]]:
    """N-grams of a question; all its words where it has none; nothing where it is too short."""
    size = n if len(words) >= n else len(words) if len(words) >= min_words else 0
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if size else set()


def contains(words: Sequence[str], gram: tuple[str, ...]) -> bool:
    """Whether a run of words is this n-gram."""
    return any(tuple(words[i : i + len(gram)]) == gram for i in range(len(words)))


def overlaps(text: str, questions: Sequence[set[tuple[str, ...]]]) -> list[int]:
    """How many n-grams of each question a text contains."""
    words = folded_words(text)
    return [sum(contains(words, gram) for gram in question) for question in questions]

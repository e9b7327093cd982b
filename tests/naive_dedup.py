"""Plain-Python twins of the dedup kernels: slow, obvious, and what the kernels are held to."""

import hashlib
import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import regex
import xxhash
from datatrove.utils.text import PUNCTUATION

MASK32 = (1 << 32) - 1
MASK64 = (1 << 64) - 1
FNV_BASIS = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
ROLL = 0x9E3779B97F4A7C17
PUNCTUATION_CHARS = frozenset(PUNCTUATION)
UNSPACED = (
    (0x0E00, 0x0F00),
    (0x1000, 0x10A0),
    (0x1780, 0x1800),
    (0x3005, 0x3008),
    (0x3040, 0x3100),
    (0x31F0, 0x3200),
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0xFF66, 0xFFA0),
    (0x20000, 0x32000),
)


def normalised(text: str) -> str:
    """NFC, each run of white space as one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def collapsed(text: str) -> str:
    """Each run of white space as one space, none at the ends."""
    return " ".join(text.split())


@cache
def letter(char: str) -> str:
    """Tell what a character counts as: a letter, "0" for digits, "" nothing, " " a separator."""
    if 0x20000 <= ord(char) < 0x2F800 or 0x2FA20 <= ord(char) < 0x32000:
        return char  # Han, in whichever version of Unicode it is assigned
    category = unicodedata.category(char)
    if category == "Nd":
        return "0"
    if category in {"Mn", "Me", "Cf"}:
        return ""
    if category[0] not in {"L", "M", "N"}:
        return " "
    lower = char.lower()
    bare = "".join(
        c for c in unicodedata.normalize("NFD", lower) if unicodedata.category(c) != "Mn"
    )
    return next(c for c in (bare, lower, char) if len(c) == 1)


def words(text: str) -> list[str]:
    """Simplified words of a text; characters of unspaced scripts are marked as words by a NUL."""
    spelled = ""
    for char in text:
        mapped = letter(char)
        if mapped == "0" and spelled.endswith("0"):
            continue
        if mapped.strip() and any(start <= ord(char) < stop for start, stop in UNSPACED):
            mapped = f" \0{mapped} " if mapped != "0" else mapped
        spelled += mapped
    return spelled.split(" ") if " " not in spelled else [w for w in spelled.split(" ") if w]


def mix(value: int) -> int:
    """Finaliser of splitmix64."""
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK64
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK64
    return value ^ value >> 31


def word_hash(word: str) -> int:
    """FNV-1a over code points, mixed."""
    flag = 1 << 31 if word.startswith("\0") else 0
    value = FNV_BASIS
    for char in word.removeprefix("\0"):
        value = ((value ^ (ord(char) | flag)) * FNV_PRIME) & MASK64
    return mix(value)


def shingles(text: str, ngram: int) -> list[tuple[str, ...]]:
    """List the runs of `ngram` words; where there are fewer words, all of them as one run."""
    found = [w for w in words(text) if w]
    length = min(ngram, len(found))
    return [tuple(found[n : n + length]) for n in range(len(found) - length + 1)] if found else []


def shingle_hash(shingle: Sequence[str]) -> int:
    """Polynomial over the word hashes, salted by length, mixed."""
    value = 0
    for word in shingle:
        value = (value * ROLL + word_hash(word)) & MASK64
    return mix(value ^ mix(len(shingle)))


def multipliers(seed: int, num_hashes: int) -> list[int]:
    """One multiplier a lane."""
    return [mix((mix(seed) + lane) & MASK64) >> 32 for lane in range(num_hashes)]


def signature(text: str, *, ngram: int, num_hashes: int, seed: int) -> list[int] | None:
    """Smallest value of each lane over the shingles; None without words."""
    hashes = [shingle_hash(s) for s in shingles(text, ngram)]
    if not hashes:
        return None
    lanes = multipliers(seed, num_hashes)
    return [min(((h >> 32) * m + (h & MASK32)) & MASK32 for h in hashes) for m in lanes]


def jaccard(left: Iterable[object], right: Iterable[object]) -> float:
    """Share of elements in both sets among those in either."""
    a, b = set(left), set(right)
    return len(a & b) / len(a | b) if a | b else 1.0


def band_keys(lanes: Sequence[int], bands: int, rows: int) -> list[int]:
    """Chain the lanes of each band through `mix`."""
    keys = []
    for band in range(bands):
        key = 0
        for lane in lanes[band * rows : (band + 1) * rows]:
            key = mix((key + lane + 1) & MASK64)
        keys.append(key)
    return keys


def candidate_pairs(keys: Iterable[object], documents: Iterable[int]) -> set[tuple[int, int]]:
    """Smallest document of each group with every other one."""
    groups = defaultdict(set)
    for key, document in zip(keys, documents, strict=True):
        groups[key].add(document)
    return {(min(g), other) for g in groups.values() for other in g if other != min(g)}


def clusters(num_documents: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Smallest document reachable from each document, by spreading until nothing changes."""
    label = list(range(num_documents))
    edges = list(pairs)
    changed = True
    while changed:
        changed = False
        for left, right in edges:
            low = min(label[left], label[right])
            if label[left] != low or label[right] != low:
                label[left] = label[right] = low
                changed = True
    return label


def survivors(
    cluster: Sequence[int],
    alive: Sequence[bool],
    columns: Sequence[tuple[Sequence[float | None], bool]],
) -> tuple[list[bool], list[int]]:
    """Best living document of each cluster; a column is (values, whether larger is better)."""
    kept, duplicate_of = list(alive), [-1] * len(cluster)
    for root in set(cluster):
        members = [d for d, c in enumerate(cluster) if c == root and alive[d]]
        if not members:
            continue
        best = min(members, key=lambda d: (*(_rank(v[d], larger) for v, larger in columns), d))
        for document in members:
            if document != best:
                kept[document] = False
                duplicate_of[document] = best
    return kept, duplicate_of


def _rank(value: float | None, larger: bool) -> tuple[bool, float]:
    missing = value is None or math.isnan(value)
    return missing, 0.0 if missing else -value if larger else value


def simplified(text: str) -> str:
    """Do what datatrove does before it splits a text, one replacement after another."""
    pattern = r"\p{Nd}+(?:[.,\u060c\u066b\u2396\u2397\u2398]\p{Nd}+)?"
    numbers = regex.sub(pattern, "0", text.lower())
    spaced = "".join(" " if c in PUNCTUATION_CHARS else c for c in numbers)
    marked = unicodedata.normalize("NFD", " ".join(spaced.split()))
    return "".join(c for c in marked if unicodedata.category(c) != "Mn").strip()


def hash_bytes(data: bytes, function: str, bits: int) -> int:
    """XxHash, or the first bytes of SHA-1, as an unsigned number."""
    if function == "sha1":
        return int.from_bytes(hashlib.sha1(data).digest()[: bits // 8], "little")
    return (xxhash.xxh64_intdigest if bits == 64 else xxhash.xxh32_intdigest)(data)


def datatrove_lanes(hashes: Sequence[int], num_hashes: int, seed: int, bits: int) -> list[int]:
    """Smallest value of each of datatrove's permutations, in numbers of any size."""
    prime = (1 << 61) - 1
    legacy = np.random.RandomState(seed)
    factors = legacy.randint(1, prime, dtype=np.uint64, size=num_hashes).tolist()
    addends = legacy.randint(0, prime, dtype=np.uint64, size=num_hashes).tolist()
    mask = (1 << bits) - 1
    return [
        min((((h * a + b) & MASK64) % prime) & mask for h in hashes)
        for a, b in zip(factors, addends, strict=True)
    ]


def datatrove_clusters(
    pairs: Iterable[tuple[int, int]], fixed: int | None = None
) -> tuple[dict[int, int], dict[int, int]]:
    """Root of each node, and size by root: the smaller tree joins, at equal sizes the second."""
    members: dict[int, set[int]] = {}
    root: dict[int, int] = {}
    for pair in pairs:
        for node in pair:
            if node not in root:
                root[node], members[node] = node, {node}
        left, right = root[pair[0]], root[pair[1]]
        if left == right:
            continue
        if right == fixed or (left != fixed and len(members[left]) < len(members[right])):
            left, right = right, left
        for node in members.pop(right):
            root[node] = left
            members[left].add(node)
    return root, {node: len(group) for node, group in members.items()}

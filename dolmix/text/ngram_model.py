"""How surprising a text is to an n-gram model: bits a unit, by modified Kneser-Ney trigrams.

A unit (dolmix.text.ngram_model_units) is predicted from the two before it; one that the model does
not know costs what an unknown unit costs there, and its spelling, byte after byte. A text begins
after a line's end. Costs are whole numbers of 2^-14 bits: the same for any batch, order or machine.
Twin: tests/naive_ngram.py.

A model file is a line of JSON (settings, counts, where each array is, digest of them all), then the
arrays, little-endian, each at a multiple of 64 bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from dolmix.document import I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.errors import DataError
from dolmix.files import commit
from dolmix.text.compiled import kernel, leaf
from dolmix.text.ngram_model_tables import (
    EMPTY,
    NEUTRAL,
    back_off_of,
    bigram_key,
    cost_of,
    find,
    find_word,
    trigram_key,
)
from dolmix.text.ngram_model_units import BOUNDARY, END, next_unit

FORMAT: Final = "dolmix-ngram-1"
STEPS: Final = 1 << 14
"""Steps of a bit in which costs are counted."""
BOUNDARY_ID: Final = 0
UNKNOWN_ID: Final = 1
SPELLING_END: Final = 256
"""Symbol after the last byte of a spelling; before the first byte, in place of a byte."""
ALIGNED: Final = 64
MOST_BITS: Final = 1_000.0
"""Bits a unit, at most, that a perplexity is made of: 2 to that power is a float64."""
ARRAYS: Final = ("words", "unigram_costs", "unigram_back_offs", "bigrams", "trigrams", "spelling")


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A model as it is looked up.

    words              (2^a,) uint64   unit → id; ids 0 and 1 are the boundary and the unknown unit
    unigram_costs      (V,) int32      -log2 P(unit), in 2^-14 bits
    unigram_back_offs  (V,) int32      -log2 of the factor for what no bigram begins with
    bigrams            (2^b,) uint64   see dolmix.text.ngram_model_tables
    trigrams           (2^c,) uint64
    spelling           (257, 257) int32  -log2 P(byte or end | byte before or start)
    about              what the file says of its making
    """

    words: U64Array
    unigram_costs: I32Array
    unigram_back_offs: I32Array
    bigrams: U64Array
    trigrams: U64Array
    spelling: I32Array
    about: Mapping[str, Any]

    @property
    def vocabulary(self) -> int:
        """Units that are predicted, the boundary and the unknown unit among them."""
        return int(self.unigram_costs.size)

    def score(self, texts: TextBatch) -> "Scores":
        """Add up what every text costs."""
        counts = np.zeros((3, len(texts)), np.int64)
        model = (*self._lists, self.bigrams, self.trigrams, self.spelling)
        score_texts(texts.utf8, texts.offsets, model, counts)
        return Scores(*counts)

    @property
    def _lists(self) -> tuple[U64Array, I32Array, I32Array]:
        return self.words, self.unigram_costs, self.unigram_back_offs

    def write(self, path: Path) -> str:
        """Write the model, and return the digest of its arrays; the bytes follow from the model."""
        blocks, places, at = [], {}, 0
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            data = array.astype(array.dtype.newbyteorder("<")).tobytes()
            places[name] = {"dtype": array.dtype.name, "shape": array.shape, "at": at}
            blocks.append(data + bytes(-len(data) % ALIGNED))
            at += len(blocks[-1])
        payload = b"".join(blocks)
        digest = _digest(payload)
        header = {"format": FORMAT, "digest": digest, "arrays": places, "about": dict(self.about)}
        line = orjson.dumps(header, option=orjson.OPT_SORT_KEYS)
        commit.write_bytes(path, line + b" " * (-(len(line) + 1) % ALIGNED) + b"\n" + payload)
        return digest


@dataclass(frozen=True, eq=False)
class Scores:
    """What N texts cost.

    units    (N,) int64   units, boundaries among them
    unknown  (N,) int64   units that the model does not know
    cost     (N,) int64   -log2 of the probability, in 2^-14 bits
    """

    units: I64Array
    unknown: I64Array
    cost: I64Array

    def perplexity(self) -> NDArray[np.float64]:
        """(N,) float64: 2 to the bits a unit; NaN of a text without units."""
        bits = np.full(self.units.size, np.nan)
        np.divide(self.cost, self.units * float(STEPS), out=bits, where=self.units > 0)
        perplexity: NDArray[np.float64] = np.exp2(np.minimum(bits, MOST_BITS))
        return perplexity


def read_model(path: Path) -> NgramModel:
    """Open a model file; its arrays are mapped, not read.

    Raises DataError for a file that is not one, or is damaged.
    """
    header, start = _header(path)
    raw = np.memmap(path, np.uint8, "r")[start:]
    if _digest(raw.data) != header["digest"]:
        raise DataError(f"{path}: the tables are not those that its header names. Fetch it anew.")
    found: dict[str, Any] = {}
    for name, place in header["arrays"].items():
        dtype = np.dtype(place["dtype"]).newbyteorder("<")
        size = int(np.prod(place["shape"])) * dtype.itemsize
        found[name] = raw[place["at"] : place["at"] + size].view(dtype).reshape(place["shape"])
    return NgramModel(**{name: found[name] for name in ARRAYS}, about=header["about"])


def describe_model(path: Path) -> dict[str, Any]:
    """Give what a model file says of its making. Raises DataError for a file that is not one."""
    about: dict[str, Any] = _header(path)[0]["about"]
    return about


@lru_cache(maxsize=4)
def open_model(path: str) -> NgramModel:
    """Open a model once a process. Raises DataError as `read_model` does."""
    return read_model(Path(path))


def _digest(data: Any) -> str:
    return blake2b(data, digest_size=32).hexdigest()


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Header of a model file, and where its arrays begin."""
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    try:
        header: dict[str, Any] = orjson.loads(line)
        known = header["format"] == FORMAT and set(header["arrays"]) == set(ARRAYS)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DataError(
            f"{path}: no n-gram model in format {FORMAT}. Train one with `dolmix classifier "
            f"train-ngram`."
        )
    return header, len(line)


_Tables = tuple[U64Array, I32Array, I32Array, U64Array, U64Array, I32Array]


@kernel
def score_texts(utf8: U8Array, offsets: I64Array, model: _Tables, counts: I64Array) -> None:
    """Add up what texts cost.

    utf8, offsets  (L,) uint8, (N + 1,) int64
    model          words, unigram costs and back-offs, bigrams, trigrams, spelling of `NgramModel`
    counts         (3, N) int64: units, unknown units, cost; written

    O(L), nothing allocated.
    """
    words, costs, back_offs, bigrams, trigrams, spelling = model
    for n in range(offsets.size - 1):
        at, stop = offsets[n], offsets[n + 1]
        units = unknown = total = 0
        older = last = BOUNDARY_ID
        context = find(bigrams, bigram_key(older, last))
        while True:
            unit, start, at = next_unit(utf8, at, stop)
            if unit == END:
                break
            if unit == BOUNDARY and units == 0:
                continue
            now = BOUNDARY_ID if unit == BOUNDARY else find_word(words, unit)
            if now == UNKNOWN_ID:
                unknown += 1
                total += spelling_cost(spelling, utf8, start, at)
            entry = find(bigrams, bigram_key(last, now))
            ids = (older, last, now)
            total += unit_cost(ids, context, entry, (costs, back_offs, trigrams))
            units += 1
            older, last, context = last, now, entry
        counts[0, n], counts[1, n], counts[2, n] = units, unknown, total


@leaf
def unit_cost(
    ids: tuple[int, int, int],
    context: np.uint64,
    entry: np.uint64,
    lists: tuple[I32Array, I32Array, U64Array],
) -> int:
    """-log2 of the probability of a unit after the two before it, in 2^-14 bits.

    ids      of the two units before and of the unit
    context  entry of the bigram of the two before
    entry    entry of the bigram of the last one and the unit
    lists    costs and back-offs of single units, trigrams
    """
    costs, back_offs, trigrams = lists
    back_off = 0 if context == EMPTY else back_off_of(context)
    if entry == EMPTY:
        return back_off + int(back_offs[ids[1]]) + int(costs[ids[2]])
    if context != EMPTY and np.int64(context & np.uint64((1 << 20) - 1)) != NEUTRAL:
        longest = find(trigrams, trigram_key(ids[0], ids[1], ids[2]))
        if longest != EMPTY:
            return cost_of(longest)
    return back_off + cost_of(entry)


@leaf
def spelling_cost(spelling: I32Array, utf8: U8Array, start: int, stop: int) -> int:
    """-log2 of the probability of a unit's spelling, in 2^-14 bits."""
    before = SPELLING_END
    total = 0
    for at in range(start, stop):
        byte = int(utf8[at])
        if 65 <= byte <= 90:
            byte += 32
        total += int(spelling[before, byte])
        before = byte
    return total + int(spelling[before, SPELLING_END])

"""Paragraph and line dedup: units, keys, what is a duplicate, what a text loses."""

import random
import time
from pathlib import Path

import naive_paragraphs as naive
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dolmix.config import parse
from dolmix.dedup import Exact, Paragraphs, Urls
from dolmix.dedup.bloom import BloomFilter
from dolmix.dedup.paragraphs import ALL_DUPLICATE, DUPLICATE_FRAC, REASONS, range_starts
from dolmix.dedup.seen import SeenKeys
from dolmix.document import TextBatch, U8Array
from dolmix.errors import ConfigError
from dolmix.text.compiled import kernel
from dolmix.text.edits import edited
from dolmix.text.units import cut_units
from dolmix.text.xxh64 import xxh64

LETTERS = "aaab  \n\n\n\r\t\x1f\u0085\u00a0\u1680\u2009\u2019\u2028\u205f\u3000\u3001é한"
TEXTS = st.lists(st.text(st.sampled_from(LETTERS), max_size=24), max_size=6)
ROOT = Path(__file__).resolve().parents[3]
NORMALIZE = st.sampled_from(["none", "strip", "whitespace"])
UNIT = st.sampled_from(["paragraph", "line"])


@kernel
def hash_of(utf8: U8Array, begin: int, stop: int, seed: np.uint64) -> np.uint64:
    """Call the hash as kernels do."""
    return xxh64(utf8, begin, stop, seed)


@pytest.mark.parametrize("seed", [0, 7, (1 << 63) - 1])
def test_the_hash_is_xxh64(seed: int) -> None:
    """Every length up to several blocks, at any place, gives what xxHash itself gives."""
    data = np.random.default_rng(1).integers(0, 256, 300, dtype=np.uint8)
    for begin in (0, 3):
        for size in range(140):
            found = hash_of(data, begin, begin + size, np.uint64(seed))
            plain = xxhash.xxh64(data[begin : begin + size].tobytes(), seed=seed).intdigest()
            assert int(found) == plain


@given(TEXTS, UNIT, NORMALIZE, st.integers(1, 4))
def test_units_and_keys_match_their_twin(
    texts: list[str], unit: str, normalize: str, min_bytes: int
) -> None:
    """Units stand where the twin finds them; keys are XXH64 of the bytes that the twin compares."""
    step = Paragraphs.model_validate(
        {"unit": unit, "normalize": normalize, "min_bytes": min_bytes, "seed": 5}
    )
    batch = TextBatch.of(["before", *texts]).take(np.arange(1, len(texts) + 1))
    units = step.units(batch)
    found = []
    for text in texts:
        rows = naive.units(
            text, paragraphs=unit == "paragraph", normalize=normalize, min_bytes=min_bytes
        )
        found.append(rows)
    flat = [row for rows in found for row in rows]
    assert units.ends.tolist() == [0, *np.cumsum([len(rows) for rows in found]).tolist()]
    assert list(zip(units.starts.tolist(), units.stops.tolist(), strict=True)) == [
        row[:2] for row in flat
    ]
    assert units.long.tolist() == [row[2] is not None for row in flat]
    assert units.keys.tolist() == [
        0 if row[2] is None else xxhash.xxh64(row[2], seed=5).intdigest() for row in flat
    ]


@given(TEXTS, UNIT, st.randoms())
def test_cutting_matches_its_twin(texts: list[str], unit: str, draw: random.Random) -> None:
    """Whatever units go, the text is what the twin leaves; the tail of a text stays."""
    units = Paragraphs.model_validate({"unit": unit}).units(TextBatch.of(texts))
    out = np.array([draw.random() < 0.5 for _ in units.keys], np.bool_)
    left = edited(TextBatch.of(texts), cut_units(units.starts, units.stops, units.ends, out))
    for n, text in enumerate(texts):
        first, last = units.ends[n : n + 2]
        rows = naive.units(text, paragraphs=unit == "paragraph", normalize="none", min_bytes=1)
        assert left.text[n].as_py() == naive.without(text, rows, out[first:last].tolist())


def test_gaps_go_with_what_they_follow() -> None:
    """Examples: first, middle and last paragraph, all of them, and the newline at the end."""

    def cut(text: str, out: str) -> str:
        units = Paragraphs().units(TextBatch.of([text]))
        gone = np.array([mark == "x" for mark in out])
        edits = cut_units(units.starts, units.stops, units.ends, gone)
        return str(edited(TextBatch.of([text]), edits).text[0].as_py())

    text = "one\nmore\n\ntwo\n \n\nthree\n"
    assert cut(text, "x--") == "two\n \n\nthree\n"
    assert cut(text, "-x-") == "one\nmore\n\nthree\n"
    assert cut(text, "--x") == "one\nmore\n\ntwo\n"
    assert cut(text, "-xx") == "one\nmore\n"
    assert cut(text, "xxx") == "\n"
    assert cut("\n a\n\nb", "x-") == "\nb"


@given(st.lists(st.lists(st.integers(0, 40), max_size=20), max_size=6), st.integers(0, 70))
def test_seen_keys_are_a_set(batches: list[list[int]], expected: int) -> None:
    """Answers are those of a Python set asked in the same order, key 0 and growth included."""
    seen, plain = SeenKeys(expected), set[int]()
    for batch in batches:
        answers = []
        for key in batch:
            answers.append(key in plain)
            plain.add(key)
        assert seen.add(np.array(batch, np.uint64)).tolist() == answers
    assert len(seen) == len(plain)


def test_seen_keys_grow() -> None:
    """A table of any size before holds a hundred thousand keys, each once."""
    keys = np.random.default_rng(0).integers(0, 1 << 64, 100_000, dtype=np.uint64)
    seen = SeenKeys()
    for block in np.split(keys, 10):
        assert not seen.add(block).any()
    assert seen.add(keys).all()
    assert len(seen) == len(keys)


@pytest.mark.parametrize("ranges", [1, 2, 3, 8, 4096])
def test_ranges_cover_all_keys_once(ranges: int) -> None:
    """Ranges begin at 0, ascend, and differ by one key in size at most."""
    starts = [int(start) for start in range_starts(ranges)]
    sizes = np.diff(np.array([*starts, 1 << 64], object))
    assert starts[0] == 0
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.sampled_from(["x", "y", "one two", "three"]), max_size=12), UNIT)
def test_the_first_occurrence_stays(words: list[str], unit: str) -> None:
    """Documents in any cut into batches: a unit is a duplicate exactly if it stood before."""
    gap = "\n\n" if unit == "paragraph" else "\n"
    texts = [gap.join(words[n : n + 3]) for n in range(0, len(words), 3)]
    step = Paragraphs.model_validate({"unit": unit, "min_bytes": 3})
    seen, marks = step.memory(), []
    for text in texts:
        units = step.units(TextBatch.of([text]))
        duplicate = np.zeros(len(units.keys), np.bool_)
        duplicate[units.long] = seen.add(units.keys[units.long])
        marks.append(duplicate.tolist())
    plain = [
        naive.units(text, paragraphs=unit == "paragraph", normalize="whitespace", min_bytes=3)
        for text in texts
    ]
    assert marks == naive.duplicates(plain)


def test_verdicts_count_and_drop() -> None:
    """Shares are of bytes of units; all duplicate, or too many, drops, and says which."""
    texts = ["aa\n\nbbbb", "aa\n\nbbbb", "cccc\n\naa", "\n \n", "d"]
    duplicate = np.array([False, False, True, True, False, True, False])
    step = Paragraphs(min_bytes=1, max_duplicate_frac=0.3)
    found = step.verdicts(step.units(TextBatch.of(texts)), duplicate)
    assert found.units.tolist() == [2, 2, 2, 0, 1]
    assert found.duplicate_units.tolist() == [0, 2, 1, 0, 0]
    assert found.duplicate_bytes.tolist() == [0, 6, 2, 0, 0]
    assert found.duplicate_frac.tolist() == pytest.approx([0, 1, 1 / 3, 0, 0])
    reasons = [None if r < 0 else REASONS[r] for r in found.reason]
    assert reasons == [None, ALL_DUPLICATE, DUPLICATE_FRAC, None, None]
    assert found.edits.changed.tolist() == [False, True, True, False, False]


def test_without_cutting_only_the_share_decides() -> None:
    """Under `cut: false` no text changes, and all duplicate is a share like any other."""
    step = Paragraphs(min_bytes=1, cut=False, max_duplicate_frac=0.5)
    found = step.verdicts(step.units(TextBatch.of(["a\n\nb", "c"])), np.array([True, True, False]))
    assert [REASONS[r] for r in found.reason if r >= 0] == [DUPLICATE_FRAC]
    assert not found.edits.changed.any()


def test_a_range_of_a_filter_has_room_for_chance() -> None:
    """Of eight ranges each is made for an eighth and six deviations; one range for all, exactly."""
    step = Paragraphs(method="bloom", capacity=80_000, false_positive_rate=1e-3)
    assert step.capacity_of(1) == 80_000
    assert step.capacity_of(8) == 10_000 + 600
    memory = step.memory(8)
    assert isinstance(memory, BloomFilter)
    assert memory.shape == BloomFilter.sized(10_600, 1e-3, 0).shape


@pytest.mark.parametrize("step", [Urls(), Paragraphs()], ids=lambda step: step.type)
def test_docs_name_settings_and_reasons(step: Urls | Paragraphs) -> None:
    """`docs/filters.md` has the type, settings, definition and reasons of both steps."""
    text = (ROOT / "docs" / "filters.md").read_text()
    reasons = REASONS if isinstance(step, Paragraphs) else ("duplicate",)
    own = {*type(step).model_fields} - {"type", "name", *Exact.model_fields} | {"normalize"}
    names = {*own, step.type, step.definition, *(f"{step.type}.{reason}" for reason in reasons)}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_settings_that_mean_nothing_are_refused() -> None:
    """A filter without capacity, a capacity without filter, and a step without effect: why."""
    cases = {
        "needs capacity": {"method": "bloom"},
        "capacity 5 is a setting of method bloom": {"capacity": 5},
        "would do nothing": {"cut": False},
        "min_bytes": {"min_bytes": 0},
    }
    for message, settings in cases.items():
        with pytest.raises(ConfigError, match=message):
            parse(Paragraphs, settings, origin="test")


@pytest.mark.parametrize("unit", ["paragraph", "line"])
def test_one_document_of_200_mb_takes_seconds(unit: str) -> None:
    """Time stays in proportion: no part of finding and hashing units is quadratic."""
    block = "A line of some words, none like the other.\nAnd one more.\n\n" * 1000
    for text in (block * 3500, "x" * (200 << 20), " \n" * (100 << 20)):
        batch = TextBatch.of([text])
        step = Paragraphs.model_validate({"unit": unit})
        start = time.process_time()
        units = step.units(batch)
        edits = step.verdicts(units, np.ones(len(units.keys), np.bool_)).edits
        assert time.process_time() - start < 20
        assert len(edits.starts) == (0 if text.isspace() else 1)


def test_a_million_short_documents_take_seconds() -> None:
    """A million equal documents, then a million different ones: all but the first, then none."""
    step = Paragraphs(min_bytes=1)
    seen = step.memory()
    for texts, expected in ((["same"] * 10**6, 10**6 - 1), ([str(n) for n in range(10**6)], 0)):
        batch = TextBatch.of(texts)
        start = time.process_time()
        units = step.units(batch)
        assert seen.add(units.keys).sum() == expected
        assert time.process_time() - start < 10

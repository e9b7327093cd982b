"""The n-gram model: units and costs as the plain twin has them, probabilities that add up to 1."""

import math
from itertools import product
from pathlib import Path

import builders
import naive_ngram as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.errors import DataError
from dolmix.learned.ngram import NgramTraining, train
from dolmix.text.ngram_model import STEPS, NgramModel, describe_model, read_model, unit_cost
from dolmix.text.ngram_model_counts import unit_hashes, unit_ids
from dolmix.text.ngram_model_tables import bigram_key, find, find_word, word_table

WORDS = ["a", "b", "cat", "Dog", "dog's", "1", "x9", ",", ".", "\n", "\n\n", "中", "é", "Ж", "ж"]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
CHARACTERS = "aZ09 '\u2019.\n\t\xa0éÉßЖжЁΣλ،٠ก中日、\u2028\u2029\u200b\u200d…€😀\xadⲁ"
TOLERANCE = 2e-4
"""Of a probability: costs and factors are rounded to 2^-15 bits each."""


def trained(folder: Path, lines: list[str], *, min_trigram: int = 1) -> NgramModel:
    """Train on some texts, all of them."""
    path = builders.write_jsonl(
        folder / "in.jsonl", [builders.document(n, text) for n, text in enumerate(lines)]
    )
    config = NgramTraining(
        inputs=(str(path),),
        output=folder / "m.ngram",
        min_trigram=min_trigram,
        held_out_frac=0.0,
    )
    return read_model(train(config).path)


@given(st.text(CHARACTERS, max_size=80))
def test_units_are_those_of_the_naive_twin(text: str) -> None:
    """The same units in the same order, two units equal where the twin's are, and only there."""
    expected = [unit for unit, _ in naive.units(text) if unit != naive.BOUNDARY]
    hashes = unit_hashes(TextBatch.of([text])).tolist()
    assert len(hashes) == len(expected)
    assert len({*zip(hashes, expected, strict=True)}) == len({*hashes}) == len({*expected})


@given(st.lists(st.text(CHARACTERS, max_size=40), max_size=4))
def test_ids_and_boundaries_are_those_of_the_naive_twin(lines: list[str]) -> None:
    """A boundary for line breaks inside a text, two behind it; what is not known has id 1."""
    batch = TextBatch.of(lines)
    hashes = np.unique(unit_hashes(batch))[::2]
    words = word_table(hashes)
    spelt = np.zeros((257, 257), np.int64)
    ids = unit_ids(batch, words, spelt).tolist()
    stream, symbols, known = [], 0, iter(unit_hashes(batch))
    for line in lines:
        for unit, spelling in naive.units(line):
            number = 0 if unit == naive.BOUNDARY else find_word(words, next(known))
            stream.append(number)
            symbols += len(naive.spelling(spelling)) if number == 1 else 0
        stream += [0, 0]
    assert ids == stream
    assert int(spelt.sum()) == symbols


@settings(max_examples=25)
@given(st.lists(texts, min_size=1, max_size=8), st.lists(texts, max_size=3), st.integers(1, 2))
def test_costs_are_those_of_the_naive_twin(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], others: list[str], least: int
) -> None:
    """Bits of texts seen and not seen, within what rounding allows; units and unknown exactly."""
    if not any(naive.units(line) for line in lines):
        return
    model = trained(tmp_path_factory.mktemp("m"), lines, min_trigram=least)
    twin = naive.train(lines, min_count=2, min_trigram=least)
    assert model.vocabulary == len(twin.vocabulary)
    scores = model.score(TextBatch.of([*lines, *others]))
    for n, text in enumerate([*lines, *others]):
        bits, units, unknown = twin.bits(text)
        assert (int(scores.units[n]), int(scores.unknown[n])) == (units, unknown)
        assert math.isclose(scores.cost[n] / STEPS, bits, rel_tol=1e-3, abs_tol=2e-3)


@settings(max_examples=15)
@given(st.lists(texts, min_size=2, max_size=8), st.integers(1, 2))
def test_probabilities_add_up_to_one(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], least: int
) -> None:
    """After any two units, over the whole vocabulary; of the spelling, after any symbol."""
    if not any(naive.units(line) for line in lines):
        return
    model = trained(tmp_path_factory.mktemp("m"), lines, min_trigram=least)
    twin = naive.train(lines, min_count=2, min_trigram=least)
    assert abs(sum(np.exp2(model.unigram_costs / -STEPS)) - 1) < TOLERANCE
    assert np.abs(np.exp2(model.spelling / -STEPS).sum(axis=1) - 1).max() < TOLERANCE
    for older, last in product(range(model.vocabulary), repeat=2):
        costs = [cost(model, older, last, now) for now in range(model.vocabulary)]
        assert abs(np.exp2(np.array(costs) / -STEPS).sum() - 1) < TOLERANCE
    for context in product(twin.vocabulary, repeat=2):
        total = sum(twin.probability(unit, *context) for unit in twin.vocabulary)
        assert math.isclose(total, 1, abs_tol=1e-9)


def cost(model: NgramModel, older: int, last: int, now: int) -> int:
    """-log2 P(unit | the two before it), in steps, by ids."""
    before, entry = (
        np.uint64(find(model.bigrams, np.uint64(bigram_key(*pair))))
        for pair in ((older, last), (last, now))
    )
    lists = (model.unigram_costs, model.unigram_back_offs, model.trigrams)
    return int(unit_cost((older, last, now), before, entry, lists))


def test_a_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    """A flipped bit in the tables, another format or no model at all: named, never used."""
    path = tmp_path / "m.ngram"
    trained(tmp_path, ["a cat sat", "a cat ran", "a dog sat"])
    assert describe_model(path)["documents"] == 3
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="tables are not those"):
        read_model(path)
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(DataError, match="no n-gram model"):
        read_model(path)

"""Repetition against the peers themselves: datatrove's filter, dolma's taggers, uniseg's words.

DCLM is no package, so its preset is held to the plain twin of its source over uniseg's own words.
"""

import gzip
import random
from pathlib import Path
from typing import Any

import naive
import naive_repetition as plain
import numpy as np
import pytest
from peers import (
    adversarial_texts,
    ask_dolma,
    code_sample,
    datatrove_verdicts,
    english_documents,
    english_sample,
    needs,
)

from dolmix.document import TextBatch
from dolmix.filters import Repetition, judge
from dolmix.filters.repetition import NGRAMS
from dolmix.text.periodic import periodic_times
from dolmix.tokenizer import TokenizerConfig

pytestmark = pytest.mark.conformance

REASONS = {
    "empty": "repetition.empty",
    "dup_para_frac": "repetition.dup_para_frac",
    "dup_para_char_frac": "repetition.dup_para_char_frac",
    "dup_line_frac": "repetition.dup_line_frac",
    "dup_line_char_frac": "repetition.dup_line_char_frac",
    **{f"top_{n}_gram": f"repetition.top_{n}gram_char_frac" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"repetition.dup_{n}gram_char_frac" for n in range(5, 11)},
}
GOPHER_SCRIPT = """
import dataclasses, json, sys
from dolma.taggers.gopher import get_attributes
for line in sys.stdin:
    found = [get_attributes(json.loads(line), merge) for merge in (False, True)]
    print(json.dumps([dataclasses.asdict(values) for values in found]))
"""
PERIODIC_SCRIPT = """
import json, sys
import numpy as np
from dolma.taggers.repetitions.utils import find_periodic_sequences
for line in sys.stdin:
    found = find_periodic_sequences(np.array(json.loads(line)), max_period=13)
    print(max((sequence.times for sequence in found), default=0))
"""
TAGGER_SCRIPT = """
import json, sys
from tokenizers import Tokenizer
from dolma.core.data_types import Document
from dolma.taggers.repetitions import repetitions_taggers as taggers
class Local:
    @staticmethod
    def from_pretrained(name):
        return Tokenizer.from_file(PATH)
taggers.Tokenizer = Local
tagger = taggers.TokenizerRepetitionsSkipEmptyTagger()
for line in sys.stdin:
    spans = tagger.predict(Document(source="s", id="0", text=json.loads(line))).spans
    print(max((s.score for s in spans if s.type == "doc_max_score_repetition"), default=0))
"""
LINES = {
    "dup_line_frac": "fraction_of_duplicate_lines",
    "dup_line_char_frac": "fraction_of_characters_in_duplicate_lines",
}


def theirs(texts: list[str], **settings: Any) -> list[str | None]:
    """Give reasons of datatrove's filter, by our names; what it raises stays `raises ...`."""
    needs("spacy")
    from datatrove.pipeline.filters import GopherRepetitionFilter

    verdicts = datatrove_verdicts(GopherRepetitionFilter(**settings), texts)
    return [None if keep else REASONS.get(str(reason), reason) for keep, reason, _ in verdicts]


def ours(texts: list[str], preset: str = "datatrove-0.10", **settings: Any) -> list[str | None]:
    """Give reasons of one of our presets."""
    filter_ = Repetition(preset=preset, **settings)  # type: ignore[arg-type]
    batch = TextBatch.of(texts)
    reasons: list[str | None] = judge(filter_, filter_.columns(batch), batch).to_pylist()
    return reasons


def rows(filter_: Repetition, texts: list[str]) -> list[list[float]]:
    """Every column's value, document by document."""
    columns = filter_.columns(TextBatch.of(texts))
    values = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    return [list(row) for row in values]


def test_verdicts_and_reasons_are_datatroves_on_awkward_texts() -> None:
    """2,000 texts made to be hard: the same verdict, the same first reason, and each of them."""
    texts = adversarial_texts(2000)
    expected = theirs(texts)
    assert ours(texts) == expected
    assert {reason for reason in expected if reason} == {*REASONS.values()}


@pytest.mark.corpus
def test_verdicts_and_reasons_are_datatroves_on_real_documents(shared: Path) -> None:
    """The same on a keyed sample of the corpus's English documents."""
    texts = english_sample(shared)
    assert ours(texts) == theirs(texts)


@pytest.mark.conformance_full
@pytest.mark.corpus
def test_verdicts_and_reasons_are_datatroves_on_every_english_document(shared: Path) -> None:
    """The same on all of them."""
    texts = english_documents(shared)
    assert ours(texts) == theirs(texts)


def test_columns_are_what_datatrove_computes_on_the_way() -> None:
    """Every column equals the plain twin's over datatrove's own words, to the last bit."""
    needs("spacy")
    from datatrove.utils.text import split_into_words

    texts = [t for t in adversarial_texts(1200) if len(t) < 20_000]
    found = rows(Repetition(preset="datatrove-0.10"), texts)
    assert found == [plain.datatrove_columns(t, split_into_words(t)) for t in texts]


@pytest.mark.corpus
def test_values_are_dolmas(shared: Path) -> None:
    """Every column of dolma-1.2, under both readings of newlines, is the tagger's own value."""
    texts = [t for t in adversarial_texts(2000) if len(t) < 20_000]
    texts += english_sample(shared, 0.7) + code_sample(shared, 0.3)
    answers = ask_dolma(GOPHER_SCRIPT, texts)
    for which, newlines in enumerate(("each", "runs")):
        filter_ = Repetition(newlines=newlines)  # type: ignore[arg-type]
        columns = filter_.columns(TextBatch.of(texts))
        found = {name: column.to_pylist() for name, column in columns.items()}
        assert found == {
            name: [dolma_value(both[which], name) for both in answers] for name in columns
        }


def dolma_value(attributes: dict[str, Any], column: str) -> float:
    """Look up a column among the values of dolma's tagger; 0.0 where it has no n-gram."""
    if column in LINES:
        return float(attributes[LINES[column]])
    kind, length, *_ = column.replace("gram", "").split("_")
    part = "most_common_ngram" if kind == "top" else "duplicate_ngrams"
    shares = dict(attributes[f"fraction_of_characters_in_{part}"])
    return float(shares.get(int(length), 0.0))


def test_columns_are_dclms_over_the_words_of_uniseg() -> None:
    """Every column of dclm equals the plain twin of its source, to the last bit."""
    needs("uniseg")
    from uniseg.wordbreak import words

    texts = [t for t in adversarial_texts(500) if len(t) < 20_000]
    expected = [plain.dclm_columns(t, [w for w in words(t) if w[0].isalnum()]) for t in texts]
    assert rows(Repetition(preset="dclm"), texts) == expected


def test_times_are_the_peers_on_random_tokens() -> None:
    """Repeats counted by runs of equal neighbours equal OLMo's and dolma's own search."""
    draw = random.Random(32)
    arrays = [draw.choices(range(draw.randint(1, 3)), k=draw.randint(3, 120)) for _ in range(1000)]
    for _ in range(1000):
        span = draw.choices(range(4), k=draw.randint(1, 15))
        middle = span * draw.randint(1, 40) + span[: draw.randint(0, len(span))]
        arrays.append(draw.choices(range(4), k=5) + middle + draw.choices(range(4), k=5))
    ends = np.concatenate([[0], np.cumsum([len(a) for a in arrays])])
    found = periodic_times(np.concatenate(arrays), ends).tolist()
    assert found == ask_dolma(PERIODIC_SCRIPT, arrays)
    assert found[:200] == [naive.periodic_times(a) for a in arrays[:200]]


@pytest.mark.corpus
def test_times_are_the_value_of_dolmas_tagger(shared: Path, tmp_path: Path) -> None:
    """`times` is doc_max_score_repetition of tokenizer_repetitions_v2r2, with OLMoE's tokenizer."""
    draw = random.Random(3)
    texts = [*adversarial_texts(200), *english_sample(shared, 0.3), *code_sample(shared, 0.3)]
    for _ in range(300):
        span = "".join(
            draw.choices(["a", " b", "x", "==", " the", "\n", "é"], k=draw.randint(1, 9))
        )
        texts.append(f"start {span * draw.randint(1, 60)}{draw.choice(['', ' end'])}{span}")
    texts += ["ha " * 40_000, "-" * 150_000]
    found, expected = both_times(shared, tmp_path, texts)
    assert found == expected
    assert sum(times >= 32 for times in found) > 100


@pytest.mark.corpus
def test_dolmas_tagger_leaves_out_repeats_inside_repeats(shared: Path, tmp_path: Path) -> None:
    """A difference: five `x` in a row, four times over, are 4 there and 5 here.

    From 13 on there is none: so many repeats do not fit into a repeated span of 13 tokens.
    """
    texts = [("x\n" * 5 + "y\n") * 4, ("x\n" * 13 + "y\n") * 4]
    assert both_times(shared, tmp_path, texts) == ([5, 13], [4, 13])


def both_times(shared: Path, folder: Path, texts: list[str]) -> tuple[list[int], list[float]]:
    """Give `times` of OLMoE's tokenizer by our filter, and by dolma's tagger."""
    path = folder / "tokenizer.json"
    packed = shared / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    config = TokenizerConfig(path=path, special_in_text="allow")
    filter_ = Repetition(preset="olmoe-0924", tokenizer=config)
    expected = ask_dolma(TAGGER_SCRIPT.replace("PATH", repr(str(path))), texts)
    return filter_.columns(TextBatch.of(texts))["times"].to_pylist(), expected


def test_zero_is_a_threshold_here_and_off_there() -> None:
    """A difference: datatrove takes a threshold of 0 for none, for lines and paragraphs."""
    text = "\n".join(f"line{n} holds{n * 3} words{n * 5} of{n * 7}" for n in [*range(40), 1])
    assert theirs([text], dup_line_frac=0.0) == [None]
    assert ours([text], max_dup_line_frac=0.0) == ["repetition.dup_line_frac"]


def test_no_words_are_judged_all_the_same() -> None:
    """Whitespace alone and one word pass here and there; a text of nothing has its own reason."""
    texts = ["", " ", "\n", "\u3000", "word"]
    blank = "repetition.dup_line_frac"  # two empty lines
    assert ours(texts) == theirs(texts) == ["repetition.empty", None, blank, None, None]
    assert ours(texts, drop_empty=False) == [None, None, blank, None, None]
    assert ours(texts, preset="dclm") == ["repetition.empty"] * 4 + [None]


def test_the_top_rules_fire_here_and_not_in_dolmas_released_files() -> None:
    """A difference: the names that those files test are none that the tagger writes."""
    script = GOPHER_SCRIPT.replace(
        "print(json.dumps([dataclasses.asdict(values) for values in found]))",
        "print(json.dumps([span.type for span in found[0].as_spans()]))",
    )
    (names,) = ask_dolma(script, ["spam egg " * 20])
    assert "fraction_of_characters_in_most_common_2grams" in names
    assert "fraction_of_characters_in_most_common_2gram" not in names
    off = dict.fromkeys(f"max_{column}" for column in NGRAMS) | {"max_top_2gram_char_frac": 0.2}
    expected = ["repetition.top_2gram_char_frac"]
    assert ours(["spam egg " * 20], preset="dolma-1.2", **off) == expected

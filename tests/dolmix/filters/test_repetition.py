"""Repetition: dolma's line and n-gram rules, OLMoE's 32 repeats, in words or in tokens."""

import gzip
import json
from pathlib import Path
from typing import Any

import naive
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dolmix.config import parse
from dolmix.document import TextBatch
from dolmix.errors import ConfigError
from dolmix.filters import Repetition, judge
from dolmix.filters.repetition import LINES, NGRAMS, PIECE_CHARS
from dolmix.tokenizer import TokenizerConfig

DISTINCT = " ".join(f"word{n}" for n in range(60))


def reasons(filter_: Repetition, *texts: str) -> list[str | None]:
    """Reasons of some texts."""
    batch = TextBatch.of(list(texts))
    found: list[str | None] = judge(filter_, filter_.columns(batch), batch).to_pylist()
    return found


def only(**settings: object) -> Repetition:
    """Make a filter with one preset's rules off, except those given."""
    off = dict.fromkeys([f"max_{c}" for c in (*LINES, *NGRAMS)])
    return Repetition(**(off | settings))  # type: ignore[arg-type]


def test_the_top_ngram_rules_do_fire() -> None:
    """Dolma's released configuration misspells its attributes; here the rules work."""
    text = "spam egg " * 20 + DISTINCT
    assert reasons(Repetition(), text, DISTINCT) == ["repetition.top_2gram_char_frac", None]


@pytest.mark.parametrize("column", [*LINES, *NGRAMS])
def test_every_rule_can_fire_alone(column: str) -> None:
    """Each threshold by itself drops one line repeated, and keeps a text of distinct words."""
    once = "\n".join(f"line{n} has{n} words{n} of{n} its{n} own{n}" for n in range(30))
    twice = "\n".join(["one line of eleven words that stands here again and again"] * 30)
    filter_ = only(**{f"max_{column}": 0.1})
    assert reasons(filter_, once, twice) == [None, f"repetition.{column}"]


def test_every_occurrence_of_a_repeated_line_counts() -> None:
    """Two equal lines of four are a share of 1/2, the first one included."""
    columns = Repetition().columns(TextBatch.of(["a\nb\na\nc"]))
    assert columns["dup_line_frac"].to_pylist() == [0.5]
    assert columns["dup_line_char_frac"].to_pylist() == [0.5]


def test_blank_lines_repeat_only_with_each_newline() -> None:
    """Paragraphs with a blank line between them are dropped by gopher_v1's lines alone."""
    text = "\n\n".join(f"paragraph {n} with words {n + 1} of its own {n * 3}" for n in range(8))
    kept = only(max_dup_line_frac=0.3)
    dropped = only(max_dup_line_frac=0.3, newlines="each")
    assert reasons(kept, text) == [None]
    assert reasons(dropped, text) == ["repetition.dup_line_frac"]


@given(
    st.lists(
        st.lists(st.sampled_from(["a ", "bb ", "c\n", "\n", "…", "中文 "]), max_size=40).map(
            "".join
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_columns_equal_the_plain_definition(texts: list[str], runs: bool) -> None:
    """The very floats that the definition gives, for lines and for n-grams."""
    filter_ = Repetition(newlines="runs" if runs else "each")
    columns = filter_.columns(TextBatch.of(texts))
    rows = [list(row) for row in zip(*(c.to_pylist() for c in columns.values()), strict=True)]
    expected = []
    for text in texts:
        lines, words = naive.lines_of(text, merge=runs), text.split()
        repeated, chars = naive.duplicate_sums(lines, [len(line) for line in lines])
        line_shares = [repeated / len(lines), chars / max(sum(map(len, words)), 1)]
        expected.append(line_shares + naive.ngram_shares(words))
    assert rows == expected


def test_olmoe_drops_at_32_repeats_and_not_before() -> None:
    """31 full repeats and a partial one are kept, 32 are dropped, whatever the span."""
    filter_ = Repetition(preset="olmoe-0924", unit="words")
    span = "one two three four five "
    assert list(filter_.column_types()) == ["times"]
    assert reasons(filter_, span * 31 + "one two three four", span * 32, "ha " * 32, DISTINCT) == [
        None,
        "repetition.times",
        "repetition.times",
        None,
    ]


def test_times_can_be_counted_in_tokens(tiny_tokenizer: Path) -> None:
    """Tokens count repeats inside one long word; the quick approximation in words does not."""
    config = TokenizerConfig(path=tiny_tokenizer)
    in_words = Repetition(preset="olmoe-0924", unit="words")
    in_tokens = Repetition(preset="olmoe-0924", tokenizer=config)
    texts = ["xyzq" * 200, "ha" * 20_000, "", "plain text"]
    assert reasons(in_words, *texts) == [None] * 4
    assert reasons(in_tokens, *texts) == ["repetition.times", "repetition.times", None, None]
    assert in_tokens.unit == "tokens"
    assert "approximation: unit words" in in_words.definition
    assert in_tokens.definition == "OLMo find_periodic_sequences"
    assert in_words.splitter == "whitespace"
    assert in_tokens.splitter == "tokenizer"
    assert list(in_tokens.digests()) == ["tokenizer"]
    assert in_words.digests() == {}


def test_tokens_are_counted_in_pieces_without_their_ends(tiny_tokenizer: Path) -> None:
    """A repeat is not carried across a cut, and the EOS after a piece is no token of the text."""
    filter_ = Repetition(
        preset="olmoe-0924", tokenizer=TokenizerConfig(path=tiny_tokenizer), drop_at_times=3
    )
    text = "q" * (PIECE_CHARS + 2)
    whole, short = filter_.columns(TextBatch.of([text, "q" * PIECE_CHARS]))["times"].to_pylist()
    assert whole == short > 0
    assert filter_.columns(TextBatch.of([]))["times"].to_pylist() == []


@pytest.mark.parametrize("settings", [{"preset": "olmoe-0924"}, {"drop_at_times": 40}])
def test_counting_tokens_needs_a_tokenizer(settings: dict[str, Any]) -> None:
    """Words are never counted in place of tokens unasked, and the message shows both ways out."""
    with pytest.raises(ConfigError) as caught:
        parse(Repetition, {"type": "repetition", **settings}, origin="p.yaml")
    (problem,) = caught.value.problems
    assert "give tokenizer: {path: ...} as in the pipeline, or set unit: words" in problem.message


def test_words_and_a_tokenizer_contradict_each_other(tiny_tokenizer: Path) -> None:
    """Which of the two is meant cannot be told."""
    config = TokenizerConfig(path=tiny_tokenizer)
    with pytest.raises(ValidationError, match="unit is words, but a tokenizer is given"):
        Repetition(preset="olmoe-0924", unit="words", tokenizer=config)


def test_a_filter_without_times_needs_no_tokenizer() -> None:
    """The unit is that of `times` alone."""
    assert list(Repetition().column_types()) == [*LINES, *NGRAMS]
    assert Repetition(unit="words").column_types() == Repetition().column_types()


@pytest.mark.corpus
def test_the_corpus_documents_with_32_repeats_are_found(shared: Path) -> None:
    """The ten documents of the reference corpus that hold 32 repeats in a row, and no other."""
    ids, texts = [], []
    for path in sorted((shared / "corpus_seed").glob("*/*.jsonl.*")):
        data = path.read_bytes()
        if path.suffix == ".gz":
            lines = gzip.decompress(data).split(b"\n")
        else:
            lines = zstandard.ZstdDecompressor().stream_reader(data).read().split(b"\n")
        records = [json.loads(line) for line in lines if line]
        ids += [record["id"] for record in records]
        texts += [record["text"] for record in records]
    dropped = reasons(Repetition(preset="olmoe-0924", unit="words"), *texts)
    assert [i for i, reason in zip(ids, dropped, strict=True) if reason is not None] == [
        "nlohmann/json/nlohmann/detail/output/serializer.hpp",
        "tokio-rs/tokio/src/macros/select.rs",
        "tokio-rs/tokio/tests/macros_select.rs",
        "handbook-es-ES-sect.x509-cert",
        "handbook-ru-RU-sect.x509-cert",
        "handbook-zh-CN-sect.x509-cert",
        "handbook-ar-MA-sect.x509-cert",
        "oscarq-fi-test-0007",
        "reg-IdCORE_id-01145",
        "reg-p_tr-00293",
    ]


def test_presets_show_the_thresholds_they_stand_for() -> None:
    """The resolved settings hold actual limits; a given null stays null."""
    filter_ = Repetition(max_dup_5gram_char_frac=None)
    assert filter_.max_dup_line_frac == 0.30
    assert filter_.max_dup_5gram_char_frac is None
    assert filter_.max_dup_10gram_char_frac == 0.10
    assert filter_.drop_at_times is None
    olmoe = Repetition(preset="olmoe-0924", unit="words")
    assert (olmoe.drop_at_times, olmoe.max_dup_line_frac) == (32, None)


def test_a_filter_without_any_rule_is_refused() -> None:
    """A filter that can drop nothing is a mistake."""
    with pytest.raises(ValidationError, match="every rule is off"):
        Repetition(preset="olmoe-0924", drop_at_times=None)
    with pytest.raises(ValidationError, match="preset"):
        Repetition(preset="olmoe")  # type: ignore[arg-type]

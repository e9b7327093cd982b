"""Repetition: each preset's rules, OLMoE's 32 repeats in words or in tokens, what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import naive
import naive_repetition as plain
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dolmix.config import parse
from dolmix.document import TextBatch
from dolmix.errors import ConfigError
from dolmix.filters import Repetition, judge
from dolmix.filters.repetition import LINES, NGRAMS, ORDER, PARAGRAPHS, PIECE_CHARS
from dolmix.tokenizer import TokenizerConfig

DISTINCT = " ".join(f"word{n}" for n in range(60))


def reasons(filter_: Repetition, *texts: str) -> list[str | None]:
    """Reasons of some texts."""
    batch = TextBatch.of(list(texts))
    found: list[str | None] = judge(filter_, filter_.columns(batch), batch).to_pylist()
    return found


def only(preset: str = "dolma-1.2", **settings: object) -> Repetition:
    """Make a filter with one preset's rules off, except those given."""
    off: dict[str, object] = {f"max_{c}": None for c in (*LINES, *NGRAMS)}
    if preset in ("datatrove-0.10", "dclm"):
        off |= {f"max_{c}": None for c in PARAGRAPHS} | {"drop_empty": False}
    return Repetition(preset=preset, **(off | settings))  # type: ignore[arg-type]


def test_the_top_ngram_rules_do_fire() -> None:
    """Dolma's released configuration misspells its attributes; here the rules work."""
    text = "spam egg " * 20 + DISTINCT
    assert reasons(Repetition(), text, DISTINCT) == ["repetition.top_2gram_char_frac", None]


@pytest.mark.parametrize(
    ("preset", "column"),
    [(p, c) for p in ORDER for c in ORDER[p] if p != "olmoe-0924" and c != "text_chars"],
)
def test_every_rule_can_fire_alone(preset: str, column: str) -> None:
    """Each threshold by itself drops one paragraph repeated, and keeps a text of its own words."""
    once = "\n\n".join(f"line{n} has{n} words{n} of{n} its{n} own{n}" for n in range(30))
    twice = "\n\n".join(["one line of eleven words that stands here again and again"] * 30)
    filter_ = only(preset, **{f"max_{column}": 0.1, "words": "whitespace"})
    assert reasons(filter_, once, twice) == [None, f"repetition.{column}"]
    assert column in filter_.column_types()


def test_presets_count_repeated_lines_differently() -> None:
    """Every occurrence for dolma and DCLM, all but the first for datatrove; DCLM strips lines."""
    text = "a\nb\n a\na\n"
    found = {}
    for preset in ("dolma-1.2", "datatrove-0.10", "dclm"):
        columns = only(preset, max_dup_line_frac=0.5).columns(TextBatch.of([text]))
        found[preset] = [columns[name].to_pylist()[0] for name in LINES]
    assert found == {
        "dolma-1.2": [2 / 5, 2 / 4],
        "datatrove-0.10": [1 / 5, 1 / 9],
        "dclm": [3 / 4, 3 / 4],
    }


def test_an_empty_text_is_dropped_where_the_peer_drops_it() -> None:
    """By datatrove without a character, by DCLM where there is only whitespace, by dolma never."""
    texts = ["", " \n\u2003", "word"]
    empty = "repetition.empty"
    assert reasons(only("datatrove-0.10", drop_empty=True), *texts) == [empty, None, None]
    assert reasons(only("dclm", drop_empty=True), *texts) == [empty, empty, None]
    assert reasons(Repetition(max_top_2gram_char_frac=None), *texts) == [None] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"max_dup_para_frac": 0.3},
            "dolma-1.2 measures no such thing; datatrove-0.10 and dclm do",
        ),
        ({"drop_empty": True}, "drop_empty is True, but preset dolma-1.2"),
        (
            {"preset": "dclm", "newlines": "each"},
            "newlines is each, but preset dclm measures no such thing; dolma-1.2 and olmoe-0924 do",
        ),
    ],
)
def test_a_threshold_that_the_preset_does_not_measure_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    """It would never fire; the message names the presets under which it would."""
    with pytest.raises(ValidationError, match=message):
        Repetition(**settings)


def test_what_is_off_may_be_written_out() -> None:
    """The resolved settings of a filter, nulls included, load again as the same filter."""
    for preset in ("dolma-1.2", "datatrove-0.10", "dclm"):
        filter_ = Repetition(preset=preset)  # type: ignore[arg-type]
        assert Repetition(**filter_.model_dump()) == filter_


def test_columns_say_whose_they_are() -> None:
    """Definition, splitter and the digest of the splitter's tables go with every column."""
    said = {
        preset: (filter_.definition, filter_.splitter, list(filter_.digests()))
        for preset in ("dolma-1.2", "datatrove-0.10", "dclm")
        for filter_ in [Repetition(preset=preset)]  # type: ignore[arg-type]
        if pytest.importorskip("spacy") and pytest.importorskip("uniseg")
    }
    assert said == {
        "dolma-1.2": ("dolma 1.2.1 gopher_v2", "whitespace", []),
        "datatrove-0.10": (
            "datatrove 0.10.1 GopherRepetitionFilter",
            "spacy-en",
            ["splitter"],
        ),
        "dclm": ("DCLM content_filters.py (from its source)", "unicode", ["splitter"]),
    }
    assert only("dclm", max_dup_line_frac=0.3).digests() == {}


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


@given(
    st.lists(
        st.lists(
            st.sampled_from(["a ", "bb ", "c\n", "\n", "\n\n", " \n", "ab ", "é ", "word "]),
            max_size=40,
        ).map("".join),
        max_size=4,
    )
)
def test_columns_of_other_presets_equal_their_plain_definitions(texts: list[str]) -> None:
    """The very floats, in the order of the peers' rules; here with words cut at whitespace."""
    for preset, twin in (("datatrove-0.10", plain.datatrove_columns), ("dclm", plain.dclm_columns)):
        filter_ = Repetition(preset=preset, words="whitespace")  # type: ignore[arg-type]
        columns = filter_.columns(TextBatch.of(texts))
        rows = [list(row) for row in zip(*(c.to_pylist() for c in columns.values()), strict=True)]
        assert rows == [twin(text, text.split()) for text in texts]
        assert list(columns) == list(ORDER[preset])


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


IN_WORDS = [
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
"""The ten documents of the corpus with 32 copies of a span of up to 13 words in a row."""
IN_TOKENS = [
    *IN_WORDS[1:3],
    "stack_exc-016",
    *IN_WORDS[3:7],
    "oscarq-en-test-0013",
    "oscarq-fr-dev-0038",
    "reg-ArCORE_ar-00089",
    "reg-FrCORE_test-00271",
    "reg-IdCORE_id-01145",
    "reg-PtCORE_pt-00109",
    "reg-p_tr-00293",
]
"""Those with 32 copies of a span of up to 13 tokens of OLMoE's tokenizer."""


@pytest.mark.corpus
def test_the_corpus_documents_with_32_repeats_are_found(shared: Path) -> None:
    """The ten documents of the reference corpus that hold 32 repeats in a row, and no other."""
    documents = corpus(shared)
    assert repeating(documents, Repetition(preset="olmoe-0924", unit="words")) == IN_WORDS


@pytest.mark.corpus
def test_32_repeats_in_tokens_are_found_as_olmoe_counts_them(shared: Path) -> None:
    """With OLMoE's own tokenizer: 14 documents, two of the ten not among them."""
    some = {*IN_WORDS, *IN_TOKENS}
    documents = {key: text for key, text in corpus(shared).items() if key in some}
    assert len(documents) == len(some) == 16
    assert repeating(documents, olmoe(shared)) == IN_TOKENS


@pytest.mark.conformance_full
@pytest.mark.corpus
def test_no_other_document_has_32_repeats_in_tokens(shared: Path) -> None:
    """The same, of all documents."""
    assert repeating(corpus(shared), olmoe(shared)) == IN_TOKENS


def olmoe(shared: Path) -> Repetition:
    """Make OLMoE's rule with OLMoE's tokenizer."""
    path = shared / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json.gz"
    return Repetition(preset="olmoe-0924", tokenizer=TokenizerConfig(path=path))


def repeating(documents: dict[str, str], filter_: Repetition) -> list[str]:
    """Ids of the documents that a filter drops."""
    keys, texts = list(documents), list(documents.values())
    dropped = []
    for start in range(0, len(texts), 1000):
        found = reasons(filter_, *texts[start : start + 1000])
        dropped += [key for key, reason in zip(keys[start:], found, strict=False) if reason]
    return dropped


def corpus(shared: Path) -> dict[str, str]:
    """Texts of the whole corpus by id, in the order of its files."""
    documents = {}
    for path in sorted((shared / "corpus_seed").glob("*/*.jsonl.*")):
        data = path.read_bytes()
        if path.suffix == ".gz":
            lines = gzip.decompress(data).split(b"\n")
        else:
            lines = zstandard.ZstdDecompressor().stream_reader(data).read().split(b"\n")
        records = [json.loads(line) for line in lines if line]
        documents |= {record["id"]: record["text"] for record in records}
    return documents


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

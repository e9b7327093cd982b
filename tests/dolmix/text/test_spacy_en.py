"""The splitter `spacy-en`: kernels, plain twins, spaCy itself, and what happens without it."""

# ruff: noqa: RUF001 - characters that look like others are the point here

import logging
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import naive_spacy as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import adversarial_texts, needs, pieces

from dolmix.document import TextBatch, U8Array
from dolmix.errors import FilterError
from dolmix.text import spacy_en, spacy_itself
from dolmix.text.spacy_affixes import find_prefix, find_suffix, prefix_bytes, suffix_bytes
from dolmix.text.spacy_en import count_sentences, longest_letters, split_spacy_en, tables_digest
from dolmix.text.spacy_itself import count_sentences_by_spacy, english, split_by_spacy
from dolmix.text.spacy_patterns import Alternative, Inexpressible, alternatives
from dolmix.text.spacy_rules import compile_rules, probes
from dolmix.text.spacy_tables import Rules
from dolmix.text.spacy_urls import is_url
from dolmix.text.words import Words, split_words

MARKS = r""". , : ; ! ? ( ) [ ] { } < > _ # * & ' " ` - ~ / = + ^ % $ \ | @ .. ... -- 's 'S ’s"""
OTHERS = """’ ‘ “ ” … — – · « » € £ ¥ © ® ™ ° ² ³ µ ½ é É ß Ä ö ж Ж 日 本 あ 한 😀 é ı İ ſ ٣ ४
¿ ¡ 。 ？"""
WORDS = """the a I X US C N.Y don't e.g co www http com 10 3 8 x D o p.m s S K km/h GB m °C can
cannot n't :) :( <3 8)"""
LINKS = """http:// https:// ftp:// a:// www. a@ u:p@ x.com ex-ample.co.uk sub.dom_ain.org 10.0.0.1
192.168.1.1 8.8.8.8 172.16.0.1 172.32.9.9 172.2٣.1.1 223.255.255.254 224.1.1.1 255.1.1.1 1.2.3.255
169.254.1.1 ٣.1.1.1 1.٣.1.1 :80 :8080 :1 :123456 /a-b ?q=a-b #x,y
é.com 日本.jp a_.com _a.com
a-.com . @ - : / .io .COM .Foo a 1 _"""
SPACES = [
    " ",
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\x85",
    " \n ",
]
SOUP = st.lists(
    st.sampled_from([*MARKS.split(), *OTHERS.split(), *WORDS.split(), *SPACES]),
    max_size=25,
).map("".join)


@pytest.fixture(scope="module", autouse=True)
def _spacy() -> None:
    needs("spacy")


@pytest.fixture(name="rules", scope="module")
def _rules() -> Rules:
    rules = spacy_en._rules()
    assert rules is not None, "the installed spaCy is not the one that the kernels know"
    return rules


@pytest.fixture(name="reloaded")
def _reloaded() -> Iterator[None]:
    """Whatever a test makes of spaCy is forgotten after it."""
    yield
    forget()


def forget() -> None:
    """Forget what this process knows of spaCy."""
    for known in (english, spacy_en._compiled, tables_digest, longest_letters):
        known.cache_clear()


def words_of(texts: list[str]) -> list[list[str]]:
    """Words of each text, their places, lengths and hashes checked on the way."""
    return read(TextBatch.of(texts), split_spacy_en(TextBatch.of(texts)))


def read(batch: TextBatch, words: Words) -> list[list[str]]:
    """Words as strings, each with the length that its entry says."""
    found = []
    for n, text in enumerate(batch.text.to_pylist()):
        data, mine = text.encode(), range(words.ends[n], words.ends[n + 1])
        found.append([data[words.starts[w] : words.stops[w]].decode() for w in mine])
        assert [len(word) for word in found[-1]] == [words.chars[w] for w in mine]
    return found


def bytes_of(text: str) -> U8Array:
    """UTF-8 form of a text, as kernels take it."""
    return np.frombuffer(text.encode(), np.uint8)


@settings(deadline=None, max_examples=300)
@given(st.lists(SOUP, min_size=1, max_size=3))
def test_words_are_those_of_the_plain_twin(texts: list[str]) -> None:
    """Kernel and plain Python cut alike: affixes, infixes, URLs, special cases across chunks."""
    assert words_of(texts) == [naive.split_words(text) for text in texts]


@settings(deadline=None, max_examples=200)
@given(st.lists(SOUP, min_size=1, max_size=3))
def test_sentences_are_those_of_the_plain_twin(texts: list[str]) -> None:
    """Kernel and plain Python count the same sentences."""
    batch = TextBatch.of(texts)
    counts = count_sentences(batch.utf8, batch.offsets)
    assert counts.tolist() == [naive.count_sentences(text) for text in texts]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(LINKS.split()), min_size=1, max_size=6).map("".join))
def test_urls_are_those_of_the_expression(rules: Rules, text: str) -> None:
    """The URL kernel says what spaCy's expression says: schemes, users, addresses, ports, paths."""
    data = bytes_of(text)
    assert is_url(data, 0, len(data), rules) == bool(english().tokenizer.url_match(text))


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("".join([*MARKS.split(), *OTHERS.split(), "aZ19kmsg"])), min_size=1))
def test_affix_tables_say_what_the_expressions_say(rules: Rules, text: str) -> None:
    """A byte pair's answer, the alternatives tried one by one, and spaCy's search: all the same."""
    data, tokenizer = bytes_of(text), english().tokenizer
    size = len(data)
    before = len(text[: tokenizer.find_prefix(text)].encode())
    behind = len(text[len(text) - tokenizer.find_suffix(text) :].encode())
    assert prefix_bytes(data, 0, size, rules) == find_prefix(data, 0, size, rules) == before
    assert suffix_bytes(data, 0, size, rules) == find_suffix(data, 0, size, rules) == behind


def test_texts_made_of_the_rules_are_cut_as_spacy_cuts_them() -> None:
    """Every special case and every affix, in seven places: spaCy's own words and sentences."""
    batch = TextBatch.of(probes(english()))
    ours, theirs = split_spacy_en(batch), split_by_spacy(batch)
    for name in ("hashes", "chars", "starts", "stops", "ends"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    counts = count_sentences(batch.utf8, batch.offsets)
    assert np.array_equal(counts, count_sentences_by_spacy(batch.utf8, batch.offsets))


def test_awkward_texts_are_cut_as_spacy_cuts_them() -> None:
    """Texts made to be hard, and pieces of them in any order, give spaCy's words and sentences."""
    draw = random.Random(5)
    soups = ["".join(draw.choices(pieces(), k=40)) for _ in range(300)]
    batch = TextBatch.of([*adversarial_texts(200), *soups, "", " ", "  ", "\n", "a", "."])
    ours, theirs = split_spacy_en(batch), split_by_spacy(batch)
    assert read(batch, ours) == read(batch, theirs)
    assert np.array_equal(ours.hashes, theirs.hashes)
    counts = count_sentences(batch.utf8, batch.offsets)
    assert np.array_equal(counts, count_sentences_by_spacy(batch.utf8, batch.offsets))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't (stop), e.g. at 10km!", "Do n't ( stop ) , e.g. at 10 km !"),
        ("see http://a.b.com/c-d,e=f.", "see http://a.b.com/c-d,e=f ."),
        ("well-known and/or a-b.c", "well - known and/or a - b.c"),
        ("foo:) foo:) )", "foo :) foo : ) )"),
        ("vitamin-c. x ( ^_^)", "vitamin - c. x ( ^_^ )"),
        ("“Curly” – naïve…", "“ Curly ” – naïve …"),
        ("10°C. 5°f. 5km.", "10 ° C . 5 ° f . 5 km ."),
        ("IS_ALPHA (IS_ALPHA)", "IS_ALPHA ( IS_ALPHA )"),
    ],
)
def test_known_cuts(text: str, words: str) -> None:
    """Contractions, units, URLs, infixes, special cases between and across chunks, curly quotes."""
    assert words_of([text]) == [words.split()]
    assert read(TextBatch.of([text]), split_by_spacy(TextBatch.of([text]))) == [words.split()]


def test_words_carry_the_hashes_of_their_bytes() -> None:
    """A word's hash is that of the same word split at whitespace: filters may mix splitters."""
    text = "Plain words , (and) others' 日本"
    ours = dict(zip(words_of([text])[0], split_spacy_en(TextBatch.of([text])).hashes, strict=True))
    batch = TextBatch.of([" ".join(ours)])
    plain = dict(zip(ours, split_words(batch).hashes, strict=True))
    assert ours == plain


def test_part_of_a_batch_gives_its_own_words() -> None:
    """Texts that do not start at the buffer's first byte have the words they have alone."""
    batch = TextBatch.of(["One. Two", "Three (four), five.", "", "Six:) "])
    part = TextBatch(batch.text.slice(1), batch.ids, batch.urls, batch.records, {})
    assert read(part, split_spacy_en(part)) == words_of(part.text.to_pylist())
    assert count_sentences(part.utf8, part.offsets).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "piece", ["(", ".", "a.", "a-", "a@", "@.", "1+", "don't", "é,", ":)", "a:"]
)
def test_long_chunks_take_linear_time(piece: str) -> None:
    """A megabyte without whitespace takes about as long as any megabyte, whatever it holds."""
    split_spacy_en(TextBatch.of([piece]))
    batch = TextBatch.of([piece * (1_000_000 // len(piece.encode()))])
    start = time.process_time()
    split_spacy_en(batch)
    assert time.process_time() - start < 2.0


def test_texts_of_marks_find_room() -> None:
    """Texts with a word in every byte are split whole, though room is first made for prose."""
    assert words_of(["(" * 9] * 9 + ["a b"]) == [["("] * 9] * 9 + [["a", "b"]]


def test_threads_share_the_rules() -> None:
    """Several threads that split at once get the same words."""
    texts = [
        " ".join(draw) for draw in (random.Random(n).choices(pieces(), k=400) for n in range(8))
    ]
    alone = [words_of([text]) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: words_of([text]), texts)) == alone


@pytest.mark.parametrize(
    "pattern",
    ["a?", "a|", "(?<!a)b", "a(?=b|cd)", "[^a]", "a+b", r"\d", "(?=a)b", "a$b", "(?i:a)", "a" * 9],
)
def test_unknown_constructs_are_refused(pattern: str) -> None:
    """What the kernels cannot follow exactly is not guessed at."""
    with pytest.raises(Inexpressible):
        alternatives(pattern)


def test_alternatives_keep_the_order_of_a_search() -> None:
    """Alternatives come in the order in which Python tries them; sets are merged ranges."""
    a, b, c = (((ord(x), ord(x)),) for x in "abc")
    found = alternatives(r"(?<=[a-b])(?:b|cc)(?=a)|\.\.+")
    assert found[:2] == [
        Alternative(before=(((97, 98),),), body=(b,), after=a),
        Alternative(before=(((97, 98),),), body=(c, c), after=a),
    ]
    assert found[2].repeats
    assert len(found[2].body) == 2


def nobody_knows(package: str) -> None:
    """Leave no way to tell an installed package's version: nothing kept on disk is taken."""
    del package


def strange_english() -> Any:
    """English with a rule that the kernels do not know: digits stay whole with what follows."""
    nlp = spacy_itself.load_english()
    nlp.tokenizer.token_match = __import__("re").compile(r"[0-9]+[a-z(]+").match
    return nlp


@pytest.mark.usefixtures("reloaded")
def test_other_rules_are_followed_by_asking_spacy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rules that kernels cannot express: spaCy's own answers, one warning, another digest."""
    before = tables_digest()
    nlp = strange_english()
    for module in (spacy_en, spacy_itself):
        monkeypatch.setattr(module, "english", lambda: nlp)
    monkeypatch.setattr(spacy_en, "package_digest", nobody_knows)
    forget()
    with caplog.at_level(logging.WARNING):
        assert words_of(["10km( a."]) == words_of(["10km( a."]) == [["10km(", "a."]]
        batch = TextBatch.of(["One. Two.\n", ""])
        assert count_sentences(batch.utf8, batch.offsets).tolist() == [3, 1]
    assert len(caplog.records) == 1
    assert "token match" in caplog.text
    assert tables_digest() != before


@pytest.mark.usefixtures("reloaded")
def test_rules_that_give_other_words_are_not_trusted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tables that disagree with spaCy on texts made of its rules are not used."""

    def without_suffixes(nlp: Any) -> Rules:
        rules = compile_rules(nlp)
        rules.suffixes[:] = 0
        return rules

    monkeypatch.setattr(spacy_en, "compile_rules", without_suffixes)
    monkeypatch.setattr(spacy_en, "package_digest", nobody_knows)
    forget()
    with caplog.at_level(logging.WARNING):
        assert words_of(["(so)"]) == [["(", "so", ")"]]
    assert "give other words" in caplog.text


@pytest.mark.usefixtures("reloaded")
def test_without_spacy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words, sentences and digest all fail with the setting and the way out."""
    monkeypatch.setattr(spacy_en, "package_digest", nobody_knows)
    forget()
    monkeypatch.setitem(sys.modules, "spacy", None)
    batch = TextBatch.of(["a"])
    for ask in (
        lambda: split_spacy_en(batch),
        lambda: count_sentences(batch.utf8, batch.offsets),
        tables_digest,
    ):
        with pytest.raises(FilterError, match=r"words: spacy-en .* pip install 'dolmix\[spacy\]'"):
            ask()

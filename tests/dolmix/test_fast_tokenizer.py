"""What engines promise: the reference's ids whoever encodes, and the truth about who did not."""

import gzip
import json
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from builders import prose
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import needs
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from dolmix import tokenizer as module
from dolmix.document import TextBatch
from dolmix.errors import ConfigError
from dolmix.fast_tokenizer import (
    EngineError,
    Reference,
    first_difference,
    hard_texts,
    load_fastokens,
)
from dolmix.text.hashes import text_hashes
from dolmix.tokenizer import Tokenizer, TokenizerConfig, load_tokenizer, read_pin

EOS = "<|endoftext|>"
NAMES = ("allenai_gpt-neox-olmo-dolma-v1_5", "allenai_dolma2", "smollm2")
KEPT_OF = 96
"""One document in so many is encoded by both engines in the sample that CI takes."""


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Know nothing of what was found out about engines before, and leave nothing behind."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))


@dataclass(frozen=True)
class Wrong:
    """An engine that adds one to the first id of texts that hold a word."""

    right: Reference
    word: str
    name: str = "fastokens"
    most_documents: int = 64
    most_bytes: int = 1 << 16

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode as the reference does, but for the word."""
        ids, lengths = self.right.encode(texts)
        starts = np.cumsum(lengths) - lengths
        for start, text in zip(starts, texts, strict=True):
            ids[start] += self.word in text
        return ids, lengths


@dataclass(frozen=True)
class Tired:
    """An engine that gives up."""

    name: str = "fastokens"
    most_documents: int = 64
    most_bytes: int = 1 << 16

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Raise."""
        raise EngineError(f"gave up on {len(texts)} texts")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a byte-level BPE with two special tokens."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[EOS, "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([prose(n) for n in range(20)], trainer)
    file = tmp_path_factory.mktemp("fast") / "tokenizer.json"
    backend.save(str(file))
    return file


@cache
def both(path: Path, policy: str = "plain") -> tuple[Tokenizer, Tokenizer]:
    """Load the tokenizer twice: by fastokens, by the reference."""
    needs("fastokens")
    return tuple(
        Tokenizer(TokenizerConfig(path=path, special_in_text=policy, engine=engine))
        for engine in ("fastokens", "tokenizers")
    )


def batch(*texts: str) -> TextBatch:
    """Documents in a batch."""
    return TextBatch.of(list(texts))


def test_hard_texts_hold_what_engines_differ_on(path: Path) -> None:
    """Special tokens, blanks, every plane of Unicode, the vocabulary: all are among them."""
    texts = hard_texts(Backend.from_file(str(path)))
    whole = "".join(texts)
    assert {ord(c) >> 16 for c in whole} == set(range(17))
    assert all(chr(n) in whole for n in range(1024))
    assert {EOS, "<|pad|>", ""} <= set(texts)
    assert any(" " * 257 + "a" in text for text in texts)
    assert "morning" in whole
    assert texts == hard_texts(Backend.from_file(str(path)))
    "".join(texts).encode()


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(st.text(max_size=60) | st.sampled_from(["", EOS, f"a{EOS}b", "  \n"])))
@pytest.mark.parametrize("policy", ["plain", "allow"])
def test_both_engines_give_the_same_ids(path: Path, policy: str, texts: list[str]) -> None:
    """Any texts, special tokens among them, by both policies that encode them."""
    fast, reference = both(path, policy)
    found, right = fast.encode(batch(*texts)), reference.encode(batch(*texts))
    assert found[0].tolist() == right[0].tolist()
    assert found[1].tolist() == right[1].tolist()
    assert found[0].dtype == right[0].dtype


def test_a_large_document_and_many_small_ones_keep_their_places(path: Path) -> None:
    """Slices of the fast engine are put together in order; EOS ends each document."""
    fast, reference = both.__wrapped__(path)
    texts = [prose(1, 400_000), *(prose(n, n % 7) for n in range(9000)), "", prose(2, 2_000_000)]
    found, right = fast.encode(batch(*texts)), reference.encode(batch(*texts[:-1]))
    assert fast.fast_documents == len(texts)
    assert np.array_equal(found[1][:-1], right[1])
    assert np.array_equal(found[0][: right[0].size], right[0])
    assert np.all(found[0][np.cumsum(found[1]) - 1] == fast.pin().eos_id)


def test_little_text_does_not_load_a_second_engine(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` begins with the reference, and changes when there is enough to make up for it."""
    needs("fastokens")
    tokenizer = Tokenizer(TokenizerConfig(path=path))
    tokenizer.encode(batch("a few words"))
    assert tokenizer.fast_documents == 0
    monkeypatch.setattr(module, "WORTH_BYTES", 20)
    tokenizer.encode(batch("some more", "words"))
    assert tokenizer.fast_documents == 2
    reference = Tokenizer(TokenizerConfig(path=path, engine="tokenizers"))
    reference.encode(batch("x" * 100))
    assert reference.fast_documents == 0


def test_an_engine_that_is_not_there_is_a_problem_only_if_it_was_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`fastokens` says what to install, `auto` goes on with the reference."""
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"tokenizer\.engine: fastokens is not installed: pip"):
        Tokenizer(TokenizerConfig(path=path, engine="fastokens"))

    def absent(*_: object, **__: object) -> None:
        raise EngineError("the package fastokens is not installed")

    monkeypatch.setattr(module, "load_fastokens", absent)
    monkeypatch.setattr(module, "WORTH_BYTES", 0)
    with caplog.at_level(logging.INFO):
        tokenizer = Tokenizer(TokenizerConfig(path=path))
        tokenizer.encode(batch("the morning"))
    assert "tokenizers encodes: the package fastokens is not installed" in caplog.text
    assert tokenizer.disagreement is None


@pytest.mark.parametrize("word", ["\u2460", "\U0001f469", EOS, "   ", "morning"])
def test_an_engine_that_fails_the_check_at_start_up_never_encodes(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    """Wrong on one kind of text only: the reference encodes everything, and a warning says why."""
    monkeypatch.setattr(module, "find_spec", lambda _: object())
    right = Reference(Backend.from_file(str(path)))
    monkeypatch.setattr(module, "load_fastokens", lambda *_, **__: Wrong(right, word))
    tokenizer = Tokenizer(TokenizerConfig(path=path, engine="fastokens"))
    reference = Tokenizer(TokenizerConfig(path=path, engine="tokenizers"))
    texts = batch(f"the {word} of it", "another")
    assert tokenizer.encode(texts)[0].tolist() == reference.encode(texts)[0].tolist()
    assert tokenizer.fast_documents == 0
    assert "fastokens gives other ids than tokenizers" in caplog.text
    assert tokenizer.disagreement is not None


def test_a_sampled_document_that_differs_ends_the_trust(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch in which it was seen is the reference's, and every one after it."""
    monkeypatch.setattr(module, "hard_texts", lambda _: ["nothing hard"])
    monkeypatch.setattr(module, "find_spec", lambda _: object())
    monkeypatch.setattr(module, "SAMPLE", 8)
    right = Reference(Backend.from_file(str(path)))
    monkeypatch.setattr(module, "load_fastokens", lambda *_, **__: Wrong(right, "xyz"))
    tokenizer = Tokenizer(TokenizerConfig(path=path, engine="fastokens"))
    reference = Tokenizer(TokenizerConfig(path=path, engine="tokenizers"))
    sound, wrong = batch(*map(str, range(50))), batch(*(f"{n} xyz" for n in range(50)))
    assert np.any(text_hashes(wrong) % 8 == 0)
    assert np.array_equal(tokenizer.encode(sound)[0], reference.encode(sound)[0])
    assert tokenizer.fast_documents == 50
    for texts in (wrong, sound, wrong):
        assert np.array_equal(tokenizer.encode(texts)[0], reference.encode(texts)[0])
    assert tokenizer.fast_documents == 50
    assert "document" in str(tokenizer.disagreement)
    assert caplog.text.count("gives other ids") == 1


def test_an_engine_that_gives_up_leaves_the_text_to_the_reference(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it could not encode has the reference's ids."""
    tokenizer = Tokenizer(TokenizerConfig(path=path, engine="tokenizers"))
    texts = batch("one text", "", "and another")
    right = tokenizer.encode(texts)
    monkeypatch.setattr(tokenizer, "_fast", Tired())
    assert np.array_equal(tokenizer.encode(texts)[0], right[0])


def test_the_check_at_start_up_is_made_once_a_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it found stays known, good or bad, until the file is another; then it is made again.

    Ahead of texts, an engine is loaded only where it was found good before.
    """
    made: list[int] = []

    def differ(*_: object) -> str | None:
        made.append(1)
        return fault

    def loaded(file: Path, *, ahead: bool = False) -> Tokenizer:
        tokenizer = Tokenizer(TokenizerConfig(path=file, engine="fastokens"))
        if ahead:
            tokenizer.load_ahead()
        else:
            tokenizer.encode(batch("a text"))
        return tokenizer

    right = Reference(Backend.from_file(str(path)))
    monkeypatch.setattr(module, "find_spec", lambda _: object())
    monkeypatch.setattr(module, "load_fastokens", lambda *_, **__: Wrong(right, "never there"))
    monkeypatch.setattr(module, "first_difference", differ)
    fault = None
    assert loaded(path, ahead=True)._fast is None
    assert loaded(path)._fast is not None
    assert loaded(path, ahead=True)._fast is not None
    assert loaded(path).fast_documents == 1
    assert len(made) == 1
    fault, other = "token 0 of all", tmp_path / "other.json"
    other.write_text(path.read_text() + "\n")
    for _ in range(2):
        assert loaded(other).disagreement == fault
        assert loaded(other, ahead=True)._fast is None
    assert len(made) == 2


def test_a_pin_is_worked_out_once_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the loaded tokenizer's; asked for again, no tokenizer is loaded; faults stay faults."""
    for special in ("plain", "allow"):
        config = TokenizerConfig(path=path, special_in_text=special)
        assert read_pin(config) == Tokenizer(config).pin()
    with pytest.raises(ConfigError, match="not in the vocabulary"):
        read_pin(TokenizerConfig(path=path, eos="<none>"))
    with monkeypatch.context() as patched:
        patched.setattr(module, "_load", lambda *_: pytest.fail("loaded again"))
        assert read_pin(config).eos == EOS
    before = Tokenizer(config)
    monkeypatch.setattr(module, "_parse", lambda *_: pytest.fail("read as JSON again"))
    again = Tokenizer(config)
    assert again.pin() == before.pin()
    assert np.array_equal(again.encode(batch("the cat"))[0], before.encode(batch("the cat"))[0])


def test_the_first_difference_is_told_exactly(path: Path) -> None:
    """Text, place and ids of both."""
    right = Reference(Backend.from_file(str(path)))
    told = first_difference(Wrong(right, "b"), right, ["a", "a b", "b"])
    assert told is not None
    assert "token 0 of the text 'a b': [" in told
    assert first_difference(right, right, ["a", ""]) is None


def test_a_file_that_fastokens_cannot_read_is_an_engine_error() -> None:
    """Whatever the package raises, a panic of its compiled code too, is told as one thing."""
    needs("fastokens")
    with pytest.raises(EngineError):
        load_fastokens('{"model": {}}', plain=True)


def test_a_forked_process_encodes_as_its_parent_does(path: Path) -> None:
    """Threads of the engine do not survive a fork; the child's ids are right all the same."""
    fast, reference = both(path)
    texts = batch(*(prose(n) for n in range(300)))
    expected = reference.encode(texts)[0]
    assert np.array_equal(fast.encode(texts)[0], expected)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(fast.encode(texts)[0], expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_tokenizer_is_loaded_once_while_its_file_stays(path: Path, tmp_path: Path) -> None:
    """Tasks of one process share it; another file under the same path is another tokenizer."""
    file = tmp_path / "tokenizer.json"
    file.write_bytes(path.read_bytes())
    config = TokenizerConfig(path=file)
    first = load_tokenizer(config)
    assert load_tokenizer(pickle.loads(pickle.dumps(config))) is first
    file.write_bytes(path.read_bytes() + b"\n")
    assert load_tokenizer(config).pin().digest != first.pin().digest
    file.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        load_tokenizer(config)


# --- real tokenizers and documents ----------------------------------------------------------------


def corpus(shared: Path, *, one_in: int) -> Iterator[str]:
    """Texts of the corpus whose hash is a multiple of `one_in`."""
    for file in sorted((shared / "corpus_seed").glob("*/*.jsonl*")):
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        elif file.suffix == ".zst":
            data = zstandard.ZstdDecompressor().stream_reader(data).read()
        for line in data.split(b"\n"):
            if not line.strip() or _hash(line) % one_in:
                continue
            record: dict[str, Any] = json.loads(line)
            if isinstance(record.get("text"), str):
                yield record["text"]


def _hash(line: bytes) -> int:
    return int.from_bytes(blake2b(line, digest_size=8).digest(), "little")


def assert_equal_ids(path: Path, policy: str, texts: Iterator[str]) -> int:
    """Encode texts by both engines, 200 at a time; return how many."""
    fast, reference = both(path, policy)
    count, before = 0, fast.fast_documents
    waiting = list(texts)
    for start in range(0, len(waiting), 200):
        some = batch(*waiting[start : start + 200])
        found, right = fast.encode(some), reference.encode(some)
        assert np.array_equal(found[0], right[0])
        assert np.array_equal(found[1], right[1])
        count += len(some)
    assert fast.fast_documents - before == count
    return count


@pytest.mark.corpus
@pytest.mark.parametrize("policy", ["plain", "allow"])
@pytest.mark.parametrize("name", NAMES)
def test_real_tokenizers_agree_on_a_keyed_sample(shared: Path, name: str, policy: str) -> None:
    """The published tokenizers, by both policies: documents of all folders, round-trip strings."""
    path = shared / "tokenizers" / f"{name}.json.gz"
    lines = (shared / "tokenizers/roundtrip.jsonl").read_text(encoding="utf-8").splitlines()
    strings = [json.loads(line)["text"] for line in lines]
    one_in = KEPT_OF if policy == "plain" else 4 * KEPT_OF
    sample = [*strings, *corpus(shared, one_in=one_in)]
    assert assert_equal_ids(path, policy, iter(sample)) > len(strings) + 30


@pytest.mark.conformance_full
@pytest.mark.parametrize("policy", ["plain", "allow"])
@pytest.mark.parametrize("name", NAMES)
def test_real_tokenizers_agree_on_every_document(shared: Path, name: str, policy: str) -> None:
    """All documents of the corpus, by both policies."""
    path = shared / "tokenizers" / f"{name}.json.gz"
    assert assert_equal_ids(path, policy, corpus(shared, one_in=1)) > 10_000

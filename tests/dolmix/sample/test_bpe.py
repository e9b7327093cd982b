"""The sample's tokenizer: the same bytes however it is trained, and no text that it cannot hold."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dolmix.errors import UsageError
from dolmix.sample import EOS, Document, shipped_documents, train_tokenizer, training_texts
from dolmix.sample.bpe import LONGEST_BYTES, TRAINING_BYTES

ROOT = Path(__file__).resolve().parents[3]
VOCAB = 600
SCRIPT = f"""
import sys
from dolmix.sample import shipped_documents, train_tokenizer, training_texts
sys.stdout.buffer.write(train_tokenizer(training_texts(shipped_documents()), {VOCAB}))
"""


@pytest.fixture(scope="module")
def trained() -> bytes:
    """Train a tokenizer on the shipped documents."""
    return train_tokenizer(training_texts(shipped_documents()), VOCAB)


@pytest.mark.parametrize("parallelism", ["true", "false"])
def test_other_processes_train_the_same_bytes(trained: bytes, parallelism: str) -> None:
    """Threads and hash seeds do not enter."""
    chance = {"TOKENIZERS_PARALLELISM": parallelism, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env={**os.environ, **chance}, capture_output=True, check=True)
    assert sha256(done.stdout).hexdigest() == sha256(trained).hexdigest()


def test_the_order_of_texts_does_not_enter(trained: bytes) -> None:
    """Counts are sums: reversed texts give the same tokenizer."""
    texts = list(training_texts(shipped_documents()))
    assert train_tokenizer(reversed(texts), VOCAB) == trained


def test_end_of_text_is_id_0_and_the_size_is_the_asked_one(trained: bytes) -> None:
    """The special token counts as an entry."""
    tokenizer = Tokenizer.from_str(trained.decode())
    assert tokenizer.token_to_id(EOS) == 0
    assert tokenizer.get_vocab_size() == VOCAB


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(trained: bytes, text: str) -> None:
    """Encoding loses nothing, whatever the script."""
    tokenizer = Tokenizer.from_str(trained.decode())
    ids = tokenizer.encode(text.replace(EOS, "")).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text.replace(EOS, "")


def test_a_vocabulary_below_the_bytes_is_refused() -> None:
    """256 bytes and the end of text need 257 entries."""
    assert Tokenizer.from_str(train_tokenizer(["a"], 257).decode()).get_vocab_size() == 257
    with pytest.raises(UsageError, match="at least 257"):
        train_tokenizer(["a"], 256)


def test_training_text_is_bounded_for_each_source() -> None:
    """No source gives more than its share, and no text that is too long."""
    documents = [Document(f"a/{n}", "x" * 50_000, "a") for n in range(30)]
    documents += [Document("b/1", "y" * (LONGEST_BYTES + 1), "b"), Document("b/2", "z", "b")]
    texts = list(training_texts(documents))
    assert sum(len(text) for text in texts if text[0] == "x") == TRAINING_BYTES
    assert [text for text in texts if text[0] != "x"] == ["z"]

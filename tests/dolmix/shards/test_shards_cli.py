"""`dolmix shards`: what the commands print, as text and as JSON, and their exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
import store_builder
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers
from typer.testing import CliRunner, Result

from dolmix.cli.shards import app
from dolmix.document import TextBatch
from dolmix.errors import StoreError, UsageError
from dolmix.tokenizer import Tokenizer, TokenizerConfig

TEXTS = ["the cat sat on the mat", "", "a second document, on the same cat"]


def run(*arguments: str | Path) -> Result:
    """Run `dolmix shards` in this process; errors of dolmix come through."""
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a byte-level BPE of 270 ids."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet
    )
    backend.train_from_iterator(TEXTS, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    backend.save(str(path))
    return path


@pytest.fixture
def root(tmp_path: Path, tokenizer_file: Path) -> Path:
    """Write a store of three texts with that tokenizer."""
    tokenizer = Tokenizer(TokenizerConfig(path=tokenizer_file))
    tokens, lengths = tokenizer.encode(TextBatch.of(TEXTS))
    rows = store_builder.documents([1, 1, 1]).rows
    with store_builder.open_writer(tmp_path / "stores", tokenizer=tokenizer.pin()) as writer:
        writer.append(tokens, lengths, rows, sum(map(len, TEXTS)))
        writer.commit()
    return tmp_path / "stores/web@1"


def test_ls_lists_stores_below_a_folder(root: Path) -> None:
    """Folders and stores can be given; attempts of killed writers stay hidden."""
    store_builder.write(root.parent / "more", store_builder.documents([2, 3]), version=2)
    (root.parent / ".web@9.abc.part").mkdir()
    (root.parent / ".web@9.abc.part/manifest.json").write_text("{}")
    result = run("ls", root.parent, "--json")
    entries = json.loads(result.stdout)
    assert [(e["store"], e["documents"]) for e in entries] == [("web@2", 2), ("web@1", 3)]
    text = run("ls", root).stdout
    assert text.splitlines()[0].split() == ["store", "tokens", "documents", "dtype", "hash"]
    assert entries[1]["content_hash"][:7] in text
    with pytest.raises(StoreError, match="no store here or below"):
        run("ls", root / "shards")


def test_show_prints_the_manifest(root: Path) -> None:
    """The JSON is the manifest itself; the text has its numbers."""
    shown = json.loads(run("show", root, "--json").stdout)
    assert shown == json.loads((root / "manifest.json").read_bytes())
    assert shown["content_hash"] in run("show", root).stdout


def test_show_prints_one_document_with_its_text(root: Path, tokenizer_file: Path) -> None:
    """With the store's tokenizer the text comes back, EOS written out; without it, the ids."""
    result = run("show", root, "--doc", 2, "--tokenizer", tokenizer_file, "--json")
    document = json.loads(result.stdout)
    assert document["text"] == TEXTS[2] + "<|endoftext|>"
    assert (document["id"], document["stop"] - document["start"]) == (
        "doc-2",
        document["num_tokens"],
    )
    assert "language.score" in run("show", root, "--doc", 0).stdout
    assert TEXTS[0] in run("show", root, "--doc", 0, "--tokenizer", tokenizer_file).stdout
    with pytest.raises(StoreError, match="no document 3"):
        run("show", root, "--doc", 3)


def test_show_refuses_another_tokenizer(root: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    """A file of another digest would decode to another text: both digests are told."""
    other = tmp_path / "other.json"
    other.write_bytes(tokenizer_file.read_bytes() + b"\n")
    with pytest.raises(UsageError, match="was made with"):
        run("show", root, "--doc", 0, "--tokenizer", other)


def test_verify_exits_1_with_findings(root: Path) -> None:
    """A sound store exits 0; one flipped byte exits 1 under --full and is named."""
    assert run("verify", root, "--full").exit_code == 0
    file = root / "shards/00000.tok"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    assert run("verify", root).exit_code == 0
    result = run("verify", root, "--full", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["file"] == "shards/00000.tok"
    assert "shards/00000.tok: digest is" in run("verify", root, "--full").stdout


def test_stats_count_every_token(root: Path, tokenizer_file: Path) -> None:
    """Counts sum to the total; the most frequent tokens come first, with their text if asked."""
    value = json.loads(run("stats", root, "--top", 300, "--json").stdout)
    assert sum(t["count"] for t in value["top_tokens"]) == value["totals"]["tokens"]
    assert value["distinct_tokens"] == len(value["top_tokens"])
    counts = [t["count"] for t in value["top_tokens"]]
    assert counts == sorted(counts, reverse=True)
    density = value["totals"]["bytes"] / value["totals"]["tokens"]
    assert value["bytes_per_token"] == pytest.approx(density)
    text = run("stats", root, "--tokenizer", tokenizer_file).stdout
    assert "'<|endoftext|>'" in text
    assert "p50" in text


def test_stats_refuse_an_id_above_the_largest(root: Path) -> None:
    """A token that the tokenizer cannot have is named with its place and what to do."""
    file = root / "shards/00000.tok"
    tokens = np.fromfile(file, "<u2")
    tokens[5] = 60_000
    file.write_bytes(tokens.tobytes())
    with pytest.raises(StoreError, match=r"token 5 is id 60,000.*verify .*web@1 --full"):
        run("stats", root)


def test_stats_of_an_empty_store(tmp_path: Path) -> None:
    """No documents, no quantiles, no tokens, no error."""
    with store_builder.open_writer(tmp_path) as writer:
        writer.commit()
    assert json.loads(run("stats", tmp_path / "web@1", "--json").stdout)["top_tokens"] == []
    assert run("stats", tmp_path / "web@1").exit_code == 0
    assert "none" in run("show", tmp_path / "web@1").stdout

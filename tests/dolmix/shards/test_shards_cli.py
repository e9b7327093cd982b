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
from dolmix.shards import open_instances, open_store
from dolmix.tokenizer import Tokenizer, TokenizerConfig

TEXTS = ["the cat sat on the mat", "", "a second document, on the same cat"]


def run(*arguments: str | int | Path) -> Result:
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


def test_show_prints_ids_beside_their_text(root: Path, tokenizer_file: Path) -> None:
    """A span of tokens over documents: each run's place, ids, and what the ids say."""
    arguments = ("show", root, "--tokens", "2:9", "--tokenizer", tokenizer_file)
    value = json.loads(run(*arguments, "--json").stdout)
    with open_store(root) as store:
        ids = store.tokens(2, 9).tolist()
        spans = [store.document_span(n) for n in range(3)]
    assert [t for r in value["runs"] for t in r["tokens"]] == ids
    assert [r["document"] for r in value["runs"]] == [
        n for n, (a, e) in enumerate(spans) if max(a, 2) < min(e, 9)
    ]
    assert value["runs"][0]["document_start"] == value["runs"][0]["at"] == 2
    decode = Tokenizer(TokenizerConfig(path=tokenizer_file)).decode
    text = run(*arguments).stdout
    for shown in value["runs"]:
        assert len(shown["texts"]) == len(shown["tokens"])
        first = shown["tokens"][:8]
        line = next(x for x in text.splitlines() if x.lstrip().startswith(f"{shown['at']} "))
        assert line.split()[1 : 1 + len(first)] == [str(n) for n in first]
        assert line.endswith(repr(decode(first)))


@pytest.mark.parametrize("packing", ["concat", "bestfit", "pad"])
def test_show_prints_an_instance(root: Path, tokenizer_file: Path, packing: str) -> None:
    """Its runs are its pieces, with labels and padding counted; a pack is made by `derive`."""
    if packing != "concat":
        with pytest.raises(StoreError, match="shards derive"):
            run("show", root, "--instance", 0, "--length", 10, "--packing", packing)
        made = run("derive", root, "--length", 10, "--pack", packing, "--json").stdout
        assert json.loads(made)[0]["kind"] == "pack"
    arguments = ("show", root, "--instance", 0, "--length", 10, "--packing", packing)
    value = json.loads(run(*arguments, "--json").stdout)
    with open_store(root) as store:
        instances = open_instances(store, 10, packing)  # type: ignore[arg-type]
        pieces = instances.documents(0)
    shown = [(r["document"], r["document_start"], len(r["tokens"])) for r in value["runs"]]
    assert shown == [tuple(piece) for piece in pieces]
    assert value["padding"] == 11 - sum(piece.length for piece in pieces)
    text = run(*arguments, "--tokenizer", tokenizer_file).stdout
    assert text.startswith(f"instance 0 of {len(instances)}   {packing}, 10 tokens")


def test_derive_makes_things_once(root: Path) -> None:
    """A pack and flags of one length; asked again, the same digests; nothing asked is refused."""
    arguments = ("derive", root, "--length", 8, "--pack", "pad", "--repeats", "--json")
    made = json.loads(run(*arguments).stdout)
    assert [entry["kind"] for entry in made] == ["pack", "repeats"]
    assert made[1]["counts"]["instances"] == made[0]["counts"]["instances"]
    assert json.loads(run(*arguments).stdout) == made
    assert made[0]["digest"][:7] in run(*arguments[:-1]).stdout
    for wrong, said in [
        ((), "nothing to make"),
        (("--pack", "bestfit"), "flags need one"),
        (("--length", 8, "--pack", "tight"), "bestfit or pad"),
        (("--length", 8, "--repeats", "--role", "bot"), "without --loss"),
    ]:
        with pytest.raises(UsageError, match=said):
            run("derive", root, *wrong)


def test_verify_looks_at_what_is_derived(root: Path) -> None:
    """Under --full a flipped bit, a strange file and the pack of another store are named."""
    run("derive", root, "--length", 8, "--pack", "pad", "--repeats")
    assert run("verify", root, "--full").exit_code == 0
    (pack,) = (root.parent / "web@1.derived").glob("pack-*")
    file = pack / "start.u64"
    data = bytearray(file.read_bytes())
    file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    (pack / "notes.txt").write_text("hello")
    found = json.loads(run("verify", root, "--full", "--json").stdout)
    assert [Path(f["file"]).name for f in found] == ["notes.txt", "start.u64"]
    assert found[1]["file"] == f"../web@1.derived/{pack.name}/start.u64"
    pack.rename(pack.with_name("pack-0000000000000000"))
    text = run("verify", root, "--full").stdout
    assert "says that it is pack-" in text
    assert run("verify", root).exit_code == 0


def test_export_and_import_are_each_others_inverse(root: Path, tokenizer_file: Path) -> None:
    """Through the command line: the imported store has the content of the exported one."""
    out, back = root.parent / "out", root.parent / "back/web@7"
    assert "00000.ds" in run("export", root, "datatrove", out).stdout
    shown = run("import", "datatrove", out, back, "--tokenizer", tokenizer_file, "--json").stdout
    ours = json.loads(run("show", root, "--json").stdout)
    assert json.loads(shown)["content_hash"] == ours["content_hash"]
    with pytest.raises(UsageError, match="none of datatrove, megatron, olmo"):
        run("export", root, "parquet", out)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--doc", 0, "--tokens", "0:4"), "show one thing"),
        (("--instance", 0), "give both"),
        (("--length", 8), "give both"),
        (("--tokens", "4"), "no span of tokens"),
        (("--instance", 0, "--length", 8, "--packing", "tight"), "'tight' is none of"),
    ],
)
def test_show_refuses_what_is_no_part(root: Path, asked: tuple[str | int, ...], said: str) -> None:
    """Two parts at once, half an instance, a span that is none: usage errors."""
    with pytest.raises(UsageError, match=said):
        run("show", root, *map(str, asked))


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

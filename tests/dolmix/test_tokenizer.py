"""What the tokenizer promises: pinned by bytes, EOS after each document, specials by policy."""

import gzip
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from dolmix import tokenizer as module
from dolmix.document import TextBatch
from dolmix.errors import ConfigError, DataError
from dolmix.fast_tokenizer import Reference
from dolmix.tokenizer import SpecialInText, Tokenizer, TokenizerConfig

EOS = "<|endoftext|>"
SHARED = Path(os.environ.get("DOLMIX_SHARED", Path(__file__).parents[3] / "shared"))
REAL = SHARED / "data/tokenizers"
NAMES = {
    "gpt-neox-olmo-dolma-v1_5": "allenai_gpt-neox-olmo-dolma-v1_5.json.gz",
    "dolma2": "allenai_dolma2.json.gz",
    "smollm2": "smollm2.json.gz",
}
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no tokenizers in {REAL}")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Train a byte-level BPE with two special tokens, and runs of spaces as ordinary added ones."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=[EOS, "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the cat sat on the mat, the end of the text"] * 4, trainer)
    backend.add_tokens([AddedToken(" " * n, normalized=False) for n in (8, 4)])
    loaded: dict[str, Any] = json.loads(backend.to_str())
    return loaded


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a tokenizer file, with changes."""

    def write(spec: dict[str, Any], **changes: Any) -> Path:
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps({**spec, **changes}), encoding="utf-8")
        return path

    return write


def load(path: Path, special_in_text: SpecialInText = "plain", eos: str = EOS) -> Tokenizer:
    """Load a tokenizer."""
    return Tokenizer(TokenizerConfig(path=path, eos=eos, special_in_text=special_in_text))


def ids(tokenizer: Tokenizer, *texts: str) -> list[list[int]]:
    """Ids of each text, EOS included."""
    tokens, lengths = tokenizer.encode(TextBatch.of(list(texts)))
    assert int(lengths.sum()) == tokens.size
    return [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]


def test_eos_follows_every_document(spec: dict[str, Any], save: Callable[..., Path]) -> None:
    """Documents are back to back, each with one EOS at its end; an empty text is EOS alone."""
    tokenizer = load(save(spec))
    eos = tokenizer.pin().eos_id
    found = ids(tokenizer, "the cat", "", "sat")
    assert [part[-1] for part in found] == [eos] * 3
    assert found[1] == [eos]
    assert not any(eos in part[:-1] for part in found)
    assert tokenizer.decode(found[0]) == "the cat" + EOS
    tokens, lengths = tokenizer.encode(TextBatch.of([]))
    assert (tokens.size, lengths.size, tokens.dtype) == (0, 0, np.dtype("<u2"))


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.text(alphabet="the cat<|endof>é\n ", max_size=40), max_size=9))
def test_ids_of_a_document_do_not_depend_on_its_neighbours(
    spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    """Encoding documents together, in any slices, equals encoding each alone by the package."""
    path = tmp_path_factory.mktemp("any") / "tokenizer.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    tokenizer = load(path)
    backend = Backend.from_file(str(path))
    backend.encode_special_tokens = True
    alone = [[*backend.encode(t, add_special_tokens=False).ids, 0] for t in texts]
    assert ids(tokenizer, *texts) == (alone or [[]])
    tokenizer._reference = replace(tokenizer._reference, most_bytes=20, most_documents=2)
    assert ids(tokenizer, *texts) == (alone or [[]])


def test_texts_alone_have_the_ids_of_documents_without_eos(
    spec: dict[str, Any], save: Callable[..., Path]
) -> None:
    """What questions are encoded by gives what documents get, but for the EOS, empty ones too."""
    tokenizer = load(save(spec))
    texts = ["a b", "", f"text {EOS} text", " a"]
    found = [row.tolist() for row in tokenizer.encode_texts(texts)]
    assert found == [row[:-1] for row in ids(tokenizer, *texts)]
    assert tokenizer.encode_texts([]) == []


def test_slices_cover_every_document_once() -> None:
    """Slices are few documents and few bytes, in order; an oversized document is alone."""
    texts = TextBatch.of(["x" * n for n in (5, 0, 3 << 20, 1, 1 << 20, 1 << 20, 7)] + [""] * 300)
    engine = Reference(None)
    slices = list(module._slices(texts, engine))
    assert slices[:3] == [(0, 2), (2, 3), (3, 5)]
    assert [start for start, _ in slices] == [0, *(stop for _, stop in slices[:-1])]
    assert slices[-1][1] == len(texts)
    assert max(stop - start for start, stop in slices) <= engine.most_documents


def test_a_slice_of_a_larger_arrow_array_encodes_its_own_rows(
    spec: dict[str, Any], save: Callable[..., Path]
) -> None:
    """A batch whose text starts in the middle of its buffer gives the ids of its own documents."""
    tokenizer = load(save(spec))
    batch = TextBatch.of(["first", "the cat", "sat on"])
    part = TextBatch(
        text=batch.text.slice(1),
        ids=batch.ids.slice(1),
        urls=batch.urls.slice(1),
        records=batch.records[1:],
        fields={},
    )
    tokens, lengths = tokenizer.encode(part)
    expected = ids(tokenizer, "the cat", "sat on")
    assert tokens.tolist() == [*expected[0], *expected[1]]
    assert len(lengths) == 2


# --- special tokens in a text -----------------------------------------------------------------


def test_plain_makes_ordinary_tokens_of_a_literal_special_token(
    spec: dict[str, Any], save: Callable[..., Path]
) -> None:
    """No special id comes out of a text; added tokens that are not special keep matching."""
    tokenizer = load(save(spec))
    specials = set(tokenizer.pin().specials.values())
    text = f"the{EOS}cat <|pad|>{EOS}"
    (found,) = ids(tokenizer, text)
    assert not specials & set(found[:-1])
    assert tokenizer.decode(found[:-1]) == text
    (spaces,) = ids(tokenizer, "x" + " " * 12 + "y")
    assert [tokenizer.token_texts([t])[0] for t in spaces[1:3]] == [" " * 8, " " * 4]


def test_allow_lets_a_literal_special_token_through(
    spec: dict[str, Any], save: Callable[..., Path]
) -> None:
    """The special id stands where the text has it."""
    (found,) = ids(load(save(spec), "allow"), f"{EOS}cat<|pad|>")
    assert (found[0], found[-2], found[-1]) == (0, 1, 0)


def test_fail_names_the_document(spec: dict[str, Any], save: Callable[..., Path]) -> None:
    """The error has document, record, token and count; other texts encode as under plain."""
    tokenizer = load(save(spec), "fail")
    batch = TextBatch.of(["the", "a <|pad|> b", "cat", EOS], ids=["a", "doc-b", "c", "d"])
    with pytest.raises(DataError, match=r"'doc-b' \(record 1\).*'<\|pad\|>'.* 2 of this batch's 4"):
        tokenizer.encode(batch)
    assert ids(tokenizer, "the <| cat") == ids(load(save(spec)), "the <| cat")


def test_an_eos_that_the_file_does_not_call_special_is_special_here(
    spec: dict[str, Any], save: Callable[..., Path]
) -> None:
    """Policies hold for the EOS even if the file has it as an ordinary added token."""
    added = [{**token, "special": False} for token in spec["added_tokens"]]
    path = save(spec, added_tokens=added)
    assert load(path).pin().specials == {EOS: 0}
    (found,) = ids(load(path), f"the{EOS}cat")
    assert 0 not in found[:-1]
    with pytest.raises(DataError, match="endoftext"):
        ids(load(path, "fail"), EOS)
    assert ids(load(path, "allow"), EOS) == [[0, 0]]


def test_a_model_that_cannot_keep_plain_is_refused(tmp_path: Path) -> None:
    """A whole-word model whose vocabulary holds the special token as a word says so at load."""
    backend = Backend(models.WordLevel({EOS: 0, "[UNK]": 1, "cat": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = tmp_path / "words.json"
    backend.save(str(path))
    with pytest.raises(ConfigError, match=r"tokenizer\.special_in_text: .*into id 0"):
        load(path)
    tokenizer = load(path, "allow")
    assert tokenizer.pin().unk_id == 1
    assert ids(tokenizer, "cat dog") == [[2, 1, 0]]


# --- the pin ------------------------------------------------------------------------------------


def test_the_pin_is_the_digest_of_the_decompressed_file(
    spec: dict[str, Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """Plain and gzipped files of the same bytes have the same pin; another byte changes it."""
    plain = save(spec)
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    pin = load(plain).pin()
    assert load(packed).pin() == pin
    assert pin.digest == blake2b(plain.read_bytes(), digest_size=32).hexdigest()
    assert pin.specials == {EOS: 0, "<|pad|>": 1}
    assert (pin.eos_id, pin.unk_id, pin.largest_id) == (0, None, 279)
    plain.write_bytes(plain.read_bytes() + b"\n")
    assert load(plain).pin().digest != pin.digest


@pytest.mark.parametrize(("last", "dtype"), [(65_535, "<u2"), (65_536, "<u4")])
def test_added_tokens_count_for_the_token_type(
    spec: dict[str, Any], save: Callable[..., Path], last: int, dtype: str
) -> None:
    """The largest id, that of an added token included, decides between two and four bytes."""
    model = {**spec["model"], "vocab": {**spec["model"]["vocab"]}}
    size = max(token["id"] for token in spec["added_tokens"]) + 1
    model["vocab"].update({f"\u0100{n}": n for n in range(size, last)})
    extra = {**spec["added_tokens"][-1], "id": last, "content": "<extra>"}
    path = save(spec, model=model, added_tokens=[*spec["added_tokens"], extra])
    tokenizer = load(path)
    assert tokenizer.pin().largest_id == last
    tokens, _ = tokenizer.encode(TextBatch.of(["the<extra>"]))
    assert tokens.dtype == tokenizer.pin().dtype == np.dtype(dtype)
    assert tokens[-2] == last


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_file_in_another_unicode_encoding_is_the_same_tokenizer(
    spec: dict[str, Any], save: Callable[..., Path], encoding: str
) -> None:
    """With a byte order mark, or in wider units, as some editors save it; the pin is the bytes'."""
    path = save(spec)
    right = ids(load(path), "the cat sat", EOS)
    path.write_text(json.dumps(spec), encoding=encoding)
    for _ in ("new", "known"):
        assert ids(load(path), "the cat sat", EOS) == right
        assert load(path).pin().digest == blake2b(path.read_bytes(), digest_size=32).hexdigest()


def test_truncation_padding_and_templates_are_switched_off(
    spec: dict[str, Any], save: Callable[..., Path]
) -> None:
    """A file saved with padding or truncation gives the same ids as one without."""
    text = "the cat sat on the mat " * 20
    expected = ids(load(save(spec)), text, "cat")
    path = save(spec)
    backend = Backend.from_file(str(path))
    backend.enable_truncation(max_length=5)
    backend.enable_padding(pad_id=1, pad_token="<|pad|>", length=64)
    backend.save(str(path))
    assert ids(load(path), text, "cat") == expected


def test_a_tokenizer_pickles_as_its_configuration(
    spec: dict[str, Any], save: Callable[..., Path]
) -> None:
    """Another process gets the same pin and ids."""
    tokenizer = load(save(spec))
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.pin() == tokenizer.pin()
    assert ids(again, "the cat") == ids(tokenizer, "the cat")


def test_what_is_no_tokenizer_is_refused(
    spec: dict[str, Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """Each failure has the dotted path of the setting and says what is wrong."""
    broken = tmp_path / "broken.json.gz"
    broken.write_bytes(gzip.compress(json.dumps(spec).encode())[:-20])
    packed = bytearray(gzip.compress(json.dumps(spec).encode()))
    packed[20:60] = b"\xff" * 40
    damaged = tmp_path / "damaged.json.gz"
    damaged.write_bytes(bytes(packed))
    nested = tmp_path / "nested.json"
    nested.write_text("[" * 100_000)
    not_json = tmp_path / "not.json"
    not_json.write_text("{")
    dropout = {**spec["model"], "dropout": 0.1}
    for path, eos, message in [
        (tmp_path / "absent.json", EOS, r"tokenizer\.path: no such file"),
        (broken, EOS, r"tokenizer\.path: .*cannot be read"),
        (damaged, EOS, r"tokenizer\.path: .*damaged\.json\.gz cannot be read"),
        (nested, EOS, r"tokenizer\.path: .*is no JSON"),
        (not_json, EOS, r"tokenizer\.path: .*is no JSON"),
        (save(spec), "</s>", r"tokenizer\.eos: '</s>' is not in the vocabulary.*'<\|pad\|>'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load(path, eos=eos)
    with pytest.raises(ConfigError, match=r"dropout 0\.1: its ids are random"):
        load(save(spec, model=dropout))
    with pytest.raises(ConfigError, match="is no tokenizer"):
        load(save(spec, model={"type": "BPE", "vocab": 3}))
    with pytest.raises(ConfigError, match="it has no 'model'"):
        load(save({"version": "1.0"}))


# --- real tokenizers ----------------------------------------------------------------------------


@needs_real
@pytest.mark.corpus
@pytest.mark.parametrize("name", NAMES)
def test_published_ids_and_round_trips_of_real_tokenizers(name: str) -> None:
    """Ids of the round-trip strings are the recorded ones; they decode to the text if they can."""
    tokenizer = load(REAL / NAMES[name])
    lines = (REAL / "roundtrip.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    specials = tokenizer.pin().specials
    compared = 0
    for row in rows:
        (found,) = ids(tokenizer, row["text"])
        if not any(special in row["text"] for special in specials):
            assert found[:-1] == row["ids"][name], row["id"]
            assert (tokenizer.decode(found[:-1]) == row["text"]) == row["round_trip"][name]
            compared += 1
        else:
            assert not set(specials.values()) & set(found[:-1]), row["id"]
            (allowed,) = ids(load(REAL / NAMES[name], "allow"), row["text"])
            assert allowed[:-1] == row["ids"][name], row["id"]
    assert compared > len(rows) // 2


@needs_real
@pytest.mark.corpus
def test_real_tokenizers_choose_the_published_token_types() -> None:
    """OLMoE's 50,280 ids fit two bytes, dolma2's 100,278 need four."""
    pins = {name: load(REAL / file).pin() for name, file in NAMES.items()}
    found = {name: (pin.largest_id, pin.dtype.itemsize) for name, pin in pins.items()}
    assert found == {
        "gpt-neox-olmo-dolma-v1_5": (50_279, 2),
        "dolma2": (100_277, 4),
        "smollm2": (49_151, 2),
    }


@needs_real
@pytest.mark.corpus
def test_runs_of_spaces_keep_matching_under_plain() -> None:
    """OLMoE's added tokens for spaces are not special: `plain` leaves them alone."""
    tokenizer = load(REAL / NAMES["gpt-neox-olmo-dolma-v1_5"])
    (found,) = ids(tokenizer, "x" + " " * 24 + f"y{EOS}")
    assert found[1] == 50_254
    assert 50_279 not in found[:-1]

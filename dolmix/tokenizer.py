"""Text in, token ids out, by a pinned Hugging Face `tokenizer.json`.

The file is read by path (plain or `.gz`), pinned by the digest of its bytes, and asked for ids
alone: truncation, padding and templates in the file are switched off, and one EOS follows every
document. The ids of a document depend on the file, on `special_in_text` and on that document's
text, never on its neighbours, the batch or the number of threads.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dolmix.config import Schema
from dolmix.errors import ConfigError, DataError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dolmix.document import I64Array, TextBatch

SpecialInText = Literal["plain", "allow", "fail"]

BATCH_DOCUMENTS = 256
"""Documents handed to the tokenizer at once."""
BATCH_BYTES = 1 << 21
"""Text handed to the tokenizer at once: its working memory is about 50 times the text."""
LARGEST_U16 = 65_535


class TokenizerConfig(Schema):
    """Which tokenizer, which token ends a document, what a special token in a text becomes."""

    path: Path
    """A Hugging Face `tokenizer.json`, plain or gzipped (`.gz`)."""
    eos: str = "<|endoftext|>"
    """The token after every document; it must be in the vocabulary."""
    special_in_text: SpecialInText = "plain"
    """What a literal special token in a text becomes: ordinary tokens (plain), the special id
    (allow), or an error (fail)."""


class TokenizerPin(Schema):
    """What a store records of the tokenizer that made it: enough to refuse another one."""

    digest: str
    """Blake2b-256 of the file's bytes, decompressed; 64 lower-case hex digits."""
    largest_id: int
    """Largest id the tokenizer can give, added tokens included."""
    eos: str
    """The token that ends every document."""
    eos_id: int
    """Its id."""
    unk_id: int | None
    """Id of the unknown token, or null where the tokenizer has none."""
    specials: dict[str, int]
    """Special tokens and their ids, EOS included."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a stored token: `<u2` if every id fits, else `<u4` (docs/order.md, section 9)."""
        return np.dtype("<u2" if self.largest_id <= LARGEST_U16 else "<u4")


class Tokenizer:
    """A loaded `tokenizer.json`.

    Pickles as its configuration: another process loads the file again. Raises ConfigError if the
    file is absent, is no tokenizer, lacks the EOS, draws ids at random (BPE dropout), or cannot
    keep the promise of `special_in_text`.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        self.config = config
        data = _read(config.path)
        self._loaded = _load(config, data)

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[TokenizerConfig]]:
        return Tokenizer, (self.config,)

    def pin(self) -> TokenizerPin:
        """Identify the tokenizer for task keys and manifests."""
        return self._loaded.pin

    def encode(self, texts: TextBatch) -> tuple[NDArray[Any], I64Array]:
        """Encode documents, one EOS after each.

        returns  tokens (T,) of `pin().dtype`; lengths (N,) int64, EOS included, sum T

        An empty text is one EOS. Raises DataError under `special_in_text: fail`, naming the
        document.
        """
        if self.config.special_in_text == "fail":
            _refuse_specials(texts, self._loaded.pin.specials)
        pieces = [self._encode_slice(texts, start, stop) for start, stop in _slices(texts)]
        tokens = [ids for ids, _ in pieces] or [np.zeros(0, self._loaded.pin.dtype)]
        lengths = [counts for _, counts in pieces] or [np.zeros(0, np.int64)]
        return np.concatenate(tokens), np.concatenate(lengths)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of token ids, special tokens written out: to look at, not to train on."""
        ids = [int(token) for token in tokens]
        return str(self._loaded.backend.decode(ids, skip_special_tokens=False))

    def token_texts(self, tokens: Iterable[int]) -> list[str]:
        """Each id's entry in the vocabulary; empty for an id that has none."""
        return [self._loaded.backend.id_to_token(int(token)) or "" for token in tokens]

    def _encode_slice(
        self, texts: TextBatch, start: int, stop: int
    ) -> tuple[NDArray[Any], I64Array]:
        pin = self._loaded.pin
        rows = texts.text.slice(start, stop - start).to_pylist()
        encodings = self._loaded.backend.encode_batch_fast(rows, add_special_tokens=False)
        lengths = np.fromiter((len(e) + 1 for e in encodings), np.int64, len(rows))
        tokens = np.full(int(lengths.sum()), pin.eos_id, pin.dtype)
        end = 0
        for encoding, length in zip(encodings, lengths.tolist(), strict=True):
            tokens[end : end + length - 1] = encoding.ids
            end += length
        return tokens, lengths


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The `tokenizers` object and what identifies it."""

    backend: Any
    pin: TokenizerPin


def _read(path: Path) -> bytes:
    """Bytes of the tokenizer file, decompressed in memory."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise _refusal("path", f"no such file: {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _refusal("path", f"{path} cannot be read: {error}") from None


def _load(config: TokenizerConfig, data: bytes) -> _Loaded:
    # Workers may be forked after a tokenizer was used: its threads would not survive, and it warns.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer as Backend

    spec = _parse(config.path, data)
    try:
        backend = Backend.from_str(json.dumps(spec, ensure_ascii=False))
    except Exception as error:  # noqa: BLE001 - the package raises bare Exception
        raise _refusal("path", f"{config.path} is no tokenizer: {error}") from None
    eos_id = backend.token_to_id(config.eos)
    if eos_id is None:
        raise _refusal("eos", _no_eos(config, backend))
    _mark_special(backend, config.eos)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = config.special_in_text != "allow"
    pin = TokenizerPin(
        digest=blake2b(data, digest_size=32).hexdigest(),
        largest_id=max(backend.get_vocab(with_added_tokens=True).values()),
        eos=config.eos,
        eos_id=eos_id,
        unk_id=_unk_id(spec["model"], backend),
        specials={**_specials(backend), config.eos: eos_id},
    )
    if config.special_in_text != "allow":
        _check_plain(config, backend, pin)
    return _Loaded(backend, pin)


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    """Read the JSON; refuse what is no tokenizer, or one whose ids are drawn at random."""
    try:
        spec = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refusal("path", f"{path} is no JSON: {error}") from None
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise _refusal("path", f"{path} is no tokenizer.json: it has no 'model'")
    if spec["model"].get("dropout"):
        dropout = spec["model"]["dropout"]
        raise _refusal(
            "path", f"{path} has BPE dropout {dropout}: its ids are random. Set it to null."
        )
    return spec


def _mark_special(backend: Any, eos: str) -> None:
    """Make EOS special even if the file does not: `plain` and `fail` are about special tokens."""
    from tokenizers import AddedToken

    backend.add_special_tokens([AddedToken(eos, special=True, normalized=False)])


def _specials(backend: Any) -> dict[str, int]:
    added = backend.get_added_tokens_decoder()
    return {token.content: int(n) for n, token in sorted(added.items()) if token.special}


def _unk_id(model: dict[str, Any], backend: Any) -> int | None:
    """Unigram models name the unknown token by id, the others by text."""
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    token = model.get("unk_token")
    found = backend.token_to_id(token) if token else None
    return None if found is None else int(found)


def _check_plain(config: TokenizerConfig, backend: Any, pin: TokenizerPin) -> None:
    """Prove on this very file that no literal special token yields its id, but the unknown one."""
    for text, number in pin.specials.items():
        if number == pin.unk_id:
            continue
        if number in backend.encode(text, add_special_tokens=False).ids:
            raise _refusal(
                "special_in_text",
                f"{config.path}: the model itself turns the text {text!r} into id {number}, so"
                f" {config.special_in_text!r} cannot be kept. Set special_in_text to allow.",
            )


def _refuse_specials(texts: TextBatch, specials: Iterable[str]) -> None:
    import pyarrow.compute as pc

    pattern = "|".join(re.escape(text) for text in specials)
    found = pc.match_substring_regex(texts.text, pattern).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(found)
    if rows.size == 0:
        return
    row = int(rows[0])
    text = texts.text[row].as_py()
    special = next(s for s in specials if s in text)
    raise DataError(
        f"document {texts.ids[row].as_py()!r} (record {texts.records[row]}) holds the special"
        f" token {special!r} as text, and {rows.size} of this batch's {len(texts)} documents hold"
        " one. tokenizer.special_in_text is fail: set it to plain or allow, or drop them."
    )


def _slices(texts: TextBatch) -> Iterator[tuple[int, int]]:
    """Cut a batch into runs of few documents and few bytes; a large document runs alone."""
    ends = texts.offsets[1:] - texts.offsets[0]
    start = 0
    while start < len(texts):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + BATCH_BYTES, side="right"))
        stop = min(max(stop, start + 1), start + BATCH_DOCUMENTS, len(texts))
        yield start, stop
        start = stop


def _no_eos(config: TokenizerConfig, backend: Any) -> str:
    known: Sequence[str] = list(_specials(backend))
    listed = ", ".join(repr(token) for token in known[:8]) or "none"
    return f"{config.eos!r} is not in the vocabulary of {config.path}; its special tokens: {listed}"


def _refusal(field: str, message: str) -> ConfigError:
    return ConfigError("tokenizer", [Problem(f"tokenizer.{field}", message)])

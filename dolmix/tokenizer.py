"""Text in, token ids out, by a pinned Hugging Face `tokenizer.json`.

The file is read by path (plain or `.gz`), pinned by the digest of its bytes, and asked for ids
alone: truncation, padding and templates in the file are switched off, and one EOS follows every
document. The ids of a document depend on the file, on `special_in_text` and on that document's
text, never on its neighbours, the batch, the number of threads or the engine that gave them: they
are those of the package `tokenizers`, and a faster engine is held against it.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import platform
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dolmix import fast_tokenizer
from dolmix.config import Schema
from dolmix.errors import ConfigError, DataError, Problem
from dolmix.fast_tokenizer import (
    Engine,
    EngineError,
    Reference,
    first_difference,
    hard_texts,
    load_fastokens,
)
from dolmix.files.commit import file_digest
from dolmix.text.hashes import text_hashes
from dolmix.text.kept_tables import kept_text, known_text, package_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dolmix.document import I64Array, TextBatch

SpecialInText = Literal["plain", "allow", "fail"]

WORTH_BYTES = 1 << 21
"""Text after which a faster engine is loaded: loading and checking it takes about a second, in
which the reference encodes about as much."""
SAMPLE = 2048
"""One document in so many is encoded by the reference too, chosen by the hash of its text."""
SAMPLE_BYTES = 1 << 20
"""Larger documents are not in that sample: the reference takes 50 times their size in memory."""
LARGEST_U16 = 65_535

_log = logging.getLogger(__name__)


class TokenizerConfig(Schema):
    """Which tokenizer, which token ends a document, what a special token in a text becomes."""

    path: Path
    """A Hugging Face `tokenizer.json`, plain or gzipped (`.gz`)."""
    eos: str = "<|endoftext|>"
    """The token after every document; it must be in the vocabulary."""
    special_in_text: SpecialInText = "plain"
    """What a literal special token in a text becomes: ordinary tokens (plain), the special id
    (allow), or an error (fail)."""
    engine: Literal["auto", "tokenizers", "fastokens"] = "auto"
    """What encodes: the reference package, or fastokens, which is held against it and gives the
    same ids some 30 times faster; auto takes fastokens where it is installed and can."""


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
    file is absent, is no tokenizer, lacks the EOS, draws ids at random (BPE dropout), cannot keep
    the promise of `special_in_text`, or needs an engine that is not installed.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        self.config = config
        _check_engine(config)
        data = _read(config.path)
        self._loaded = _load(config, data)
        self._reference = Reference(self._loaded.backend)
        self._fast: Engine | None = None
        self._may_be_fast = config.engine != "tokenizers"
        self._seen = 0
        self.fast_documents = 0
        """Documents that a faster engine encoded so far."""
        self.disagreement: str | None = None
        """What a faster engine got wrong, if it did: nothing that it encoded can be trusted."""

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[TokenizerConfig]]:
        return Tokenizer, (self.config,)

    def pin(self) -> TokenizerPin:
        """Identify the tokenizer for task keys and manifests."""
        return self._loaded.pin

    def encode(self, texts: TextBatch) -> tuple[NDArray[Any], I64Array]:
        """Encode documents, one EOS after each.

        returns  tokens (T,) of `pin().dtype`; lengths (N,) int64, EOS included, sum T

        An empty text is one EOS. Raises DataError under `special_in_text: fail`, naming the
        document. If a faster engine disagrees with the reference on a sampled document, the
        reference takes over, this batch included; batches before it are the caller's to redo.
        """
        if self.config.special_in_text == "fail":
            _refuse_specials(texts, self._loaded.pin.specials)
        engine = self._choose(texts)
        encoded = self._encode(texts, engine)
        if engine is self._reference:
            return encoded
        if fault := self._fault(texts, *encoded):
            self._distrust(fault)
            return self._encode(texts, self._reference)
        self.fast_documents += len(texts)
        return encoded

    def encode_texts(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Give the ids of each text, without EOS, by the package `tokenizers`; needs no pyarrow.

        For a few texts, such as questions: under `special_in_text: fail` nothing is refused.
        """
        ids, lengths = self._reference.encode(texts)
        return np.split(ids, np.cumsum(lengths)[:-1]) if len(texts) else []

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of token ids, special tokens written out: to look at, not to train on."""
        ids = [int(token) for token in tokens]
        return str(self._loaded.backend.decode(ids, skip_special_tokens=False))

    def decode_all(self, documents: Iterable[list[int]]) -> list[str]:
        """Texts of the token ids of several documents, as `decode` gives them."""
        texts: list[str] = self._loaded.backend.decode_batch(
            list(documents), skip_special_tokens=False
        )
        return texts

    def token_texts(self, tokens: Iterable[int]) -> list[str]:
        """Each id's entry in the vocabulary; empty for an id that has none."""
        return [self._loaded.backend.id_to_token(int(token)) or "" for token in tokens]

    def load_ahead(self) -> None:
        """Load the faster engine now, if it was checked on this machine before."""
        if self._may_be_fast and self._remembered_fault() == "":
            self._may_be_fast = False
            self._fast = self._load_fast()

    def _choose(self, texts: TextBatch) -> Engine:
        """Load the faster engine once there is enough text to make up for it."""
        self._seen += int(texts.num_bytes.sum())
        wanted = self.config.engine == "fastokens" or self._seen >= WORTH_BYTES
        if self._may_be_fast and wanted:
            self._may_be_fast = False
            self._fast = self._load_fast()
        return self._fast or self._reference

    def _load_fast(self) -> Engine | None:
        """Load the faster engine, if there is one that agrees with the reference on hard texts.

        What the check found is kept on disk: for this file, these packages, this machine.
        """
        backend = self._loaded.backend
        try:
            fast = load_fastokens(backend.to_str(), plain=self.config.special_in_text != "allow")
            fault = kept_text(
                "engine",
                self._checked_by(),
                __file__,
                lambda: first_difference(fast, self._reference, hard_texts(backend)) or "",
            )
        except EngineError as error:
            _log.info("%s: the package tokenizers encodes: %s", self.config.path, error)
            return None
        if not fault:
            return fast
        self._distrust(fault)
        return None

    def _remembered_fault(self) -> str | None:
        """Tell what the faster engine was found to get wrong: empty for nothing, None: unknown."""
        return known_text("engine", self._checked_by(), __file__)

    def _checked_by(self) -> dict[str, str]:
        """Everything that the check of the faster engine depends on."""
        return {
            **_identity(self.config, self._loaded.pin.digest),
            "fastokens": _release("fastokens"),
            "texts": file_digest(Path(fast_tokenizer.__file__)),
        }

    def _distrust(self, fault: str) -> None:
        self._fast, self.disagreement = None, fault
        _log.warning(
            "%s: fastokens gives other ids than tokenizers: %s. tokenizers encodes from here on, at"
            " about a thirtieth of the speed; set tokenizer.engine to tokenizers to have it from"
            " the start, and report the text to fastokens.",
            self.config.path,
            fault,
        )

    def _fault(self, texts: TextBatch, tokens: NDArray[Any], lengths: I64Array) -> str | None:
        """Encode the sampled documents of a batch by the reference; tell what differs."""
        chosen = (text_hashes(texts) % SAMPLE == 0) & (texts.num_bytes <= SAMPLE_BYTES)
        rows = np.flatnonzero(chosen)
        if rows.size == 0:
            return None
        right, counts = self._encode(texts.take(rows), self._reference)
        stops = np.cumsum(lengths)
        found = [tokens[stops[row] - lengths[row] : stops[row]] for row in rows]
        for row, ours, theirs in zip(
            rows, found, np.split(right, np.cumsum(counts)[:-1]), strict=True
        ):
            if not np.array_equal(ours, theirs):
                name = texts.ids[int(row)].as_py()
                return f"document {name!r} has {ours.size:,} or {theirs.size:,} tokens"
        return None

    def _encode(self, texts: TextBatch, engine: Engine) -> tuple[NDArray[Any], I64Array]:
        slices = _slices(texts, engine)
        pieces = [self._encode_slice(texts, start, stop, engine) for start, stop in slices]
        if len(pieces) == 1:
            return pieces[0]
        tokens = [ids for ids, _ in pieces] or [np.zeros(0, self._loaded.pin.dtype)]
        lengths = [counts for _, counts in pieces] or [np.zeros(0, np.int64)]
        return np.concatenate(tokens), np.concatenate(lengths)

    def _encode_slice(
        self, texts: TextBatch, start: int, stop: int, engine: Engine
    ) -> tuple[NDArray[Any], I64Array]:
        pin = self._loaded.pin
        rows = texts.text.slice(start, stop - start).to_pylist()
        try:
            ids, lengths = engine.encode(rows)
        except EngineError as error:
            _log.warning("%s gave up, tokenizers encodes this text: %s", engine.name, error)
            ids, lengths = self._reference.encode(rows)
        lengths = lengths + 1
        tokens = np.full(int(lengths.sum()), pin.eos_id, pin.dtype)
        body = np.ones(tokens.size, np.bool_)
        body[np.cumsum(lengths) - 1] = False
        tokens[body] = ids
        return tokens, lengths


def read_pin(config: TokenizerConfig) -> TokenizerPin:
    """Identify a tokenizer as `Tokenizer(config).pin()` does, and raise what that raises.

    A file that was loaded before is not loaded again: its pin is kept on disk.
    """
    _check_engine(config)
    data = _read(config.path)
    digest = blake2b(data, digest_size=32).hexdigest()
    depends_on = _identity(config, digest)

    def work_out() -> str:
        return _load(config, data).pin.model_dump_json()

    return TokenizerPin.model_validate_json(kept_text("pin", depends_on, __file__, work_out))


def load_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Load a tokenizer once a process: tasks over many parts share it while its file stays."""
    try:
        found = config.path.stat()
    except OSError:
        return Tokenizer(config)  # which says what is wrong
    return _load_once(config, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2)
def _load_once(config: TokenizerConfig, _mtime_ns: int, _size: int) -> Tokenizer:
    return Tokenizer(config)


def _check_engine(config: TokenizerConfig) -> None:
    if config.engine == "fastokens" and find_spec("fastokens") is None:
        raise _refusal(
            "engine", "fastokens is not installed: pip install 'dolmix[fast]', or set auto"
        )


def _identity(config: TokenizerConfig, digest: str) -> dict[str, str]:
    """Name everything that the ids of texts depend on, and what is known of a tokenizer.

    digest  of the file's bytes, as in the pin
    """
    return {
        "file": digest,
        "eos": config.eos,
        "special_in_text": config.special_in_text,
        "tokenizers": _release("tokenizers"),
        "machine": f"{platform.machine()} {platform.node()}",
    }


def _release(package: str) -> str:
    """Identify an installed package by its version and its list of files."""
    try:
        return f"{version(package)} {package_digest(package)}"
    except PackageNotFoundError:
        return "absent"


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
    """Load the file; one that has a pin was looked at before, as part of loading it then."""
    digest = blake2b(data, digest_size=32).hexdigest()
    known = known_text("pin", _identity(config, digest), __file__)
    if known is not None:
        return _Loaded(_backend(config, data), TokenizerPin.model_validate_json(known))
    spec = _parse(config.path, data)
    backend = _backend(config, data)
    eos_id = backend.token_to_id(config.eos)
    pin = TokenizerPin(
        digest=digest,
        largest_id=max(backend.get_vocab(with_added_tokens=True).values()),
        eos=config.eos,
        eos_id=eos_id,
        unk_id=_unk_id(spec["model"], backend),
        specials={**_specials(backend), config.eos: eos_id},
    )
    if config.special_in_text != "allow":
        _check_plain(config, backend, pin)
    return _Loaded(backend, pin)


def _backend(config: TokenizerConfig, data: bytes) -> Any:
    """Load the file into the package `tokenizers`, and have it do nothing but give ids."""
    # Workers may be forked after a tokenizer was used: its threads would not survive, and it warns.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_str(data.decode(json.detect_encoding(data)))
    except Exception as error:  # noqa: BLE001 - the package raises bare Exception
        raise _refusal("path", f"{config.path} is no tokenizer: {error}") from None
    if backend.token_to_id(config.eos) is None:
        raise _refusal("eos", _no_eos(config, backend))
    _mark_special(backend, config.eos)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = config.special_in_text != "allow"
    return backend


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


def _slices(texts: TextBatch, engine: Engine) -> Iterator[tuple[int, int]]:
    """Cut a batch into what an engine takes at once; a large document runs alone."""
    ends = texts.offsets[1:] - texts.offsets[0]
    start = 0
    while start < len(texts):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + engine.most_bytes, side="right"))
        stop = min(max(stop, start + 1), start + engine.most_documents, len(texts))
        yield start, stop
        start = stop


def _no_eos(config: TokenizerConfig, backend: Any) -> str:
    known: Sequence[str] = list(_specials(backend))
    listed = ", ".join(repr(token) for token in known[:8]) or "none"
    return f"{config.eos!r} is not in the vocabulary of {config.path}; its special tokens: {listed}"


def _refusal(field: str, message: str) -> ConfigError:
    return ConfigError("tokenizer", [Problem(f"tokenizer.{field}", message)])

"""Engines: what turns the texts of a batch into token ids, behind one interface.

`tokenizers` is the reference: its ids are the definition. `fastokens` gives the same ids more than
an order of magnitude faster; it is asked only after it has agreed with the reference on a set of
hard texts, and while it works, a keyed sample of the documents is encoded by both
(`dolmix.tokenizer`). An engine's name never enters a key or a store.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dolmix.document import I64Array, U32Array

PLANES = 17
"""Planes of Unicode; 65,536 code points each."""
PLANE_POINTS = 512
"""Code points of each plane that the check at start-up encodes."""
VOCABULARY_ENTRIES = 4096
"""Entries of the vocabulary that the check at start-up encodes as texts."""
SURROGATES = range(0xD800, 0xE000)


class Engine(Protocol):
    """Texts in, ids out; adds nothing, truncates nothing."""

    @property
    def name(self) -> str:
        """Name of the package."""

    @property
    def most_documents(self) -> int:
        """Documents that it is given at once."""

    @property
    def most_bytes(self) -> int:
        """Text that it is given at once; a larger document comes alone."""

    def encode(self, texts: Sequence[str]) -> tuple[U32Array, I64Array]:
        """Encode texts.

        returns  ids (T,) uint32, back to back; lengths (N,) int64, sum T
        """


@dataclass(frozen=True, slots=True)
class Reference:
    """The `tokenizers` package: its working memory is about 50 times the text."""

    backend: Any
    name: str = "tokenizers"
    most_documents: int = 256
    most_bytes: int = 1 << 21

    def encode(self, texts: Sequence[str]) -> tuple[U32Array, I64Array]:
        """Encode texts; see `Engine`."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        lengths = np.fromiter((len(e) for e in encodings), np.int64, len(encodings))
        ids = np.empty(int(lengths.sum()), np.uint32)
        end = 0
        for encoding, length in zip(encodings, lengths.tolist(), strict=True):
            ids[end : end + length] = encoding.ids
            end += length
        return ids, lengths


@dataclass(frozen=True, slots=True)
class Fastokens:
    """The `fastokens` package: ids come back as one buffer, whatever the number of documents."""

    backend: Any
    plain: bool
    """Whether a special token in a text is text."""
    name: str = "fastokens"
    most_documents: int = 4096
    most_bytes: int = 1 << 23

    def encode(self, texts: Sequence[str]) -> tuple[U32Array, I64Array]:
        """Encode texts; see `Engine`. Raises EngineError where the package gives up."""
        with _giving_up():
            ids, offsets = self.backend.encode_batch_flat(
                list(texts), add_special_tokens=False, split_special_tokens=self.plain
            )
        lengths = np.diff(np.frombuffer(offsets, "<i8")).astype(np.int64)
        return np.frombuffer(ids, "<u4"), lengths


class EngineError(Exception):
    """An engine cannot be loaded, or gave up on a text; the reference takes over."""


class _giving_up:  # noqa: N801 - reads as what it catches
    """Turn what the package raises, a panic of its compiled code among it, into EngineError."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        panic = kind is not None and kind.__name__ == "PanicException"
        if error is not None and (panic or isinstance(error, Exception)):
            raise EngineError(f"{type(error).__name__}: {str(error)[:200]}") from error


def load_fastokens(spec: str, *, plain: bool) -> Fastokens:
    """Load a `tokenizer.json`, given as text, into fastokens.

    Raises EngineError if the package is absent, or cannot do what the file asks.
    """
    # One process encodes on one processor: a run has as many processes as it may use processors.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
    try:
        from fastokens import Tokenizer  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise EngineError("the package fastokens is not installed") from None
    with _giving_up():
        return Fastokens(Tokenizer.from_json_str(spec), plain)


def first_difference(ours: Engine, reference: Engine, texts: Sequence[str]) -> str | None:
    """Encode texts by two engines; tell the first that they disagree on, None if there is none."""
    (ids, lengths), (expected, counts) = ours.encode(texts), reference.encode(texts)
    if np.array_equal(lengths, counts) and np.array_equal(ids, expected):
        return None
    found = np.split(ids, np.cumsum(lengths)[:-1])
    right = np.split(expected, np.cumsum(counts)[:-1])
    at = next(n for n in range(len(texts)) if not np.array_equal(found[n], right[n]))
    some = min(found[at].size, right[at].size)
    token = next((n for n in range(some) if found[at][n] != right[at][n]), some)
    return (
        f"token {token:,} of the text {texts[at][:60]!r}: {found[at][token : token + 4].tolist()}"
        f" by {ours.name}, {right[at][token : token + 4].tolist()} by {reference.name}"
    )


def hard_texts(backend: Any) -> list[str]:
    """Texts on which engines differ if they differ anywhere: what the check at start-up encodes.

    backend  the loaded `tokenizers.Tokenizer`: its added tokens and its vocabulary are among them
    """
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    vocabulary = _vocabulary(backend)
    around = [f"x{t}y {t} {t}{t}\n{t.upper()}{t[:-1]} {t.lower()}" for t in added]
    return [*added, *around, *_whitespace(), *_awkward(), *_planes(), *vocabulary]


def _whitespace() -> Iterator[str]:
    """Yield runs of blanks and line breaks, alone, between words and at ends."""
    for blank in (" ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", " \n", "\t "):
        for count in (*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 257, 1000):
            run = blank * count
            yield f"{run}a{run}b{run}1{run}.{run}"


def _awkward() -> Iterator[str]:
    """Yield numbers, contractions, marks, scripts and emoji in the ways that splitters disagree."""
    yield from (
        "",
        "\x00",
        "\x00\x7f\x1b",
        "\ufeff",
        "\ufeffa",
        "a" * 5000,
        "ab" * 3000,
        "\u00e9" * 999,
    )
    yield from (
        f"{n}"
        for n in (
            0,
            12,
            123,
            1234,
            12345,
            1234567,
            "1.5e10",
            "0x1F",
            "\u0967\u0968\u0969",
            "\u2460\u2461",
        )
    )
    for mark in ("'", "\u2019", "\u02bc"):
        yield " ".join(
            f"we{mark}{e}" for e in ("s", "t", "re", "ve", "m", "ll", "d", "S", "LL", "")
        )
    for mark in '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\u2026\u2014\u00ab\u3002\u060c':
        yield f"a{mark}b {mark}c{mark} {mark * 2}\n{mark * 3}d{mark}\n\n {mark}"
    yield from ("e\u0301 \u00e9 E\u0301", "\u1e9b\u0323", "\ufb01 \ufb00 \u2167")  # normal forms
    yield from ("\u0130 \u0131 \u017f \u00df \u1e9e", "\uac01 \u1100\u1161\u11a8")  # cases, jamo
    yield "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f44d\U0001f3fd\U0001f1eb\U0001f1f7"
    yield from ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35")
    yield from ("\u0645\u0631\u062d\u0628\u0627", "\u4f60\u597d\u3002\u3053\u3093\u306b")
    yield from (
        "DON'T Don't can\u2019t I'LL",
        "camelCaseSNAKE_case",
        "http://a.b/c?d=e#f",
        "\\n \\t",
    )


def _planes() -> Iterator[str]:
    """Yield code points of every plane, chosen by a key, 64 to a text; all of the first 1,024."""
    yield from (_joined(range(start, start + 64)) for start in range(0, 1024, 64))
    for plane in range(PLANES):
        key = f"dolmix/plane/{plane}".encode()
        digests = (blake2b(key + bytes([n // 32])).digest() for n in range(0, PLANE_POINTS, 32))
        places = np.frombuffer(b"".join(digests), "<u2").tolist()
        points = [p for place in places if (p := (plane << 16) + place) not in SURROGATES]
        for start in range(0, len(points), 64):
            yield _joined(points[start : start + 64])


def _joined(points: Sequence[int]) -> str:
    """Write the code points once back to back, once as words."""
    characters = [chr(point) for point in points]
    return "".join(characters) + " " + " ".join(characters)


def _vocabulary(backend: Any) -> Iterator[str]:
    """Yield entries of the vocabulary as texts, evenly over the ids, 16 to a text."""
    size = backend.get_vocab_size(with_added_tokens=True)
    numbers = range(0, size, max(1, size // VOCABULARY_ENTRIES))
    texts = [backend.decode([n], skip_special_tokens=False) for n in numbers]
    for start in range(0, len(texts), 16):
        yield "".join(texts[start : start + 16])
        yield " ".join(texts[start : start + 16])

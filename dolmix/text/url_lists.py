"""Block lists of URLs: where they stand, what they hold, and looking things up in them.

Domains and URLs are kept as sorted 64-bit hashes (`dolmix.text.list_hashes`), words as sets, parts
of words as one automaton (`dolmix.text.phrases`). Lists are read once a process.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dolmix.document import BoolArray, TextBatch, U64Array
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest

if TYPE_CHECKING:
    from dolmix.text.phrases import PhraseTable

ROLES = ("domains", "urls", "banned_words", "soft_banned_words", "banned_subwords")
NOT_ALNUM = re.compile(rb"[^a-zA-Z0-9]+")


class ListFile(NamedTuple):
    """A list: what it is called in results, the file, and the member of it where that is a tar."""

    name: str
    path: Path
    member: str = ""

    def read(self) -> bytes:
        """Bytes of the list, decompressed. Raises FilterError if that cannot be done."""
        try:
            if self.member:
                with tarfile.open(self.path) as archive:
                    inside = archive.extractfile(self.member)
                    return b"" if inside is None else inside.read()
            data = self.path.read_bytes()
            return gzip.decompress(data) if self.path.suffix == ".gz" else data
        except (OSError, EOFError, zlib.error, KeyError, tarfile.TarError) as error:
            raise FilterError(f"list {self.path} cannot be read: {error}") from None


@dataclass(frozen=True)
class ListFiles:
    """Lists of one role."""

    files: tuple[ListFile, ...]

    def digest(self) -> str:
        """One digest of all, in order: names and bytes of the files."""
        digest = blake2b(digest_size=32)
        for file in self.files:
            digest.update(f"{file.name}\0{file.member}\0{file_digest(file.path)}\n".encode())
        return digest.hexdigest()


class Entries(NamedTuple):
    """Hashed lists, searched one after the other."""

    names: tuple[str, ...]
    hashes: tuple[U64Array, ...]

    def find(self, asked: Sequence[Sequence[str]]) -> tuple[BoolArray, list[str | None]]:
        """Look several texts up for each of N documents.

        returns  (N,) bool: whether any of a document's texts is listed; name of the first list
        """
        from dolmix.text.list_hashes import hash_texts, listed

        owners = np.repeat(np.arange(len(asked)), [len(texts) for texts in asked])
        hashes = hash_texts([text for texts in asked for text in texts])
        which = np.full(len(asked), -1, np.int64)
        for number, entries in reversed(list(enumerate(self.hashes))):
            which[owners[listed(hashes, entries)]] = number
        return which >= 0, [None if n < 0 else self.names[n] for n in which.tolist()]


@dataclass(frozen=True)
class UrlLists:
    """Every list, loaded."""

    domains: Entries
    urls: Entries
    banned_words: frozenset[str]
    soft_banned_words: frozenset[str]
    subwords: "PhraseTable | None"

    def has_subword(self, squeezed: Sequence[str]) -> BoolArray:
        """(N,) bool: which texts, of lower-case letters and digits alone, hold a banned subword."""
        from dolmix.text.phrases import phrases_in

        if self.subwords is None or not squeezed:
            return np.zeros(len(squeezed), np.bool_)
        found: BoolArray = phrases_in(TextBatch.of(list(squeezed)), self.subwords) > 0
        return found


def load_lists(files: Mapping[str, ListFiles]) -> UrlLists:
    """Load the lists of each role in ROLES, once a process for the same files.

    Raises FilterError for a list that cannot be read.
    """
    return _load(tuple((role, found.files) for role, found in files.items()))


@lru_cache(maxsize=4)
def _load(files: tuple[tuple[str, tuple[ListFile, ...]], ...]) -> UrlLists:
    from dolmix.text.phrases import Phrase, phrase_table

    by_role = dict(files)
    subwords = _words(by_role.get("banned_subwords", ()))
    return UrlLists(
        domains=_entries(by_role.get("domains", ())),
        urls=_entries(by_role.get("urls", ())),
        banned_words=_words(by_role.get("banned_words", ())),
        soft_banned_words=_words(by_role.get("soft_banned_words", ())),
        subwords=phrase_table(tuple(Phrase(w, 1) for w in sorted(subwords))) if subwords else None,
    )


def _entries(files: Sequence[ListFile]) -> Entries:
    from dolmix.text.list_hashes import hash_list

    return Entries(tuple(f.name for f in files), tuple(hash_list(f.read()) for f in files))


def _words(files: Sequence[ListFile]) -> frozenset[str]:
    """Entries as words: lower case, of letters and digits of ASCII alone, none of them empty."""
    lines = (line for file in files for line in file.read().splitlines())
    bare = (NOT_ALNUM.sub(b"", line).lower() for line in lines if not line.startswith(b"#"))
    return frozenset(word.decode("ascii") for word in bare if word)

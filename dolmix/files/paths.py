"""Which files the inputs of a source name, in what format, and how to open and recognise each.

Patterns and plain paths are expanded in the order given, the matches of one pattern sorted by path;
nothing that a pattern reaches is skipped for a reason the user is not told. Local paths are opened
directly, any URI through `smart_open` after `fsspec` has listed it.
"""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

from dolmix.errors import DataError, DolmixError

Kind = Literal["jsonl", "parquet", "warc"]
Compression = Literal["", "gz", "zst"]

FORMATS: dict[str, tuple[Kind, Compression]] = {
    ".jsonl": ("jsonl", ""),
    ".json": ("jsonl", ""),
    ".ndjson": ("jsonl", ""),
    ".jsonl.gz": ("jsonl", "gz"),
    ".json.gz": ("jsonl", "gz"),
    ".ndjson.gz": ("jsonl", "gz"),
    ".jsonl.zst": ("jsonl", "zst"),
    ".json.zst": ("jsonl", "zst"),
    ".ndjson.zst": ("jsonl", "zst"),
    ".parquet": ("parquet", ""),
    ".warc": ("warc", ""),
    ".warc.gz": ("warc", "gz"),
    ".warc.zst": ("warc", "zst"),
    ".wet": ("warc", ""),
    ".wet.gz": ("warc", "gz"),
    ".wet.zst": ("warc", "zst"),
}
"""File suffix (compared in lower case) → format and compression."""

WARC_SUFFIXES = tuple(suffix for suffix, form in FORMATS.items() if form[0] == "warc")
WET_SUFFIXES = tuple(suffix for suffix in WARC_SUFFIXES if suffix.startswith(".wet"))
"""Of files that hold texts which somebody else extracted."""

EDGE_BYTES = 64 << 10
"""How much of a file's beginning and end enters its identity."""


class BadContentError(Exception):
    """Bytes that could be read and make no sense; what the policy for bad records decides about."""


_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read: `uri` opens it, `path` names it.

    `path` is relative to the fixed prefix of the pattern that matched it, `/` separated; where two
    files of one source would get the same name, both are lengthened by parent folders until they
    differ.
    """

    uri: str
    path: str


def is_remote(uri: str) -> bool:
    """Whether `uri` has a scheme other than `file`."""
    match = _SCHEME.match(uri)
    return match is not None and match[1].lower() != "file"


def format_of(path: str) -> tuple[Kind, Compression]:
    """Format and compression by suffix. Raises DataError for an unknown one, listing the known."""
    name = path.lower()
    for suffix, form in FORMATS.items():
        if name.endswith(suffix):
            return form
    raise DataError(
        f"{path}: unknown file suffix; dolmix reads {', '.join(FORMATS)}. Rename the file, or "
        "narrow the pattern so that it matches only files to read."
    )


# --- expansion ------------------------------------------------------------------------------------


def expand(inputs: Sequence[str]) -> list[InputFile]:
    """Find the files that `inputs` name: plain paths, URIs, patterns of `*`, `?`, `[a-z]`, `**`.

    Raises DataError for a pattern or path without a file, a folder, and a file reached twice.
    """
    found: list[_Found] = []
    seen: dict[str, str] = {}
    for pattern in inputs:
        matches = _match_remote(pattern) if is_remote(pattern) else _match_local(pattern)
        if not matches:
            raise DataError(f"{pattern}: no file matches this pattern. {_pattern_hint(pattern)}")
        for match in matches:
            key = match.uri if is_remote(match.uri) else os.path.realpath(match.uri)
            if key in seen:
                raise DataError(
                    f"{match.uri} is named twice, by {seen[key]!r} and by {pattern!r}: its "
                    "documents would count twice. Narrow one of the two, or remove it."
                )
            seen[key] = pattern
            found.append(match)
    return _name(found)


@dataclass(frozen=True, slots=True)
class _Found:
    """A matched file: its whole path in components, and how many of the last ones name it."""

    uri: str
    components: tuple[str, ...]
    depth: int


def _match_local(pattern: str) -> list[_Found]:
    given = unquote(urlsplit(pattern).path) if _SCHEME.match(pattern) else pattern
    path = os.path.abspath(os.path.expanduser(given))  # noqa: PTH100, PTH111 - links stay
    plain = os.path.lexists(path) or not glob.has_magic(path)
    if plain and os.path.isdir(path):  # noqa: PTH112 - strings throughout, as glob gives them
        raise DataError(
            f"{pattern} is a folder; inputs are files. Name its files by a pattern, for example "
            f"{pattern.rstrip('/')}/**/*.jsonl.zst"
        )
    if plain and not os.path.lexists(path):
        raise DataError(f"{pattern}: no such file. {_pattern_hint(pattern)}")
    matches = [path] if plain else sorted(set(glob.glob(path, recursive=True)))  # noqa: PTH207
    files = [m for m in matches if not os.path.isdir(m)]  # noqa: PTH112 - same
    for file in files:
        if not os.path.isfile(file):  # noqa: PTH113 - same
            raise DataError(f"{file}: not a regular file, or a link to nothing. Remove or mend it.")
    prefix = _prefix_length(path, plain=plain)
    return [_found(file, prefix) for file in files]


def _match_remote(pattern: str) -> list[_Found]:
    """List a URI through fsspec; `?` is no wildcard here: it begins a query in web addresses."""
    plain = not any(c in pattern for c in "*[")
    with reading_errors(pattern):
        system, root = _filesystem(pattern)
        if plain:
            uris = [pattern] if system.isfile(root) else []
        else:
            listing = system.glob(root, detail=True)
            names = sorted(n for n, info in listing.items() if info["type"] != "directory")
            uris = [system.unstrip_protocol(name) for name in names]
    prefix = _prefix_length(pattern, plain=plain)
    return [_found(uri, prefix) for uri in uris]


def _prefix_length(path: str, *, plain: bool) -> int:
    """How many leading components hold no wildcard; a plain path's last one names its file."""
    components = _components(path)
    if plain:
        return len(components) - 1
    return next(n for n, c in enumerate(components) if glob.has_magic(c))


def _components(path: str) -> tuple[str, ...]:
    """Folders and file name; of a URI, the scheme comes first."""
    return tuple(c for c in path.split("/") if c)


def _found(uri: str, prefix: int) -> _Found:
    components = _components(uri)
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{uri!a}: the file name is not UTF-8, so it has no name in records. Rename it."
        ) from None
    return _Found(uri, components, max(1, len(components) - prefix))


def _name(found: Sequence[_Found]) -> list[InputFile]:
    depths = [f.depth for f in found]
    for _ in range(max((len(f.components) for f in found), default=0) + 1):
        names = ["/".join(f.components[-d:]) for f, d in zip(found, depths, strict=True)]
        count = Counter(names)
        if len(count) == len(names):
            break
        depths = [d + (count[name] > 1) for name, d in zip(names, depths, strict=True)]
    else:
        twice = next(name for name, n in count.items() if n > 1)
        raise DataError(
            f"{twice}: two inputs share this name down to their roots. Read them as two sources."
        )
    return [InputFile(f.uri, name) for f, name in zip(found, names, strict=True)]


def _pattern_hint(pattern: str) -> str:
    where = "Check the spelling" if is_remote(pattern) else "Check it from the folder you run in"
    braces = "; {a,b} is not understood, give two patterns" if "{" in pattern else ""
    return f"{where}{braces}."


# --- opening and identity -------------------------------------------------------------------------


def open_input(uri: str) -> BinaryIO:
    """Open a file to read bytes as they are stored. Raises DataError when it cannot be opened."""
    with reading_errors(uri):
        if is_remote(uri):
            import smart_open

            remote: BinaryIO = smart_open.open(uri, "rb", compression="disable")
            return remote
        return open(uri, "rb")  # noqa: PTH123 - strings by contract; the caller closes


@contextmanager
def reading_errors(uri: str) -> Iterator[None]:
    """Turn a failing disk, and what a remote store's client raises, into a DataError."""
    try:
        yield
    except (DolmixError, BadContentError):
        raise
    except OSError as error:
        raise DataError(f"{uri}: cannot be read: {error.strerror or error}") from error
    except ImportError as error:
        raise DataError(f"{uri}: {error}. For S3: pip install 'dolmix[s3]'.") from error
    except Exception as error:
        if not is_remote(uri):
            raise
        raise DataError(f"{uri}: cannot be read: {type(error).__name__}: {error}") from error


def identify(uri: str) -> dict[str, int | str]:
    """Describe a file well enough to notice a change without reading it all; enters task keys.

    `size` in bytes, `mtime_ns` (local) or `etag` / `modified` (remote, where given), and `digest`:
    blake2b-128, hex, of the first and the last 64 KiB.
    """
    digest = blake2b(digest_size=16)
    with open_input(uri) as file, reading_errors(uri):
        if is_remote(uri):
            system, root = _filesystem(uri)
            system.invalidate_cache(root)  # its listings may be older than what is read here
            state = _remote_state(system.info(root))
        else:
            status = os.fstat(file.fileno())
            state = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        digest.update(file.read(EDGE_BYTES))
        file.seek(max(0, int(state["size"]) - EDGE_BYTES))
        digest.update(file.read(EDGE_BYTES))
    return {**state, "digest": digest.hexdigest()}


def _remote_state(info: dict[str, Any]) -> dict[str, int | str]:
    state: dict[str, int | str] = {"size": int(info["size"])}
    for name, keys in (
        ("etag", ("ETag", "etag")),
        ("modified", ("LastModified", "mtime", "created")),
    ):
        value = next((info[k] for k in keys if info.get(k) is not None), None)
        if value is not None:
            return {**state, name: str(value).strip('"')}
    return state


def _filesystem(uri: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    system, root = url_to_fs(uri)
    return system, str(root)

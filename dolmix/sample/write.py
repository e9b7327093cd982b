"""Write the sample: a folder for each source, a tokenizer, and `sample.json`, its description.

Every file appears complete or not at all. `sample.json`, written last, holds the recipe (format,
shipped documents, options), what the sample was made from (Python, packages, libraries), and the
files' digests. A folder of the same recipe with every file intact is left alone, whatever is
installed by now: stores made from it would refuse new content. Anything missing, damaged or made by
another recipe is made again, from what is installed then. Files of the sample that the new one
does not have are removed; other files are never touched.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from dolmix.errors import UsageError
from dolmix.files import commit
from dolmix.sample.bpe import VOCAB_SIZE, train_tokenizer, training_texts
from dolmix.sample.document import Document
from dolmix.sample.encode import encode
from dolmix.sample.harvest import Harvest, Package, bounded, python_version
from dolmix.sample.shipped import BROKEN, BROKEN_SOURCE, shipped_digest, shipped_documents

RECIPE = "dolmix-sample-1"
INDEX = "sample.json"
TOKENIZER = "tokenizer.json"
MAX_MB = 12.0
PART_BYTES = 2_000_000
"""Text in one file, at most, unless a single document is longer."""
SUFFIXES = {"web": ".jsonl.zst", "docs": ".parquet", "code": ".jsonl.gz", "repos": ".jsonl.gz"}
"""File type of each source; the others are plain JSONL."""
SHARES = {"readmes": 0.25, "docstrings": 0.15, "licences": 0.1, "stdlib": 0.5}
"""Share of the harvest that each kind may take."""

Progress = Callable[[str], None]


@dataclass
class Summary:
    """What a sample folder holds."""

    path: str
    reused: bool
    """Whether everything was there already."""
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    """Source → number of files, documents, and bytes of text."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Cause → files and packages left out of the harvest."""
    vocab_size: int = 0
    made_from: dict[str, Any] = field(default_factory=dict)
    """`python`, its version; `packages` harvested, `name==version` each; `libraries` that wrote."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def write_sample(
    out: Path,
    *,
    shipped_only: bool = False,
    max_mb: float = MAX_MB,
    vocab_size: int = VOCAB_SIZE,
    progress: Progress = lambda _: None,
) -> Summary:
    """Make the sample in `out`, or leave it alone if it is there already.

    `max_mb` bounds the text that is harvested, in units of 10^6 bytes; shipped documents come on
    top, and `shipped_only` takes those alone.

    Raises UsageError if `max_mb` is negative, `vocab_size` too small, or `out` a file.
    """
    if max_mb < 0:
        raise UsageError(f"--max-mb bounds a size, {max_mb:g} is below zero")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder for the sample")
    max_bytes = None if shipped_only else round(max_mb * 1_000_000)
    recipe = {"format": RECIPE, "shipped": shipped_digest(), "vocab_size": vocab_size}
    recipe |= {"harvest": None if max_bytes is None else {"max_bytes": max_bytes}}
    old = _read_index(out)
    if old.get("recipe") == recipe and _intact(out, old):
        return Summary(path=str(out), reused=True, **old["summary"])
    harvest = Harvest()
    return _write(out, recipe, _collect(harvest, max_bytes, progress), harvest, progress)


def _made_from(packages: Sequence[Package]) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "python": python_version(),
        "packages": [f"{package.name}=={package.version}" for package in packages],
        "libraries": {name: version(name) for name in ("pyarrow", "tokenizers", "zstandard")},
    }


def _collect(
    harvest: Harvest, max_bytes: int | None, progress: Progress
) -> dict[str, list[Document]]:
    """Documents by file stem, `<source>/<stem>`."""
    stems: dict[str, list[Document]] = {}
    for document in shipped_documents():
        stems.setdefault(f"{document.source}/shipped", []).append(document)
    stems[f"{BROKEN_SOURCE}/records"] = stems.pop(f"{BROKEN_SOURCE}/shipped")
    if max_bytes is None:
        return stems
    kinds = {
        "web/readmes": harvest.readmes,
        "docs/docstrings": harvest.docstrings,
        "docs/licences": harvest.licences,
        "code/stdlib": harvest.sources,
    }
    for stem, read in kinds.items():
        chosen = bounded(read(), int(max_bytes * SHARES[stem.split("/")[1]]))
        progress(f"harvested {stem}: {len(chosen):,} documents")
        for number, part in enumerate(_parts(chosen)):
            stems[f"{stem}-{number:04d}"] = part
    return stems


def _write(
    out: Path,
    recipe: dict[str, Any],
    stems: dict[str, list[Document]],
    harvest: Harvest,
    progress: Progress,
) -> Summary:
    contents = _encode(stems)
    progress(f"training a tokenizer of {recipe['vocab_size']:,} entries")
    documents = [document for stem in sorted(stems) for document in stems[stem]]
    contents[TOKENIZER] = train_tokenizer(training_texts(documents), recipe["vocab_size"])
    digests = {name: _digest(data) for name, data in contents.items()}
    _remove_old(out, set(contents))
    # Named before they are written: if this is interrupted, the next run knows them.
    commit.write_json(out / INDEX, {"recipe": None, "files": digests}, indent=2)
    for name, data in contents.items():
        commit.write_bytes(out / name, data)
        progress(f"wrote {out / name}: {len(data):,} bytes")
    summary: dict[str, Any] = {
        "sources": _sizes(stems),
        "skipped": dict(sorted(harvest.skipped.items())),
        "vocab_size": len(json.loads(contents[TOKENIZER])["model"]["vocab"]),
        "made_from": _made_from(harvest.packages if recipe["harvest"] else ()),
    }
    index = {"recipe": recipe, "files": digests, "summary": summary}
    commit.write_json(out / INDEX, index, indent=2)
    return Summary(path=str(out), reused=False, **summary)


def _encode(stems: dict[str, list[Document]]) -> dict[str, bytes]:
    """Bytes by file name, relative to the sample's folder."""
    contents = {}
    for stem in sorted(stems):
        source = stem.split("/")[0]
        suffix = SUFFIXES.get(source, ".jsonl")
        contents[stem + suffix] = encode(stems[stem], suffix)
        if source == BROKEN_SOURCE:
            contents[stem + suffix] += b"".join(line + b"\n" for _, line in BROKEN)
    return contents


def _remove_old(out: Path, kept: set[str]) -> None:
    """Remove what an earlier sample wrote and this one will not."""
    for name in set(_read_index(out).get("files", {})) - kept:
        if not Path(name).is_absolute() and ".." not in Path(name).parts:
            (out / name).unlink(missing_ok=True)


def _parts(documents: Sequence[Document]) -> Iterator[list[Document]]:
    part: list[Document] = []
    size = 0
    for document in documents:
        if part and size + document.num_bytes > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(document)
        size += document.num_bytes
    if part:
        yield part


def _sizes(stems: dict[str, list[Document]]) -> dict[str, dict[str, int]]:
    sizes: dict[str, dict[str, int]] = {}
    for stem in sorted(stems):
        counts = sizes.setdefault(stem.split("/")[0], {"files": 0, "documents": 0, "bytes": 0})
        counts["files"] += 1
        counts["documents"] += len(stems[stem])
        counts["bytes"] += sum(document.num_bytes for document in stems[stem])
    return sizes


def _read_index(out: Path) -> dict[str, Any]:
    try:
        index = json.loads((out / INDEX).read_bytes())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _intact(out: Path, index: dict[str, Any]) -> bool:
    try:
        return all(_digest((out / n).read_bytes()) == d for n, d in index["files"].items())
    except OSError:
        return False


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()

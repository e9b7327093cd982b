"""The documents that the project wrote itself: stored, made by a rule, or broken on purpose.

Each says in `metadata.expect` what the sample's pipeline should do with it, which a test holds the
filters to. They follow from the package's files alone, so golden digests can be built on them.

A stored file `documents/<source>[.<part>].txt` holds documents one after the other: a line `%%
<name>`, lines `key: value` (YAML), an empty line, the text.
"""

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

from dolmix.config import parse
from dolmix.sample.document import Document
from dolmix.sample.recipes import Derived

MARK = "%% "
OURS = {"origin": "dolmix", "license": "Apache-2.0"}
BROKEN_SOURCE = "broken"
BROKEN: tuple[tuple[str, bytes], ...] = (
    ("cut off", b'{"id": "broken/cut-off", "text": "This line ends in the middle of a wo'),
    ("not UTF-8", b'{"id": "broken/latin-1", "text": "The caf\xe9 closes at five."}'),
    ("null text", b'{"id": "broken/null-text", "text": null, "source": "broken"}'),
    ("no text", b'{"id": "broken/no-text", "source": "broken", "metadata": {}}'),
    ("text no string", b'{"id": "broken/number", "text": 42, "source": "broken"}'),
    ("no object", b'["broken/list", "a list is no record"]'),
)
"""What is wrong with each broken record, and its bytes without the newline."""


@cache
def shipped_documents() -> tuple[Document, ...]:
    """Every shipped document: stored ones, file by file, then the derived ones."""
    stored = tuple(_stored())
    texts = {document.id: document.text for document in stored}
    about = {document.id: document.metadata for document in stored}
    made = []
    for recipe in _recipes().documents:
        base = about.get(getattr(recipe, "of", ""), {**OURS, "language": "en"})
        changes = {"stars": recipe.stars, "repo": recipe.repo, "expect": recipe.expect}
        metadata = {**base, **{k: v for k, v in changes.items() if v is not None}}
        source = recipe.name.split("/")[0]
        made.append(Document(recipe.name, recipe.text(texts), source, metadata))
    return stored + tuple(made)


def shipped_digest() -> str:
    """Blake2b-256 of all data files that shipped documents are made from; 64 hex digits."""
    digest = blake2b(digest_size=32)
    for file in _data_files():
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def shipped_bytes() -> int:
    """Bytes of those files: what the sample adds to the package."""
    return sum(len(file.read_bytes()) for file in _data_files())


def _data_files() -> list[Traversable]:
    folder = files("dolmix.sample") / "documents"
    return sorted((f for f in folder.iterdir() if f.is_file()), key=lambda f: f.name)


def _recipes() -> Derived:
    path = files("dolmix.sample") / "documents" / "derived.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    return parse(Derived, {"documents": raw}, origin="documents/derived.yaml")


def _stored() -> Iterator[Document]:
    for file in _data_files():
        if file.name.endswith(".txt"):
            source = file.name.split(".")[0]
            for block in file.read_text(encoding="utf-8").split(f"\n{MARK}"):
                yield _read_block(source, block.removeprefix(MARK))


def _read_block(source: str, block: str) -> Document:
    head, _, text = block.partition("\n\n")
    name, _, header = head.partition("\n")
    about: dict[str, Any] = yaml.safe_load(header)
    return Document(f"{source}/{name}", text.strip("\n"), source, {**OURS, **about})

"""Questions of evaluation sets, as evaluation harnesses log them: one JSON record a line.

Several records may be about one question (one for each answer that a model chooses from); they are
one question here. What a prompt puts before and after a question is no part of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

import orjson

from dolmix.errors import DataError
from dolmix.files.paths import expand, format_of
from dolmix.files.streams import DamageError, read_blocks

SET_FIELDS = ("task_name", "set")
ID_FIELDS = ("native_id", "doc.id", "doc_id", "id")
"""Where a record may name its set and its question, the first that is there counts; else a set is
called as its file, and a question by its line."""
SHOWN_KEYS = 12


@dataclass(frozen=True, slots=True)
class Question:
    """One question of one set, with all its texts, each once, in the order of the file."""

    set: str
    id: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuestionFormat:
    """Where the text of a question stands in a record, and what of it does not count."""

    fields: tuple[str, ...]
    """Dotted paths; `a+b` is both texts, one after the other. The first that a record has counts;
    of a list every text."""
    labels: tuple[str, ...]
    """Words of the prompt, `Question:` among them, that are taken off the starts of lines."""


def read_questions(inputs: Sequence[str], form: QuestionFormat) -> list[Question]:
    """Read the questions of files (.jsonl, .gz and .zst too), by path or pattern, in their order.

    Raises DataError for a file that cannot be read, and for a record without text at any of the
    paths, naming file and line.
    """
    texts: dict[tuple[str, str], dict[str, None]] = {}
    label = re.compile(rf"^[ \t]*(?:{'|'.join(map(re.escape, form.labels))})", re.MULTILINE)
    for file in expand(inputs):
        for number, line in enumerate(_read(file.uri).splitlines(), 1):
            if not line.strip():
                continue
            record = _parse(file.uri, number, line)
            name = _first(record, SET_FIELDS) or PurePath(file.uri).name.partition(".")[0]
            id_ = _first(record, ID_FIELDS) or str(number)
            found = _texts(file.uri, number, record, form.fields)
            bare = (label.sub("", text) if form.labels else text for text in found)
            texts.setdefault((name, id_), {}).update(dict.fromkeys(bare))
    return [Question(name, id_, tuple(found)) for (name, id_), found in texts.items()]


def digest_questions(inputs: Sequence[str]) -> str:
    """Blake2b-256, hex, of the files' contents in order, whatever they are called.

    Raises DataError for a file that cannot be read.
    """
    digest = blake2b(digest_size=32)
    for file in expand(inputs):
        digest.update(blake2b(_read(file.uri), digest_size=32).digest())
    return digest.hexdigest()


def _read(uri: str) -> bytes:
    kind, compression = format_of(uri)
    if kind != "jsonl":
        raise DataError(f"{uri}: questions are read from .jsonl files, plain, .gz or .zst")
    try:
        return b"".join(read_blocks(uri, compression))
    except DamageError as error:
        raise DataError(f"{uri}: {error.cause}. Get the file again.") from None


def _parse(uri: str, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{uri}, line {number:,}: no JSON ({error}). Mend the file.") from None
    if not isinstance(record, dict):
        raise DataError(f"{uri}, line {number:,}: a record must be an object. Mend the file.")
    return record


def _texts(uri: str, number: int, record: dict[str, Any], fields: Sequence[str]) -> list[str]:
    """Texts at the first path that has any."""
    for path in fields:
        values = [_at(record, half) for half in path.split("+")]
        if all(isinstance(value, str) for value in values):
            return ["".join(values)]
        if len(values) == 1 and isinstance(values[0], list):
            return [value for value in values[0] if isinstance(value, str)]
    keys = ", ".join(list(record)[:SHOWN_KEYS])
    raise DataError(
        f"{uri}, line {number:,}: no text at {', '.join(fields)}; the record has {keys}. Set "
        f"text_fields to where its question stands."
    )


def _first(record: dict[str, Any], paths: Sequence[str]) -> str | None:
    found = (_at(record, path) for path in paths)
    return next((str(value) for value in found if isinstance(value, (str, int))), None)


def _at(record: Any, path: str) -> Any:
    for key in path.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record

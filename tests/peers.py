"""What the conformance tests share: real and awkward texts, and the peers themselves.

A peer or the corpus that is not there skips a test with the reason; under CI a missing peer fails
it, since scripts/test.sh installs every one.
"""

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hard_texts import adversarial_texts, awkward_texts, made_text, pieces, spaces, terminals

__all__ = [
    "adversarial_texts",
    "ask_dolma",
    "awkward_texts",
    "code_documents",
    "code_sample",
    "datatrove_verdict",
    "datatrove_verdicts",
    "dolma_python",
    "english_documents",
    "english_sample",
    "made_text",
    "needs",
    "pieces",
    "spaces",
    "terminals",
]

ROOT = Path(__file__).resolve().parents[1]
WEB_FOLDERS = (
    *("web_cc", "web_messy", "web_quality_labelled", "web_line_labelled", "speeches", "wiki"),
)
OTHER_FOLDERS = ("web_multilingual", "web_docs", "books", "papers", "stackexchange", "reviews")

Record = dict[str, Any]
Verdict = tuple[bool, str | None, str]
"""Whether a document is kept, the reason if not, its text afterwards."""


def english_documents(shared: Path) -> list[str]:
    """Texts of every English document of the corpus, in the order of its files.

    shared  folder of the reference data: the fixture of that name
    """
    records = _records(shared, (*WEB_FOLDERS, *OTHER_FOLDERS))
    return [record["text"] for record in records if _is_english(record)]


def english_sample(shared: Path, megabytes: float = 6.0) -> list[str]:
    """Texts of English web pages, speeches and articles, the same ones every time.

    Each of the six folders gives its share; which documents, the hash of their ids decides.
    """
    return _sample(shared, WEB_FOLDERS, megabytes)


def corpus_urls(shared: Path) -> list[str]:
    """URLs of all documents of the corpus that have one."""
    records = _records(shared, (*WEB_FOLDERS, *OTHER_FOLDERS))
    found = (r.get("url") or (r.get("metadata") or {}).get("url") for r in records)
    return [url for url in found if url]


def code_documents(shared: Path) -> list[Record]:
    """Every code file of the corpus as its record: id, text, metadata (repo, path, language...)."""
    return list(_records(shared, ("code",)))


def code_sample(shared: Path, megabytes: float = 2.0) -> list[str]:
    """Texts of code files, the same ones every time."""
    return _sample(shared, ("code",), megabytes)


def needs(package: str) -> None:
    """Skip the test, or under CI fail it, unless a package can be imported."""
    if importlib.util.find_spec(package) is None:
        absent(f"no {package}; pip install -e '.[conformance]'")


def dolma_python() -> Path:
    """Python of the environment that has dolma; without it, skip the test, or under CI fail it."""
    default = ROOT / ".venvs" / "dolma" / "bin" / "python"
    python = Path(os.environ.get("DOLMIX_DOLMA_PYTHON", default))
    if not python.exists():
        absent(f"no dolma: {python} is not there; run scripts/setup_dolma.sh")
    return python


def ask_dolma(script: str, items: Sequence[Any]) -> list[Any]:
    """Run a script in dolma's own Python: items go in as lines of JSON, answers come out as such.

    script  reads `sys.stdin`, prints one line of JSON an item, and prints nothing else
    """
    lines = "".join(json.dumps(item) + "\n" for item in items)
    command = [str(dolma_python()), "-c", script]
    # a lone surrogate cannot be in valid UTF-8, so plain UTF-8 is enough whatever the locale says
    settings = os.environ | {"PYTHONUTF8": "1"}
    ran = subprocess.run(
        command, input=lines.encode(), capture_output=True, check=False, env=settings
    )
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")[-2000:]
    answers = [json.loads(line) for line in ran.stdout.split(b"\n") if line]
    assert len(answers) == len(items), f"{len(answers)} answers to {len(items)} items"
    return answers


def datatrove_verdicts(filter_: Any, texts: Iterable[str]) -> list[Verdict]:
    """Give each text to a datatrove filter.

    A text at which the filter raises counts as dropped, for the reason `raises <exception>`.
    """
    return [datatrove_verdict(filter_, text) for text in texts]


def datatrove_verdict(filter_: Any, text: str) -> Verdict:
    """Give one text to a datatrove filter; see `datatrove_verdicts`.

    Several tests ask for the same, so a verdict is kept by the filter's class and settings.
    """
    asked = (type(filter_), _settings(filter_), text)
    if asked not in VERDICTS:
        VERDICTS[asked] = _verdict(filter_, text)
    return VERDICTS[asked]


VERDICTS: dict[tuple[type, str, str], Verdict] = {}
PLAIN = (bool, int, float, str, tuple, list, type(None))


def _settings(filter_: Any) -> str:
    """Everything plain that a filter holds, as text."""
    held = {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in vars(filter_).items()
        if isinstance(value, (*PLAIN, set))
    }
    return repr(held)


def _verdict(filter_: Any, text: str) -> Verdict:
    from datatrove.data import Document
    from datatrove.pipeline.filters.base_filter import get_filter_result

    _split_once()
    document = Document(text=text, id="0")
    try:
        keep, reason = get_filter_result(filter_.filter(document))
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its verdict
        return False, f"raises {type(error).__name__}", text
    return bool(keep), reason, document.text


@cache
def _split_once() -> None:
    """Let datatrove's splitter remember the words of each text: most of its filters' time.

    The words are the splitter's own; several filters and tests ask for those of the same texts.
    """
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    splitter = load_word_tokenizer("eng")
    plain = splitter.word_tokenize
    known: dict[str, list[str]] = {}

    def remembered(text: str) -> list[str]:
        if text not in known:
            known[text] = [sys.intern(word) for word in plain(text)]
        return known[text]

    splitter.word_tokenize = remembered


def absent(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI needs this peer: {why}")
    pytest.skip(why)


def _sample(shared: Path, folders: Sequence[str], megabytes: float) -> list[str]:
    """Whole documents, folder by folder in proportion, of about so many megabytes in all."""
    kept = [[r for r in _records(shared, (name,)) if _is_english(r)] for name in folders]
    total = sum(_size(record) for records in kept for record in records)
    share = min(1.0, megabytes * 1e6 / total)
    texts = []
    for records in kept:
        room = share * sum(map(_size, records))
        for record in sorted(records, key=_draw):
            if room >= _size(record):
                texts.append(record["text"])
                room -= _size(record)
    return texts


def _draw(record: Record) -> bytes:
    return blake2b(record["id"].encode(), digest_size=8).digest()


def _size(record: Record) -> int:
    return len(record["text"].encode())


def _is_english(record: Record) -> bool:
    about = record.get("metadata") or {}
    return (about.get("lang") or about.get("lang_predicted") or "en") == "en"


def _records(shared: Path, folders: Sequence[str]) -> Iterator[Record]:
    for folder in folders:
        for path in sorted((shared / "corpus_seed" / folder).glob("*.jsonl*")):
            yield from (json.loads(line) for line in _bytes_of(path).split(b"\n") if line.strip())


def _bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(data).read()

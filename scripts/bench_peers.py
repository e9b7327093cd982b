"""Run and time the peers: datatrove's filters here, dolma's taggers in a Python of their own.

Only the peer's own work is on the clock: no start-up, no reading, no conversion.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench_texts import ROOT, Documents, core_seconds

DOLMA = """
import json, sys, time
from dolma.core.data_types import Document, DocumentWithMetadata
from dolma.core.registry import TaggerRegistry
from dolma.core.taggers import BaseTaggerWithMetadata
import dolma.taggers
from importlib.metadata import version
packages = ("dolma", "numpy", "nltk", "regex", "pygments", "beautifulsoup4")
print(json.dumps("dolma's Python " + sys.version.split()[0] + ": "
                 + ", ".join(p + " " + version(p) for p in packages)), flush=True)
sets, taggers = {}, {}
for line in sys.stdin:
    name, given = json.loads(line)
    if isinstance(given, list):
        sets[name] = given
        continue
    tagger = taggers.setdefault(name, TaggerRegistry.get(name)())
    kind = DocumentWithMetadata if isinstance(tagger, BaseTaggerWithMetadata) else Document
    about = [{"metadata": m} if kind is DocumentWithMetadata else {} for _, m in sets[given]]
    documents = [
        kind(source="", version=None, id="0", text=text, **more)
        for (text, _), more in zip(sets[given], about)
    ]
    start = time.process_time()
    for document in documents:
        tagger.predict(document)
    print(json.dumps(time.process_time() - start), flush=True)
"""

Timed = Callable[[], float]
"""Runs a peer on its documents and gives the core seconds it took."""


def dolma_python() -> Path | None:
    """Python of an environment that has dolma, or None; scripts/setup_dolma.sh makes one."""
    default = ROOT / ".venvs" / "dolma" / "bin" / "python"
    path = Path(os.environ.get("DOLMIX_DOLMA_PYTHON", default))
    return path if path.exists() else None


class Dolma:
    """dolma in a process of its own, asked once a round."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), "-c", DOLMA],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.versions: str = self._receive()
        """Versions of what runs there."""

    def learn(self, name: str, documents: Documents) -> None:
        """Send documents, once; `seconds` names them. A file's extension is all its metadata."""
        rows = [[r["text"], _extension(r.get("metadata") or {})] for r in documents.records]
        self._send([name, rows])

    def seconds(self, tagger: str, documents: str) -> float:
        """Core seconds that a tagger takes for all documents of a name."""
        self._send([tagger, documents])
        return float(self._receive())

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=30)

    def _receive(self) -> Any:
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            raise RuntimeError("dolma's process has ended; DOLMIX_DOLMA_PYTHON names its Python")
        return json.loads(answer)

    def _send(self, message: list[Any]) -> None:
        if self._process.stdin is None:
            raise RuntimeError("dolma's process has no input")
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


def datatrove_peers(documents: Documents, model: Path | None) -> dict[str, Timed]:
    """Name what of datatrove is timed, on these documents; empty where spaCy is not installed."""
    try:
        import spacy  # noqa: F401 - datatrove's English splitter
        from datatrove.pipeline.filters import (
            C4QualityFilter,
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
        )
    except ImportError:
        return {}
    quality, repetition = GopherQualityFilter(), GopherRepetitionFilter()
    lines_kept = C4QualityFilter(filter_no_terminal_punct=False)
    texts = documents.texts
    peers = {
        "datatrove quality": every([[quality]], texts),
        "datatrove repetition": every([[repetition]], texts),
        "datatrove, filters apart": every([[quality], [repetition]], texts),
        "datatrove, words shared": every([[quality, repetition]], texts),
        "datatrove C4": every([[C4QualityFilter()]], texts),
        "datatrove C4, any line end": every([[lines_kept]], texts),
        "datatrove FineWeb": every([[FineWebQualityFilter()]], texts),
        "datatrove cascade": cascade(
            [repetition, quality, lines_kept, FineWebQualityFilter()], texts
        ),
    }
    if model is not None:
        peers["datatrove language"] = every([[_language(model)]], texts)
    return peers


def every(loops: Sequence[Sequence[Any]], texts: Sequence[str]) -> Timed:
    """Let every filter judge every document: in each loop, a document by all filters of the loop.

    datatrove keeps the words of the last few texts, so filters of one loop share them.
    """

    def run() -> None:
        for filters in loops:
            for document in _documents(texts):
                for filter_ in filters:
                    filter_.filter(document)

    return lambda: core_seconds(run)


def cascade(filters: Sequence[Any], texts: Sequence[str]) -> Timed:
    """Let a document reach the next filter only if the one before keeps it, as a pipeline does."""

    def run() -> None:
        for document in _documents(texts):
            for filter_ in filters:
                verdict = filter_.filter(document)
                if verdict is not True:
                    break

    return lambda: core_seconds(run)


def _documents(texts: Sequence[str]) -> list[Any]:
    from datatrove.data import Document

    return [Document(text=text, id="0") for text in texts]


def _language(model: Path) -> Any:
    """Build what datatrove's language filter asks, on a model that is here; it would fetch one."""
    from datatrove.utils.lid import FT176LID
    from fasttext.FastText import _FastText

    asked = FT176LID(["en"])
    asked._model = _FastText(str(model))  # noqa: SLF001 - it has no option for a path
    return SimpleNamespace(filter=asked.predict)


def _extension(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"ext": metadata["ext"]} if "ext" in metadata else {}

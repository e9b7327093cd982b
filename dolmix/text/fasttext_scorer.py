"""Labels of texts by a fastText model: compiled where that gives the package's answers, else by it.

A model is read once a process; its dense vectors stay in the mapped file, shared by all. Opening a
model asks the kernel and the package about a few texts; where they disagree, the package answers,
one text at a time, and the log says so. A model of more than CHECKED_BYTES is not held against the
package, which would read a copy of it into each process.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dolmix.document import I32Array, I64Array, TextBatch
from dolmix.errors import FilterError
from dolmix.text.fasttext_kernel import Spans, score_spans
from dolmix.text.fasttext_model import LABEL_PREFIX, read_model
from dolmix.text.fasttext_piece import empty_piece
from dolmix.text.fasttext_prepare import PREPARATIONS, prepared
from dolmix.text.fasttext_scores import Scores, room_for
from dolmix.text.fasttext_stretch import empty_stretch
from dolmix.text.fasttext_sums import Sum
from dolmix.text.fasttext_tables import SHAPE_NGRAMS, F32Array

CLOSE = 1e-6
"""How far the kernel's probabilities may be from the package's."""
CHECKED_BYTES = 1 << 28
CHECKED = (
    "This page says in plain words what it is about, and links to three others.",
    "Ein kurzer Satz, der auf Deutsch gehalten ist.",
    "\u042d\u0442\u043e \u043f\u0440\u043e\u0441\u0442\u043e\u0439 \u0442\u0435\u043a\u0441\u0442",
    "\u8fd9\u662f\u4e00\u4e2a\u7b80\u5355\u7684\u53e5\u5b50\u3002 ok",
    "",
    "x\x00y </s> z",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of N texts.

    labels  (N, K) int32    the K best labels, best first, -1 where there are fewer
    probs   (N, K) float32  their probabilities, 0 where there is none
    wanted  (N, M) float32  probabilities of the labels that were asked for, 0 where there is none
    """

    labels: I32Array
    probs: F32Array
    wanted: F32Array


class FastText:
    """A model that can be asked; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._package: Any = None
        self._model = read_model(path)
        self._place = {label: n for n, label in enumerate(self._model.labels)}
        self.loss = self._model.loss
        self.labels = tuple(label.removeprefix(LABEL_PREFIX) for label in self._model.labels)
        self._package = self._disagreeing()

    def places(self, labels: tuple[str, ...], *, setting: str) -> I64Array:
        """(M,) int64: numbers of labels, given without prefix.

        Raises FilterError for one that the model does not have, naming the setting.
        """
        known = {label: n for n, label in enumerate(self.labels)}
        bare = [label.removeprefix(LABEL_PREFIX) for label in labels]
        unknown = [label for label in bare if label not in known]
        if unknown:
            raise FilterError(
                f"{setting} names {', '.join(map(repr, unknown))}, but {self.path} has no such "
                f"label among its {len(known)}. Write labels as the model does: "
                f"{', '.join(sorted(known)[:8])}{', ...' if len(known) > 8 else ''}"
            )
        return np.array([known[label] for label in bare], np.int64)

    def ask(
        self, spans: Spans, *, text: str, most: int = 1, wanted: I64Array | None = None
    ) -> Answers:
        """Ask about texts.

        text    how they are prepared, a name of `PREPARATIONS`
        most    K, how many labels to give
        wanted  (M,) int64  labels whose probability to give in any case

        Raises FilterError where the model's numbers are no numbers.
        """
        wanted = np.zeros(0, np.int64) if wanted is None else wanted
        most = min(most, len(self.labels))
        if self._package is not None:
            return self._by_package(spans, text, most, wanted)
        ready, left = prepared(spans, text)
        found = self._by_kernel(ready, most, wanted)
        if left.any():
            rows = np.flatnonzero(left)
            again = TextBatch.of([PREPARATIONS[text](_text(spans, int(n))) for n in rows])
            for mine, its in zip(
                _arrays(found), _arrays(self._by_kernel(spans_of(again), most, wanted)), strict=True
            ):
                mine[rows] = its
        if np.isnan(found.probs).any():
            raise FilterError(f"{self.path} gives probabilities that are no numbers: it is damaged")
        return found

    def _by_kernel(self, spans: Spans, most: int, wanted: I64Array) -> Answers:
        tables, count = self._model.tables, spans.starts.size
        longest = int((spans.stops - spans.starts).max(initial=0)) // 2 + 3
        has_ngrams = tables.shape[SHAPE_NGRAMS] > 1
        total = Sum(
            np.zeros(tables.outputs.shape[0], np.float32),
            np.zeros(2, np.int64),
            np.zeros(longest if has_ngrams else 0, np.int32),
        )
        scores = Scores(
            np.full((count, most), -1, np.int32),
            np.zeros((count, most), np.float32),
            wanted,
            np.zeros((count, wanted.size), np.float32),
        )
        room = (empty_stretch(tables), empty_piece(tables))
        score_spans(spans, tables, total, room, (room_for(tables, most), scores))
        return Answers(scores.labels, scores.probs, scores.chances)

    def _by_package(self, spans: Spans, text: str, most: int, wanted: I64Array) -> Answers:
        """Ask the package, one text at a time."""
        count = spans.starts.size
        found = Answers(
            np.full((count, most), -1, np.int32),
            np.zeros((count, most), np.float32),
            np.zeros((count, wanted.size), np.float32),
        )
        for n in range(count):
            line = PREPARATIONS[text](_text(spans, n)).replace("\n", " ") + "\n"
            pairs = self._package.f.predict(line, -1 if wanted.size else most, 0.0, "strict")
            for k, (prob, label) in enumerate(pairs[:most]):
                found.labels[n, k], found.probs[n, k] = self._place[label], prob
            by_label = {self._place[label]: prob for prob, label in pairs}
            found.wanted[n] = [by_label.get(int(m), 0.0) for m in wanted]
        return found

    def _disagreeing(self) -> Any:
        """Give the package's model if it says something else than the kernel, else None."""
        if self.path.stat().st_size > CHECKED_BYTES:
            logger.info("%s is too large to be read twice; not held against fasttext", self.path)
            return None
        spans, none = spans_of(TextBatch.of(list(CHECKED))), np.zeros(0, np.int64)
        mine = self._by_kernel(spans, 1, none)
        self._package = _load(self.path)
        its = self._by_package(spans, "datatrove", 1, none)
        worst = float(np.abs(mine.probs - its.probs).max())
        if (mine.labels == its.labels).all() and worst <= CLOSE:
            return None
        logger.warning(
            "%s: the compiled fastText and the package fasttext differ by %g on %d texts, so the "
            "package answers, at about a tenth of the speed. Report the model's kind: loss %s.",
            *(self.path, worst, len(CHECKED), self.loss),
        )
        return self._package


def spans_of(texts: TextBatch) -> Spans:
    """Give every text of a batch as a span."""
    return Spans(texts.utf8, texts.offsets[:-1], texts.offsets[1:])


@lru_cache(maxsize=8)
def open_model(path: str) -> FastText:
    """Open a model once a process; its path must be absolute.

    Raises FilterError if it is no model.
    """
    return FastText(Path(path))


def _arrays(found: Answers) -> tuple[Any, ...]:
    return found.labels, found.probs, found.wanted


def _text(spans: Spans, n: int) -> str:
    return spans.utf8[spans.starts[n] : spans.stops[n]].tobytes().decode("utf-8")


def _load(path: Path) -> Any:
    import fasttext

    return fasttext.FastText.load_model(str(path))

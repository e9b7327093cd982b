"""What taking out lines by the filter `classifier` gives, against what people marked.

python scripts/bench_line_filters.py            needs ../shared/data or DOLMIX_SHARED
python scripts/bench_line_filters.py --json

Lines (web_line_labelled): a line marked 0 is noise. Segments (web_messy): boilerplate against main
text, a line each. Pages go through `{type: classifier, unit: line}` with the builtin models, as a
run has it, and figures are of the texts that come out. Precision, recall and F1 are of what is
removed; token F1 is of the text that remains, against the text that people kept. Limits are chosen
on one half of the pages, and figures are of the other. Beside them: a model trained here on a
quarter of the pages, whose limit another quarter gives, removing nothing, and lines without a full
stop or of fewer than five words. Last, what the filter's speed is on these pages.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bench_texts import core_seconds
from train_default_models import documents

from dolmix.document import TextBatch
from dolmix.filters import Classifier
from dolmix.learned.fit import Fitting, fit
from dolmix.text.classifier_text import spaced
from dolmix.text.edits import edited, read_edits

Page = tuple[str, list[str], list[bool]]
"""Language, lines, and whether each is to be removed."""
Chain = Callable[[float], list[Classifier]]
"""Filters that take lines out beyond a limit, one after the other."""
Array = np.ndarray[Any, Any]
SHARES = np.arange(0.02, 1.0, 0.02)
ENDS = ".!?。！？؟۔\"'”»:"  # noqa: RUF001
OWN = "trained on a quarter"


def line_pages() -> list[Page]:
    """Pages whose lines were marked; empty lines are no unit."""
    pages = []
    for one in documents("web_line_labelled"):
        lines, marks = one["text"].split("\n"), one["metadata"]["line_labels"]
        if len(lines) == len(marks):
            both = [(s, m == "0") for s, m in zip(lines, marks, strict=True) if s.strip()]
            pages.append((one["metadata"]["lang"], [s for s, _ in both], [m for _, m in both]))
    return pages


def segment_pages() -> list[Page]:
    """Pages with segments of main text and of boilerplate."""
    pages = []
    for one in documents("web_messy"):
        about = one["metadata"]
        good, bad = about.get("main_text_segments") or [], about.get("boilerplate_segments") or []
        units = [" ".join(segment.split("\n")) for segment in (*good, *bad)]
        marks = [False] * len(good) + [True] * len(bad)
        both = [(s, m) for s, m in zip(units, marks, strict=True) if s.strip()]
        if both:
            lang = about.get("lang_predicted", "-")
            pages.append((lang, [s for s, _ in both], [m for _, m in both]))
    return pages


def part(page: Page) -> int:
    """Quarter of the pages that a page is in: 0 and 2 give limits, 2 trains, 1 and 3 are judged."""
    return blake2b("".join(page[1]).encode(), digest_size=1).digest()[0] & 3


def trained(pages: Sequence[Page], path: Path) -> Chain:
    """Train a model on the lines of a quarter of the pages."""
    ours = [page for page in pages if part(page) == 2]  # noqa: PLR2004
    rows = [
        (unit, mark) for _, units, marks in ours for unit, mark in zip(units, marks, strict=True)
    ]
    settings = Fitting(min_chars=2, max_chars=5, epochs=15, keep_features=None)
    fit(((("text", "noise")[mark], spaced(unit)) for unit, mark in rows), settings, path)
    given = {"name": "own", "model": path, "labels": ["noise"], "text": "spaced", "unit": "line"}
    return lambda limit: [Classifier.model_validate({**given, "cut_above": limit})]


def builtin(model: str, limit: float) -> Classifier:
    """Make the filter that takes lines out, a higher limit fewer."""
    cut = {"cut_above": limit} if model == "ads" else {"cut_below": 1 - limit}
    return Classifier.model_validate({"name": model, "model": "builtin", "unit": "line", **cut})


def chains(own: Chain) -> dict[str, Chain | None]:
    """Ways to take lines out: filters, or None for a rule of thumb."""
    return {
        "ads": lambda limit: [builtin("ads", limit)],
        "fluency": lambda limit: [builtin("fluency", limit)],
        "ads or fluency": lambda limit: [builtin("ads", limit), builtin("fluency", limit)],
        OWN: own,
        "short or no full stop": None,
        "nothing": None,
    }


def scores_of(units: Sequence[str], way: str, chain: Chain | None) -> Array:
    """Say how much each line is to be removed, higher for worse, (N,) float64."""
    if chain is None:
        worse = np.array([len(u.split()) < 5 or u.rstrip()[-1:] not in ENDS for u in units], float)  # noqa: PLR2004
        return worse if way != "nothing" else np.full(len(units), -1.0)
    found = []
    for filter_ in chain(0.5):
        alone = {"unit": "document", "cut_above": None, "cut_below": None}
        column = filter_.model_copy(update=alone).columns(TextBatch.of(list(units)))["score"]
        score = np.asarray(column.fill_null(0.0), np.float64)
        found.append(1 - score if filter_.cut_below is not None else score)
    return np.maximum.reduce(found)


def remaining(pages: Sequence[Page], way: str, chain: Chain | None, limit: float) -> list[set[str]]:
    """Lines that are left of each page: of what the filters made of it, where they are asked."""
    if chain is None:
        judged = [zip(units, scores_of(units, way, chain), strict=True) for _, units, _ in pages]
        return [{unit for unit, score in page if score <= limit} for page in judged]
    texts = TextBatch.of(["\n".join(units) for _, units, _ in pages])
    for filter_ in chain(limit):
        texts = edited(texts, read_edits(filter_.columns(texts)["edit"]))
    return [set(text.split("\n")) for text in texts.text.to_pylist()]


def measure(pages: Sequence[Page], way: str, chain: Chain | None) -> dict[str, Any]:
    """Choose a limit on half of the pages, and give the figures of the other half."""
    made = [page for page in pages if part(page) in ({0} if way == OWN else {0, 2})]
    rest = [page for page in pages if part(page) in {1, 3}]
    pooled = scores_of([unit for _, units, _ in made for unit in units], way, chain)
    limits = np.unique(np.quantile(pooled, SHARES, method="lower"))
    wanted = marks_of(made)
    limit = float(max(limits, key=lambda limit: _figures(wanted, pooled > limit)["f1"]))
    left = remaining(rest, way, chain, limit)
    both = zip(rest, left, strict=True)
    gone = np.array([unit not in lines for (_, units, _), lines in both for unit in units])
    found = {"threshold": limit, **_figures(marks_of(rest), gone)}
    return found | {"token_f1": _token_f1(rest, left)}


def marks_of(pages: Sequence[Page]) -> Array:
    """(N,) bool: which lines are to be removed."""
    return np.array([mark for _, _, marks in pages for mark in marks], np.bool_)


def _figures(marks: Array, gone: Array) -> dict[str, float]:
    """Compare what was removed with what was to be, (N,) bool each."""
    hits = float((gone & marks).sum())
    return {
        "units": float(marks.size),
        "noise_frac": float(marks.mean()),
        "removed_frac": float(gone.mean()),
        "precision": hits / max(1.0, float(gone.sum())),
        "recall": hits / max(1.0, float(marks.sum())),
        "f1": 2 * hits / max(1.0, float(gone.sum() + marks.sum())),
    }


def _token_f1(pages: Sequence[Page], left: Sequence[set[str]]) -> float:
    shared = remains = gold = 0
    for (_, units, marks), lines in zip(pages, left, strict=True):
        kept: Counter[str] = Counter()
        wanted: Counter[str] = Counter()
        for unit, mark in zip(units, marks, strict=True):
            tokens = Counter(spaced(unit).split())
            kept += tokens if unit in lines else Counter()
            wanted += Counter() if mark else tokens
        shared += (kept & wanted).total()
        remains, gold = remains + kept.total(), gold + wanted.total()
    return 2 * shared / max(1, remains + gold)


def speed(pages: Sequence[Page], own: Chain) -> dict[str, float]:
    """MB/s a core of the filter on whole pages, its lines cut out, by model; the best of three."""
    texts = TextBatch.of(["\n".join(units) for _, units, _ in pages])
    size = (texts.offsets[-1] - texts.offsets[0]) / 1e6
    found = {}
    for filter_ in (builtin("ads", 0.5), builtin("fluency", 0.5), *own(0.5)):
        columns = partial(filter_.columns, texts)
        columns()
        found[filter_.label] = size / min(core_seconds(columns) for _ in range(3))
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    lines, segments = line_pages(), segment_pages()
    sets = {"lines": lines, "segments": segments}
    for lang in sorted({lang for lang, _, _ in lines}):
        sets[f"lines {lang}"] = [page for page in lines if page[0] == lang]
    with TemporaryDirectory() as folder:
        own = {
            name: trained(sets[name], Path(folder) / f"{name}.ftz")
            for name in ("lines", "segments")
        }
        found = {
            name: {
                way: measure(pages, way, chain)
                for way, chain in chains(own[name.split(" ")[0]]).items()
            }
            for name, pages in sets.items()
        }
        rates = speed(lines, own["lines"])
    if as_json:
        print(json.dumps({**found, "megabytes_per_core_second": rates}, indent=2))
        return 0
    names = ("noise_frac", "removed_frac", "precision", "recall", "f1", "token_f1", "threshold")
    print("| set | removed by | units | " + " | ".join(names) + " |")
    print("|" + " --- |" * (len(names) + 3))
    for name, figures in found.items():
        for way, one in figures.items():
            cells = " | ".join(f"{one[key]:.3f}" for key in names)
            print(f"| {name} | {way} | {one['units']:,.0f} | {cells} |")
    told = ", ".join(f"{model} {rate:.1f}" for model, rate in rates.items())
    print(f"\nclassifier, unit: line, on the pages with marked lines, MB/s a core: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

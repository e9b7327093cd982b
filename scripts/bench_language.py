"""Language by fastText: MB/s a core beside the package and datatrove's filter, and accuracy.

    python scripts/bench_language.py [--megabytes 8] [--repeats 3] [--accuracy] [--json FILE]

Reads ../shared/data (or DOLMIX_SHARED/data) and models/lid.176.ftz. Documents are a sample of the
web and wiki folders, in all their languages. Speeds are UTF-8 bytes a second of processor time,
the best of the repeats, taken in turns; one core each.

One row is of documents of the whole corpus as bench_pipeline.py gives them to a run: each repeat in
other words (bench_corpus.py), so that no word that one copy coined comes again.

--accuracy prints, for each preparation of the text, the share of documents whose first label is the
language that the corpus states: Chinese, Japanese and others under the labels of lid.176.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from bench_table import ROOT, Row, printed, write

FOLDERS = ("web_cc", "web_messy", "web_multilingual", "wiki")
LABELLED = ("web_multilingual", "wiki")
TEXTS = ("datatrove", "dolma", "dclm")
MODEL = Path(os.environ.get("DOLMIX_LID_MODEL", ROOT / "models" / "lid.176.ftz"))
SHARED = Path(os.environ.get("DOLMIX_SHARED", ROOT.parent / "shared")) / "data"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    size, repeats = args.megabytes, args.repeats
    found = list(printed(chain(speeds(size, repeats), in_other_words(size, repeats))))
    if args.accuracy:
        found += list(printed(accuracies()))
    write(found, args.json)


def records(folders: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every document of some folders of the corpus, as its record."""
    import peers

    found = peers._records(SHARED, folders)  # noqa: SLF001 - the tests' own reader of the corpus
    return [record for record in found if record.get("text")]


def sample(megabytes: float) -> list[str]:
    """Texts of every n-th document, of about so many megabytes in all."""
    texts = [record["text"] for record in records(FOLDERS)]
    total = sum(len(text.encode()) for text in texts)
    return texts[:: max(1, round(total / (megabytes * 1e6)))]


def speeds(megabytes: float, repeats: int) -> Iterator[Row]:
    """Yield MB/s of each text preparation, beside the peers that have it."""
    from dolmix.document import TextBatch
    from dolmix.filters import Language

    texts = sample(megabytes)
    batch = TextBatch.of(texts)
    size = batch.utf8.size / 1e6
    package, datatrove = peers_of(texts)
    mine = {text: Language(model=MODEL, text=text) for text in TEXTS}  # type: ignore[arg-type]
    jobs: dict[str, Callable[[], object]] = {
        text: lambda filter_=filter_: filter_.columns(batch) for text, filter_ in mine.items()
    }
    for job in jobs.values():
        job()  # compile
    jobs |= {"package": package, "filter": datatrove}
    best = dict.fromkeys(jobs, 1e9)
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            best[name] = min(best[name], time.process_time() - start)
    speed = {name: size / seconds for name, seconds in best.items()}
    for text, peer, label in (
        ("datatrove", "filter", "datatrove LanguageFilter"),
        ("datatrove", "package", "fasttext.predict"),
        ("dolma", "package", "fasttext.predict, not lowered"),
        ("dclm", "package", "fasttext.predict, newlines kept"),
    ):
        name = f"language, text: {text}, {len(texts):,} documents in all languages"
        yield {
            "name": name,
            "value": speed[text],
            "unit": "MB/s/core",
            "peer": label,
            "peer_value": speed[peer],
            "ratio": speed[text] / speed[peer],
        }


def in_other_words(megabytes: float, repeats: int) -> Iterator[Row]:
    """Yield MB/s on copies of the corpus, each in words of its own, beside the package."""
    from bench_corpus import corpus_records, substituted, substitution

    from dolmix.document import TextBatch
    from dolmix.filters import Language

    every = corpus_records(SHARED / "corpus_seed")
    total = sum(len(record["text"].encode()) for record in every)
    chosen = every[:: max(1, round(total / (megabytes * 1e6)))]
    filter_ = Language(model=MODEL)
    filter_.columns(TextBatch.of(["compile this"]))
    mine, its = [], []
    for key in range(1, repeats + 1):
        write = substituted(substitution(chosen, key), key)
        texts = [write(record) for record in chosen]
        batch = TextBatch.of(texts)
        package, _ = peers_of(texts)
        for job, speeds_ in ((lambda batch=batch: filter_.columns(batch), mine), (package, its)):
            start = time.process_time()
            job()
            speeds_.append(batch.utf8.size / 1e6 / (time.process_time() - start))
    yield {
        "name": f"language, text: datatrove, {len(chosen):,} documents in other words each time",
        "value": max(mine),
        "unit": "MB/s/core",
        "peer": "fasttext.predict",
        "peer_value": max(its),
        "ratio": max(mine) / max(its),
    }


def peers_of(texts: list[str]) -> tuple[Callable[[], object], Callable[[], object]]:
    """Give what asks the package about all texts, and what asks datatrove's filter."""
    import fasttext
    from datatrove.data import Document
    from datatrove.pipeline.filters import LanguageFilter

    model = fasttext.load_model(str(MODEL))
    lines = [text.replace("\n", " ") for text in texts]
    filter_ = LanguageFilter(languages=["en"])
    # it would download lid.176.bin; there is no public way to give it a model
    setattr(filter_.model, "_model", model)  # noqa: B010
    documents = [Document(text=text, id=str(n)) for n, text in enumerate(texts)]
    return lambda: model.predict(lines), lambda: [filter_.filter(d) for d in documents]


def accuracies() -> Iterator[Row]:
    """Yield the share of labelled documents that get their language, by language and text."""
    from dolmix.document import TextBatch
    from dolmix.filters import Language

    known = []
    for record in records(LABELLED):
        about = record.get("metadata") or {}
        language = about.get("lang") or about.get("language") or record.get("lang")
        if language:
            known.append((str(language).split("-")[0].lower(), record["text"]))
    batch = TextBatch.of([text for _, text in known])
    for text in TEXTS:
        filter_ = Language(model=MODEL, text=text)  # type: ignore[arg-type]
        labels = filter_.columns(batch)["label"].to_pylist()
        right: dict[str, list[bool]] = defaultdict(list)
        for (language, _), label in zip(known, labels, strict=True):
            right[language].append(label == language)
        every = [hit for hits in right.values() for hit in hits]
        for language, hits in [*sorted(right.items()), ("all", every)]:
            share = 100 * sum(hits) / len(hits)
            name = f"accuracy, text: {text}, {language} ({len(hits):,} documents)"
            yield {"name": name, "value": share, "unit": "%"}


if __name__ == "__main__":
    main()

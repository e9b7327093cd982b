"""Make the two classifiers that ship with dolmix, `ads` and `fluency`, with their cards.

python scripts/train_default_models.py                      both, into dolmix/learned/models
python scripts/train_default_models.py ads --output models  one, elsewhere
python scripts/train_default_models.py --check              train again, compare, write nothing
python scripts/train_default_models.py --cards              evaluate again, write the cards alone

It gathers labelled rows in runs/classifiers (from ../shared/data or DOLMIX_SHARED, and made here),
trains by configs/classifiers/<name>.yaml, whose licence gate lets no row of unclear licence train,
and prints the card. The same data, seed and fastText give the same bytes.
"""

import argparse
import gzip
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from classifier_faults import FAULTS, spoil
from classifier_letters import rewrite
from classifier_pages import UNSPACED, languages, make_page, make_prose, read_lists

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dolmix.learned.card import card_paths  # noqa: E402
from dolmix.learned.train import Training, split_rows, train, write_cards  # noqa: E402

Row: TypeAlias = dict[str, str]
DATA = Path(os.environ.get("DOLMIX_SHARED", ROOT.parent / "shared")) / "data"
ROWS = ROOT / "runs" / "classifiers"
OURS = "Apache-2.0 (made by scripts/train_default_models.py)"
FLUENT_FOLDERS = ("books", "papers", "reviews", "speeches")
SELLING = {"ds", "DS", "IP", "Info-Persuasion"}
LENGTHS = (60, 120, 250, 500, 1000, 2000, 4000)
PIECES, PROSE, REWRITTEN = 2400, 160, 0.5
"""Pieces of a folder, texts of a language, and share of these whose letters change places."""
PAGES, LABELLED = 350, "labelled/{}_train.jsonl.gz"
NOTES = {
    "ads": """\
`ad` is a text that sells or promotes: adverts, shop and company pages, spam messages, and headlines
made as bait.
Weak: adverts inside an answer that is otherwise plain (`native_ad_in_answer`), no better than
chance; pages that inform and sell at once; Arabic, Catalan, Hindi and Urdu pages; languages without
texts in scripts/classifier_texts.
See the precision of your language below before dropping anything by it.
Dropping adverts lowered the training loss and hurt downstream tasks in LLaMA-MoE
(arXiv:2406.16554): use it to report, or to sample; no recipe of dolmix drops by it.""",
    "fluency": """\
`fluent` is running text in the order that its language has; `nonfluent` has shuffled, dropped or
repeated words, keywords without sentences, or characters misread.
Weak: single sentences with one fault of grammar (`blimp_pairs`, `cola_*`, `jfleg_learner`), about
as good as chance; machine translation, little better; Chinese, Japanese and Thai, which put no
spaces between words; short texts without punctuation, such as titles and lists, in any language.
Of languages other than English it knows next to no words, and judges by how a text looks.""",
}
"""What the cards say; a sentence that begins a line after a full stop begins a note."""


def read(path: str) -> list[dict[str, Any]]:
    """Read the records of one JSONL file of the shared data."""
    from dolmix.files.paths import format_of
    from dolmix.files.streams import read_blocks

    text = b"".join(read_blocks(str(DATA / path), format_of(path)[1]))
    return [json.loads(line) for line in text.split(b"\n") if line.strip()]


def documents(folder: str) -> Iterator[dict[str, Any]]:
    """Read the records of all JSONL files of one folder of the corpus."""
    for path in sorted((DATA / "corpus_seed" / folder).glob("*.jsonl.*")):
        yield from read(str(path.relative_to(DATA)))


def row(text: str, label: str, task: str, lang: str, licence: str, group: str) -> Row:
    """One labelled row."""
    names = ("text", "label", "task", "lang", "license", "group")
    return dict(zip(names, (text, label, task, lang, licence, group), strict=True))


def piece(rng: random.Random, text: str) -> str:
    """Cut a piece of a text at white space, of one of several lengths."""
    size = rng.choice(LENGTHS)
    start = rng.randrange(max(1, len(text) - size))
    cut = text[start : start + size]
    return cut.split(None, 1)[-1].rsplit(None, 1)[0] if " " in cut.strip() else cut


def fluent_pieces(rng: random.Random, per_folder: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pieces of the folders of books, papers, reviews and speeches, with their documents."""
    for folder in FLUENT_FOLDERS:
        found = list(documents(folder))
        for _ in range(per_folder):
            document = rng.choice(found)
            yield piece(rng, document["text"]), document


def half(source: str) -> str:
    """Say whether rows of a source may choose settings (`dev`), or are reported alone (`final`).

    Both halves serve evaluation only: their licences let no row of them train.
    """
    digest = blake2b(source.encode(), digest_size=8, key=b"halves").digest()
    return "dev" if digest[0] & 1 else "final"


def campaign(text: str) -> str:
    """Name what messages of one origin share: their first letters, without numbers."""
    return "message " + re.sub(r"[\W\d]", "", text.lower())[:20]


def pages(rng: random.Random, part: str, count: int) -> Iterator[tuple[str, str, bool]]:
    """Made pages: (text, language, whether it is an advert)."""
    for lang in languages():
        lists = read_lists(lang, part)
        for n in range(count * (2 if lang == "en" else 1) * 2):
            yield make_page(rng, lang, lists, advert=n % 2 == 0), lang, n % 2 == 0


def ads_rows() -> Iterator[Row]:
    """Rows of the classifier `ads`."""
    rng = random.Random("dolmix ads 1")  # noqa: S311 - draws of a data set
    for one in read(LABELLED.format("ads")):
        label = "clean" if one["label"] == "clean" else "ad"
        group = one.get("pair") or campaign(one["text"])
        yield row(one["text"], label, one["task"], one["lang"], one["license"], group)
    for part in ("train", "held out"):
        for n, (text, lang, advert) in enumerate(
            pages(rng, part, PAGES if part == "train" else 40)
        ):
            task = "made_page" if part == "train" else "made_page_new_sentences"
            yield row(text, "ad" if advert else "clean", task, lang, OURS, f"{part} {n}")
    for text, one in fluent_pieces(rng, 400):
        about = one["metadata"]
        yield row(text, "clean", "clean_text", about["lang"], about["license"], one["id"])
    for one in documents("web_multilingual"):
        about = one["metadata"]
        label = "ad" if SELLING & set(about["register"]) else "clean"
        task = f"web_page_{half(one['id'])}"
        yield row(one["text"], label, task, about["lang"], about["license"], one["id"])


def fluency_rows() -> Iterator[Row]:
    """Rows of the classifier `fluency`."""
    rng = random.Random("dolmix fluency 1")  # noqa: S311 - draws of a data set
    for one in read(LABELLED.format("fluency")):
        task = "blimp_pairs" if one["task"].startswith("blimp") else one["task"]
        yield row(one["text"], one["label"], task, one["lang"], one["license"], one["task"])
    for text, one in fluent_pieces(rng, PIECES):
        about = one["metadata"]
        yield from _pair(rng, text, about["lang"], about["license"], one["id"])
    for part in ("train", "held out"):
        for lang in languages():
            lists = read_lists(lang, part)
            for n in range(PROSE if part == "train" else PROSE // 10):
                text = make_prose(rng, lang, lists)
                if n % 4:
                    text = make_page(rng, lang, lists, advert=n % 2 == 0, alone=False)
                if part == "train" and lang not in UNSPACED and rng.random() < REWRITTEN:
                    text = rewrite(rng, text)
                yield from _pair(rng, text, lang, OURS, f"{part} {lang} {n}")
    for one in documents("wiki"):
        text, task = (
            " ".join(piece(rng, one["text"]).split()),
            f"wiki_and_spoiled_{half(one['id'])}",
        )
        yield row(text, "fluent", task, *_about(one))
        spoilt = spoil(rng, text, rng.choice(list(FAULTS)))
        yield row(spoilt, "nonfluent", task, *_about(one))
    for one in documents("web_quality_labelled"):
        label = "fluent" if one["metadata"]["quality_label"] else "nonfluent"
        licence = one["metadata"]["license"]
        task = f"human_quality_{half(one['id'])}"
        yield row(one["text"], label, task, "en", licence, one["id"])


def _pair(rng: random.Random, text: str, lang: str, licence: str, group: str) -> Iterator[Row]:
    """Yield a text as it is and spoilt by one fault, as rows of that fault's task."""
    fault = rng.choice(list(FAULTS))
    yield row(text, "fluent", fault, lang, licence, group)
    yield row(spoil(rng, text, fault), "nonfluent", fault, lang, licence, group)


def _about(document: dict[str, Any]) -> tuple[str, str, str]:
    about = document["metadata"]
    return about.get("lang", "unknown"), about["license"], document["id"]


MAKERS: dict[str, Callable[[], Iterator[Row]]] = {"ads": ads_rows, "fluency": fluency_rows}


def write_rows(name: str) -> None:
    """Write the rows of a classifier where its configuration reads them.

    Pages made of sentences that no page to train on has go to a file of their own.
    """
    ROWS.mkdir(parents=True, exist_ok=True)
    with _compressed(f"{name}.jsonl.gz") as rows, _compressed(f"{name}-new.jsonl.gz") as new:
        for one in MAKERS[name]():
            line = json.dumps(one, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
            (new if one["group"].startswith("held out ") else rows).write(line)


def _compressed(name: str) -> gzip.GzipFile:
    return gzip.GzipFile(ROWS / name, "wb", compresslevel=3, mtime=0)


def make(name: str, folder: Path, overrides: list[str], *, cards_only: bool) -> Path:
    """Make one model with its card in a folder, by its configuration, or the card alone."""
    from dolmix.config import load

    write_rows(name)
    given = [f"output={json.dumps(str(folder / name) + '.ftz')}", *overrides]
    config = load(Training, ROOT / "configs" / "classifiers" / f"{name}.yaml", given)
    folder.mkdir(parents=True, exist_ok=True)
    config = config.model_copy(update={"notes": _notes(name)})
    return (write_cards(config, *split_rows(config)) if cards_only else train(config)).path


def _notes(name: str) -> tuple[str, ...]:
    sentences = re.split(r"(?<=[.])\n(?=[A-Z`])", NOTES[name])
    return tuple(sentence.replace("\n", " ") for sentence in sentences)


def main() -> int:
    """Make what was asked for, print the cards; under --check return 1 for other bytes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="ads, fluency (default: both)")
    parser.add_argument("--output", type=Path, default=ROOT / "dolmix" / "learned" / "models")
    parser.add_argument("--check", action="store_true", help="compare with what is there")
    parser.add_argument("--cards", action="store_true", help="write the cards of what is there")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other settings")
    given = parser.parse_args()
    output, differ = given.output.resolve(), 0
    os.chdir(ROOT)  # the configurations name files from here
    for name in given.names or list(MAKERS):
        with tempfile.TemporaryDirectory() as folder:
            where = Path(folder) if given.check else output
            made = make(name, where, given.set, cards_only=given.cards)
            if given.check:
                same = made.read_bytes() == (output / made.name).read_bytes()
                differ += not same
                print(f"{name}: {'the same bytes' if same else 'OTHER BYTES'}")
            else:
                print(card_paths(made)[1].read_text(encoding="utf-8"))
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())

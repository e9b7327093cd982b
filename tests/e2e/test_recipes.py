"""The recipes that people know by name run on folders of real documents, as they are."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import builders
import pytest
import warc_files
import yaml
from peers import needs

from dolmix.config import load, parse
from dolmix.files.streams import read_blocks
from dolmix.files.warc import Record, read_records
from dolmix.learned.fit import Fitting, fit
from dolmix.pipeline.engine import run_pipeline
from dolmix.pipeline.funnel import Funnel, funnels
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.why import why
from dolmix.shards import open_store, verify
from dolmix.tokenizer import Tokenizer, TokenizerConfig

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = ("jo.planted@example.net", "93.184.216.34")
PERSONAL = f" Write to {ADDRESSES[0]} or see {ADDRESSES[1]} for more."
INSULT = "You are a scoundrel and a villain."
GERMAN = (
    "Die Fähre fährt im Sommer zweimal am Tag auf die Insel und im Winter nur einmal. "
    "Wer nicht warten will, nimmt das kleine Boot am alten Hafen hinter der Kirche. "
    "Dort verkauft eine Frau Brot, Käse und Äpfel aus ihrem eigenen Garten am Hang. "
    "Am Abend sitzen die Leute vor ihren Häusern und erzählen von früheren Zeiten. "
    "Manche von ihnen haben die Insel in ihrem ganzen Leben noch nie verlassen. "
)


@dataclass(frozen=True)
class Run:
    """A recipe's run: its folder, each source's funnel, the texts of its store."""

    folder: Path
    funnels: dict[str, Funnel]
    texts: dict[str, list[str]]

    def dropped(self, *ids: str) -> list[str | None]:
        """Reasons of some documents, null for those that were kept."""
        return [why(self.folder, id_)[0].reason for id_ in ids]


def full_recipe(name: str) -> dict[str, Any]:
    """Read a recipe with the filters that it has as comments."""
    text = (ROOT / "configs" / "pipelines" / f"{name}.yaml").read_text()
    commented = re.compile(r"^( +)# (- \{type:|   \w+:)", re.MULTILINE)
    found: dict[str, Any] = yaml.safe_load(commented.sub(r"\1\2", text))
    return found


@pytest.fixture
def run_recipe(tmp_path: Path, tiny_tokenizer: Path, lid_model: Path) -> Callable[..., Run]:
    """Run a recipe over other inputs, and hold it to what every run promises.

    `full` uses the filters that the recipe has as comments.
    """

    def run(name: str, *overrides: str, full: bool = False, **inputs: str) -> Run:
        given = [f"sources.{source}.inputs=[{path}]" for source, path in inputs.items()]
        given += [f"output={tmp_path / 'run'}", f"tokenizer.path={tiny_tokenizer}", *overrides]
        if name != "dolma-code":
            given += [f"sources.web.filters.language.model={lid_model}"]
        given += ["executor.workers=1"]
        path = ROOT / "configs" / "pipelines" / f"{name}.yaml"
        if full:
            path = tmp_path / path.name
            path.write_text(yaml.safe_dump(full_recipe(name)))
        recipe = load(Pipeline, path, given)
        plan = run_pipeline(recipe, quiet=True)
        made = {funnel.source: funnel for funnel in funnels(plan)}
        tokenizer = Tokenizer(TokenizerConfig(path=tiny_tokenizer))
        texts = {}
        for source, funnel in made.items():
            assert funnel.kept + sum(funnel.dropped.values()) == funnel.documents
            assert verify(tmp_path / "run" / funnel.store) == []
            with open_store(tmp_path / "run" / funnel.store) as store:
                assert store.num_documents == funnel.kept > 0
                spans = [store.document_span(n) for n in range(store.num_documents)]
                texts[source] = [tokenizer.decode(store.tokens(*span)) for span in spans]
        return Run(tmp_path / "run", made, texts)

    return run


def sampled(shared: Path, folder: str, one_in: int) -> list[dict[str, Any]]:
    """Documents of a folder of the corpus whose id's hash says so, one in so many."""
    found = []
    for path in sorted((shared / "corpus_seed" / folder).glob("*.jsonl.*")):
        compression: Any = path.suffix.removeprefix(".")
        for line in b"".join(read_blocks(str(path), compression)).split(b"\n"):
            record = json.loads(line) if line else {"id": ""}
            digest = blake2b(record["id"].encode(), digest_size=8).digest()
            if line and int.from_bytes(digest) % one_in == 0:
                found.append(record)
    return found


def web_documents() -> list[dict[str, Any]]:
    """Planted pages, named by what becomes of them."""
    texts = {
        "kept": builders.prose(1, 200) + PERSONAL,
        "german": GERMAN * 3,
        "short": "Two words.",
        "again": builders.prose(3, 200),
        "same": builders.prose(3, 200),
    }
    return [builders.document(0, text) | {"id": id_} for id_, text in texts.items()]


@pytest.mark.parametrize(("name", "left_out"), [("olmoe", 1), ("dolma-web", 3)])
def test_filters_that_a_recipe_leaves_out_load(name: str, left_out: int) -> None:
    """Those that need a model or lists of one's own stand there as comments, ready to be used."""
    short = yaml.safe_load((ROOT / "configs" / "pipelines" / f"{name}.yaml").read_text())
    filters = parse(Pipeline, full_recipe(name), origin=name).sources["web"].filters
    assert len(filters) == len(short["sources"]["web"]["filters"]) + left_out


@pytest.mark.corpus
def test_fineweb(run_recipe: Callable[..., Run], shared: Path, tmp_path: Path) -> None:
    """Every response has an end: by URL, language and near-duplicate; addresses are masked."""
    needs("trafilatura")
    needs("resiliparse")
    needs("tldextract")
    needs("spacy")
    crawl = shared / "corpus_seed" / "web_warc" / "commoncrawl-12pages.warc.gz"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "crawl.warc.gz").write_bytes(crawl.read_bytes())
    pages = {page["id"]: page["text"] for page in web_documents()}
    pages["same"] = pages["same"].replace("river", "rivers", 1)
    addresses = dict.fromkeys(pages, "https://example.org/a") | {"banned": _banned_url()}
    pages["banned"] = builders.prose(9, 200)
    records = [
        warc_files.record(
            warc_files.response(warc_files.page(text)), id_=id_, WARC_Target_URI=addresses[id_]
        )
        for id_, text in pages.items()
    ]
    (tmp_path / "in" / "planted.warc.gz").write_bytes(warc_files.gzipped(records))
    found = run_recipe("fineweb", web=str(tmp_path / "in" / "*.warc.gz"))
    web = found.funnels["web"]
    items = read_records(str(crawl), "gz", max_bytes=1 << 30)
    of_crawl = Counter(item.type for item in items if isinstance(item, Record))
    assert web.documents == of_crawl["response"] + len(pages)
    assert web.warc_records == of_crawl + Counter(response=len(pages))
    assert found.dropped("banned", "german", "short", "kept", "again", "same") == [
        "url.banned_word",
        "language.label",
        "repetition.top_2gram_char_frac",
        None,
        None,
        "minhash.duplicate",
    ]
    (masked,) = [text for text in found.texts["web"] if "Write to" in text]
    assert "Write to email@example.com or see 22.214.171.124 for more" in masked
    assert not any(address in text for text in found.texts["web"] for address in ADDRESSES)


def _banned_url() -> str:
    """Address with the first word that datatrove bans."""
    package: Any = find_spec("datatrove")
    assets = Path(package.submodule_search_locations[0]) / "assets"
    words = (assets / "banned_words.txt").read_text().split()
    return f"https://example.org/{next(word for word in words if word.isalnum())}/1"


def own_filters(folder: Path) -> list[str]:
    """Train a model that knows INSULT, write a list of words; give the overrides that use them."""
    rows = [("non_toxic", sentence) for sentence in builders.prose(40, 3000).split(". ")]
    rows += [("toxic", f"{INSULT} {word}") for word in builders.WORDS] * 10
    small = Fitting(dim=8, max_chars=0, min_chars=0, buckets=5_000, quantise=False)
    fit(rows, small, folder / "toxic.bin")
    (folder / "en.txt").write_text("naughtyword\n")
    models = [f"sources.web.filters.{name}.model={folder}/toxic.bin" for name in ("toxic", "nsfw")]
    labels = "sources.web.filters.nsfw.labels=[toxic]"
    return [*models, labels, f"sources.web.filters.adult.lists=[{folder}/en.txt]"]


@pytest.mark.corpus
def test_dolma_web(run_recipe: Callable[..., Run], shared: Path, tmp_path: Path) -> None:
    """Lines without an end go, a page with six addresses too; five are masked; copies go.

    With a model and a list of one's own in the filters that the recipe has as comments, the one
    toxic sentence of a page and a listed line go too.
    """
    needs("blingfire")
    planted = web_documents()
    first = builders.prose(1, 200)
    mails = " ".join(f"Ask person{n}@example.net now." for n in range(6))
    lines = "\n".join(builders.prose(n, 30) for n in range(20, 30))
    planted += [
        builders.document(1, f"Home | News | About us\n{builders.prose(4, 200)}") | {"id": "menu"},
        builders.document(2, f"{builders.prose(5, 200)} {mails}") | {"id": "mails"},
        builders.document(3, f"{builders.prose(6, 900)} {'ha ' * 120}.") | {"id": "haha"},
        builders.document(4, lines) | {"id": "lines"},
        builders.document(5, f"{lines}\n{builders.prose(7, 60)}") | {"id": "lines too"},
        builders.document(6, f"{builders.prose(9, 99)} {INSULT} {builders.prose(10, 99)}"),
        builders.document(7, f"{builders.prose(11, 99)}\nA naughtyword stands in this line."),
        builders.document(0, builders.prose(8, 200)) | {"id": "page twice"},
    ]
    for number, page in enumerate(planted[:-1]):
        page["metadata"] = {"url": f"https://example.org/{number}"}
    planted[-1]["metadata"] = {"url": "http://www.example.org/0/"}
    assert first in planted[0]["text"]
    builders.write_jsonl(tmp_path / "in" / "a.jsonl.gz", planted)
    real = sampled(shared, "web_cc", 8) + sampled(shared, "web_messy", 30)
    builders.write_jsonl(tmp_path / "in" / "b.jsonl.gz", real)
    settings = own_filters(tmp_path)
    found = run_recipe("dolma-web", *settings, full=True, web=str(tmp_path / "in" / "*"))
    ends = {
        "doc-6": None,
        "doc-7": None,
        "kept": None,
        "menu": None,
        "german": "language.label",
        "short": "gopher.word_count_low",
        "mails": "pii.count",
        "haha": "repeats.times",
        "same": "exact.duplicate",
        "page twice": "urls.duplicate",
        "lines too": "paragraphs.duplicate_frac",
    }
    assert dict(zip(ends, found.dropped(*ends), strict=True)) == ends
    texts = found.texts["web"]
    for gone in ("Home | News", "scoundrel", "naughtyword"):
        assert not any(gone in text for text in texts)
    assert not any(address in text for text in texts for address in ADDRESSES)
    (masked,) = [text for text in texts if "Write to" in text]
    assert "Write to |||EMAIL_ADDRESS||| or see  |||IP_ADDRESS|||  for more." in masked
    assert found.funnels["web"].documents == len(planted) + len(real)
    assert len(texts) > len(real) / 4


@pytest.mark.corpus
def test_dolma_code(run_recipe: Callable[..., Run], shared: Path, tmp_path: Path) -> None:
    """Tables and keys go, long lines and files without comments too; addresses are masked."""
    needs("regex")
    needs("bs4")
    needs("pygments")
    source = '"""Count the boats in the harbour."""\n\nboats = {}\n' + "".join(
        f"boats['{word}'] = '{word} of the harbour'  # {word}\n" for word in builders.WORDS
    )
    key = "-----BEGIN RSA " + "PRIVATE KEY-----"
    texts = {
        "kept.py": (source + f"MAIL = '{ADDRESSES[0]}'  # whom to ask\n", "Python"),
        "table.csv": ("a,b,c\n1,2,3\n", "CSV"),
        "key.py": (source + f"\nKEY = '''{key}'''\n", "Python"),
        "long.py": (source + "x = '" + "abcd " * 300 + "'\n", "Python"),
        "bare.py": ("harbour = boats\n" * 40, "Python"),
        "copy.py": (source + f"MAIL = '{ADDRESSES[0]}'  # whom to ask\n", "Python"),
    }
    planted = [
        builders.document(0, text, language=language, ext=id_.partition(".")[2]) | {"id": id_}
        for id_, (text, language) in texts.items()
    ]
    real = sampled(shared, "code", 12)
    builders.write_jsonl(tmp_path / "in" / "a.jsonl.gz", planted)
    builders.write_jsonl(tmp_path / "in" / "b.jsonl.gz", real)
    found = run_recipe("dolma-code", code=str(tmp_path / "in" / "*"))
    assert found.dropped(*texts) == [
        "exact.duplicate",
        "languages.listed",
        "secrets.private_key",
        "code.max_line_length",
        "code.comment_frac_low",
        None,
    ]
    (masked,) = [text for text in found.texts["code"] if "whom to ask" in text]
    assert "MAIL = |||EMAIL_ADDRESS||| # whom to ask" in masked
    assert found.funnels["code"].documents == len(planted) + len(real)
    assert len(found.texts["code"]) > len(real) / 2


@pytest.mark.corpus
def test_olmoe(run_recipe: Callable[..., Run], shared: Path, tmp_path: Path) -> None:
    """The repository with one star goes, as do files of one word, and repeats in any source."""
    needs("uniseg")
    repeats = f"{builders.prose(1, 300)} {'lorem ' * 40}."
    often = builders.prose(2, 200)
    planted = {
        "wiki": {"wiki repeats": repeats, "wiki kept": often},
        "papers": {"papers repeats": repeats},
        "code": {"no stars": often, "one word": "x " * 10 + "y z u v w", "often code": often},
        "web": {"german": GERMAN * 3, "short": "Two words.", "often": often},
    }
    stars = {"one word": {"stars": 7}, "often code": {"stars": "7"}}
    code = sampled(shared, "code", 6)
    lonely = [d["id"] for d in code if d["metadata"]["stars"] < 2]
    assert lonely
    real = {
        "wiki": sampled(shared, "wiki", 10),
        "papers": sampled(shared, "papers", 2),
        "code": code,
        "web": sampled(shared, "web_cc", 10),
    }
    for source, texts in planted.items():
        documents = [
            builders.document(0, text, **stars.get(id_, {})) | {"id": id_}
            for id_, text in texts.items()
        ]
        builders.write_jsonl(tmp_path / "in" / f"{source}.jsonl.gz", documents + real[source])
    inputs = {source: str(tmp_path / "in" / f"{source}.jsonl.gz") for source in planted}
    found = run_recipe("olmoe", **inputs)
    ends = {
        "wiki repeats": "periodic.times",
        "papers repeats": "periodic.times",
        "wiki kept": None,
        "no stars": "stars.stars_missing",
        "one word": "word_share.top1_frac",
        "often code": "exact.duplicate",
        "german": "language.label",
        "short": "gopher.word_count_low",
        "often": "exact.duplicate",
    }
    assert dict(zip(ends, found.dropped(*ends), strict=True)) == ends
    assert found.dropped(*lonely) == ["stars.stars"] * len(lonely)
    assert found.funnels["code"].dropped["stars.stars"] == len(lonely)
    for source, documents in real.items():
        assert found.funnels[source].documents == len(planted[source]) + len(documents)
        assert len(found.texts[source]) > len(documents) / 3

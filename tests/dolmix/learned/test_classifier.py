"""`dolmix classifier`: from rows to a model with its card, figures, and a threshold."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import orjson
import pytest
import yaml
from commands import command, environment

from dolmix.config import load, parse
from dolmix.document import TextBatch
from dolmix.errors import DataError, FilterError
from dolmix.files.commit import file_digest
from dolmix.filters import Classifier
from dolmix.learned import builtin
from dolmix.learned.calibrate import Calibration, calibrate
from dolmix.learned.card import card_paths, read_card
from dolmix.learned.evaluate import Evaluation, evaluate
from dolmix.learned.hand_rules import RULES
from dolmix.learned.train import Training, train
from dolmix.text.builtin_models import NAMES
from dolmix.text.classifier_text import TRAINING_TEXTS, spaced
from dolmix.text.shape_ratios import FEATURES

ROOT = Path(__file__).resolve().parents[3]
MOST_BYTES = 1_500_000
COLOURS = ("red", "old", "big", "new", "blue", "tiny", "grey", "warm")
THINGS = [f"{a} {b}" for a in COLOURS for b in ("lamp", "coat", "chair", "bus")]
SELLING = ("Buy our {} now, only $9!", "Order a {} today with free shipping.", "Best {} for sale.")
TELLING = ("He saw the {} by the river.", "The {} was lost in the war.", "Nobody knew the {} then.")


def labelled() -> list[dict[str, str]]:
    """Rows of two tasks and two licences; the texts of a group share a thing."""
    return [
        {
            "id": f"{n}-{label}-{kind}",
            "text": text.format(thing),
            "label": label,
            "task": "shop" if n % 2 else "news",
            "lang": "en" if n % 3 else "de",
            "license": "CC0" if kind else "CC BY-SA 4.0",
            "thing": thing,
        }
        for n, thing in enumerate(THINGS)
        for label, texts in (("ad", SELLING), ("clean", TELLING))
        for kind, text in enumerate(texts)
    ]


def write_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as JSONL."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of rows, a configuration, and the model that it trains."""
    folder = tmp_path_factory.mktemp("classifier")
    rows = write_lines(folder / "rows.jsonl", labelled())
    config = {
        "name": "shop",
        "positive": "ad",
        "worst": "high",
        "held_out_frac": 0.3,
        "rows": [{"inputs": [str(rows)], "group_field": "thing", "licences": "open"}],
        "fitting": {"dim": 8, "buckets": 4096, "keep_features": 512, "epochs": 30, "min_count": 1},
        "output": str(folder / "shop.ftz"),
    }
    (folder / "shop.yaml").write_text(yaml.safe_dump(config))
    train(load(Training, folder / "shop.yaml"))
    return folder


def dolmix(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the command line."""
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, check=False
    )


def test_a_card_says_what_a_model_was_made_of(folder: Path) -> None:
    """Data with licences and row counts, settings, versions, digest, figures, thresholds."""
    model = folder / "shop.ftz"
    card = read_card(model)
    assert card is not None
    assert card["digest"] == file_digest(model)
    assert card["bytes"] == model.stat().st_size
    assert {row["licence"] for row in card["trained_on"]} == {"CC0"}
    assert card["settings"]["fitting"]["seed"] == 1
    assert {"dolmix", "fasttext-numpy2-wheel"} <= set(card["versions"])
    open_rows = sum(row["license"] == "CC0" for row in labelled())
    trained = sum(row["rows"] for row in card["trained_on"])
    assert trained + card["held_out"]["all"]["rows"] == open_rows
    assert card["elsewhere"]["all"]["rows"] == len(labelled()) - open_rows
    tasks = {(row["task"], row["lang"]) for row in card["elsewhere"]["by_task"]}
    assert {("shop", "all"), ("shop", "en"), ("news", "all")} <= tasks
    assert len(card["held_out"]["thresholds"]) == 9
    text = card_paths(model)[1].read_text()
    assert card["digest"] in text
    assert "| shop | all |" in text


def test_a_card_of_another_model_is_no_card(folder: Path, tmp_path: Path) -> None:
    """A model that was replaced does not get the old one's settings."""
    other = tmp_path / "shop.ftz"
    other.write_bytes((folder / "shop.ftz").read_bytes() + b"\0")
    card_paths(other)[0].write_bytes(card_paths(folder / "shop.ftz")[0].read_bytes())
    assert read_card(other) is None


def test_evaluating_gives_the_card_s_figures(folder: Path, tmp_path: Path) -> None:
    """Rows that may not train, evaluated again from their file, give the card's numbers."""
    closed = [row for row in labelled() if row["license"] != "CC0"]
    rows = write_lines(tmp_path / "closed.jsonl", closed)
    config = parse(Evaluation, {"rows": [{"inputs": [str(rows)]}]}, origin="test")
    found, card = evaluate(folder / "shop.ftz", config), read_card(folder / "shop.ftz")
    assert card is not None
    assert found["by_task"] == card["elsewhere"]["by_task"]
    prior = found["all"]["positive"] / found["all"]["rows"]
    assert found["baselines"]["constant"]["all"] == pytest.approx(prior)
    assert found["all"]["average_precision"] > prior


def test_labels_can_be_renamed(folder: Path, tmp_path: Path) -> None:
    """`labels: {spam: ad}` counts spam as adverts."""
    renamed = [dict(row, label="spam") if row["label"] == "ad" else row for row in labelled()]
    rows = write_lines(tmp_path / "rows.jsonl", renamed)
    for labels, expected in (({}, 0), ({"spam": "ad"}, len(labelled()) // 2)):
        raw = {"rows": [{"inputs": [str(rows)], "labels": labels}]}
        found = evaluate(folder / "shop.ftz", parse(Evaluation, raw, origin="test"))
        assert found["all"]["positive"] == expected


def test_rows_without_a_label_are_no_evaluation(folder: Path, tmp_path: Path) -> None:
    """A field that is not there is named in the error."""
    rows = write_lines(tmp_path / "rows.jsonl", labelled())
    raw = {"rows": [{"inputs": [str(rows)], "label_field": "lable"}]}
    with pytest.raises(DataError, match=r"no labelled rows.*'label_field'"):
        evaluate(folder / "shop.ftz", parse(Evaluation, raw, origin="test"))


def test_two_sources_train_a_classifier(tmp_path: Path) -> None:
    """Positives in one file and negatives in another need no labels in their rows."""
    for label in ("ad", "clean"):
        write_lines(tmp_path / f"{label}.jsonl", [r for r in labelled() if r["label"] == label])
    raw = {
        "name": "two",
        "positive": "good",
        "rows": [
            {"inputs": [str(tmp_path / "clean.jsonl")], "label": "good"},
            {"inputs": [str(tmp_path / "ad.jsonl")], "label": "bad"},
        ],
        "fitting": {"dim": 8, "buckets": 4096, "epochs": 20, "quantise": False, "threads": 2},
        "output": str(tmp_path / "two.bin"),
    }
    made = train(parse(Training, raw, origin="test"))
    assert {row["label"] for row in made.card["trained_on"]} == {"good", "bad"}
    assert made.card["held_out"]["all"]["average_precision"] > 0.9


def test_calibrating_holds_on_the_other_half(tmp_path: Path) -> None:
    """A builtin model's threshold drops the share of documents that it was not made from.

    One half alone by chance: within three standard errors; all, each by the other half's, closer.
    """
    texts = [f"{a.format(t)} {b.format(t)} {n}" for n, t in enumerate(THINGS * 16)
             for a in (*SELLING, *TELLING) for b in (*SELLING, *TELLING)]  # fmt: skip
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    path = write_lines(tmp_path / "docs.jsonl", rows)
    found = calibrate(builtin("ads"), Calibration(inputs=(str(path),), frac=0.3))
    assert found["documents"] == len(rows)
    assert found["worst"] == "high"
    assert found["held_out_error"] == pytest.approx((4 * 0.3 * 0.7 / len(rows)) ** 0.5, rel=0.05)
    for share in found["held_out_halves"]:
        assert abs(share - 0.3) < 3 * found["held_out_error"]
    assert abs(found["held_out_dropped_frac"] - 0.3) < 0.01
    assert 0.3 - 2 / len(rows) < found["dropped_frac"] <= 0.3


@pytest.mark.corpus
@pytest.mark.parametrize("name", NAMES)
def test_calibrating_lands_within_a_point_on_real_documents(shared: Path, name: str) -> None:
    """Of 10,300 real pages half or 15 % go, each judged by a limit found without it.

    One half alone is as far off as chance has it.
    """
    frac = {"fluency": 0.5, "ads": 0.15}[name]
    folders = (
        "web_cc",
        "web_messy",
        "web_multilingual",
        "web_line_labelled",
        "reviews",
        "web_docs",
    )
    inputs = tuple(str(shared / "corpus_seed" / name / "*") for name in folders)
    found = calibrate(builtin(name), Calibration(inputs=inputs, frac=frac))
    assert found["documents"] > 10_000
    assert abs(found["held_out_dropped_frac"] - frac) <= 0.005
    assert all(abs(h - frac) < 3 * found["held_out_error"] for h in found["held_out_halves"])


@pytest.mark.parametrize("name", NAMES)
def test_builtin_models_are_small_and_carded(name: str) -> None:
    """Each ships under 1.5 MB, with a card that is its own and trained on open licences alone."""
    path = builtin(name)
    assert path.stat().st_size < MOST_BYTES
    card = read_card(path)
    assert card is not None, "retrain: python scripts/train_default_models.py"
    config = load(Training, ROOT / "configs" / "classifiers" / f"{name}.yaml")
    settings = config.model_dump(mode="json")
    assert {k: settings[k] for k in card["settings"]} == card["settings"]
    assert len({row["lang"] for row in card["trained_on"]}) >= 6
    licences = {row["licence"] for row in card["trained_on"]}
    assert not [text for text in licences if "-SA" in text or "-NC" in text or "unclear" in text]


def test_other_builtin_names_are_refused() -> None:
    """The message lists what ships."""
    with pytest.raises(
        FilterError, match="no model 'spam' ships with dolmix; there are ads, fluency"
    ):
        builtin("spam")


@pytest.mark.parametrize("name", NAMES)
def test_hand_rules_are_shares_of_ten(name: str) -> None:
    """Any text gets a score of tenths; a plain sentence and an advert are on different sides."""
    rules = RULES[name]
    for text in ("", "\n", "!!!", "Buy now! $9.99 call 0800 123456 www.x.com OUR BEST SALE"):
        assert (rules(text) * 10) % 1 == pytest.approx(0, abs=1e-9)
    advert, plain = "BUY NOW! SALE! Only $9.99! Call +44 800 123456, www.shop.com!", "He went home."
    assert (rules(advert) > rules(plain)) == (name == "ads")


@pytest.mark.parametrize("name", NAMES)
def test_the_filter_gives_the_scores_of_the_package(name: str) -> None:
    """What the filter says of a text is what fastText says of it prepared as for training."""
    import fasttext

    card = read_card(builtin(name))
    assert card is not None
    settings = card["settings"]
    prepare = TRAINING_TEXTS[settings["text"]]
    texts = [*(text.format("lamp") for text in (*SELLING, *TELLING)), " ".join(THINGS * 9)]
    texts += ["政府は火曜日に述べた。", "ΣΑΣ ΟΔΟΣ", "Der Preis, 12 Euro!\nNa ja.", ""]
    package = fasttext.FastText.load_model(str(builtin(name))).f
    filter_ = parse(Classifier, {"name": name, "model": "builtin"}, origin="test")
    found = filter_.columns(TextBatch.of(texts))["score"].to_pylist()
    for text, score in zip(texts, found, strict=True):
        line = prepare(text).replace("\n", " ") + "\n"
        chances = {label: prob for prob, label in package.predict(line, -1, 0.0, "strict")}
        expected = chances.get(f"__label__{settings['positive']}")
        assert score == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_preparations_are_their_definitions() -> None:
    """`spaced` sets wide characters apart and lower-cases; `dclm` joins lines by spaces.

    `shaped` is `spaced` and then one word for each ratio, all of private-use characters, twice.
    """
    told = TRAINING_TEXTS["shaped"]("Buy 新品\nNow")
    assert told.startswith(spaced("Buy 新品\nNow"))
    added = told.removeprefix(spaced("Buy 新品\nNow")).split()
    assert len(added) == 2 * FEATURES == 2 * len(set(added))
    assert all("\ue000" <= word[0] < "\uf000" for word in added)
    assert spaced(" Buy 新品かな\nNow ") == "buy  新  品  か  な  now"
    assert spaced("Ünïcode ASCII") == "ünïcode ascii"
    assert TRAINING_TEXTS["dclm"](" a\x0bb\u2028c\nd ") == "a b c d"
    assert TRAINING_TEXTS["dolma"]("A\nB ") == "a b"
    assert TRAINING_TEXTS["datatrove"]("A\nB ") == "A B "


def test_the_command_line_trains_evaluates_and_calibrates(folder: Path, tmp_path: Path) -> None:
    """Train with an override, then read both answers as JSON; figures as a table otherwise."""
    output = tmp_path / "mine.ftz"
    done = dolmix(
        "classifier", "train", folder / "shop.yaml", f"output={output}", "fitting.seed=4", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["fitting"]["seed"] == 4
    done = dolmix("classifier", "evaluate", output, folder / "rows.jsonl", "threshold=0.4")
    assert done.returncode == 0, done.stderr
    assert "AP constant" in done.stdout
    assert "news" in done.stdout
    done = dolmix("classifier", "calibrate", output, folder / "rows.jsonl", "frac=0.25", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dropped_frac"] <= 0.25


def test_command_line_mistakes_exit_with_2(folder: Path) -> None:
    """A misspelt setting is named with what was meant; no file is a usage error."""
    done = dolmix("classifier", "calibrate", folder / "shop.ftz", folder / "rows.jsonl", "fraq=0.2")
    assert done.returncode == 2
    assert "frac" in done.stderr
    done = dolmix("classifier", "evaluate", "ads", "threshold=0.2")
    assert done.returncode == 2
    assert "at least one file" in done.stderr


@pytest.mark.corpus
@pytest.mark.parametrize("name", NAMES)
def test_the_cards_of_builtin_models_are_true(shared: Path, name: str) -> None:
    """Labelled rows that may not train, scored again, give the card's figures, task by task."""
    task = {"ads": "native_ad_in_answer", "fluency": "machine_translated_page"}[name]
    rows = shared / "labelled" / f"{name}_train.jsonl.gz"
    raw = {"rows": [{"inputs": [str(rows)]}]}
    found = evaluate(builtin(name), parse(Evaluation, raw, origin="test"))
    card = read_card(builtin(name))
    assert card is not None
    told = [row for row in card["elsewhere"]["by_task"] if row["task"] == task]
    measured = [row for row in found["by_task"] if row["task"] == task]
    assert len(told) > 0
    for one, other in zip(told, measured, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_an_installed_package_has_its_models(tmp_path: Path) -> None:
    """From a zip of the package's files, unpacked elsewhere, builtin models load and score."""
    package = tmp_path / "package.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for path in sorted((ROOT / "dolmix").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT))
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import dolmix, fasttext; from dolmix.learned import builtin;"
        "model = fasttext.FastText.load_model(str(builtin('ads'))).f;"
        "best = model.predict('buy now\\n', 1, 0.0, 'strict')[0][1];"
        "print(dolmix.__file__, best == '__label__ad')"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path) in done.stdout
    assert "True" in done.stdout

"""A filter that exists is a filter that a user can name, read about, and rely on."""

import pkgutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import builders
import pyarrow as pa
import pytest
from ngram_models import tiny_model
from pydantic import TypeAdapter, ValidationError

import dolmix.filters
from dolmix.document import TextBatch
from dolmix.filters import AnyFilter, Filter, judge
from dolmix.filters.base import column_identity

ROOT = Path(__file__).resolve().parents[3]
CLASSES: tuple[type[Filter], ...] = get_args(get_args(AnyFilter)[0])
SETTINGS: list[dict[str, Any]] = [
    {"type": "language", "keep": ["en"], "model": "models/lid.176.ftz"},
    {"type": "gopher"},
    {"type": "gopher", "newlines": "each"},
    {"type": "gopher", "preset": "datatrove-0.10"},
    {"type": "gopher", "preset": "dclm"},
    {"type": "gopher", "words": "unicode"},
    {"type": "repetition"},
    {"type": "repetition", "preset": "datatrove-0.10"},
    {"type": "repetition", "preset": "dclm"},
    {"type": "repetition", "preset": "olmoe-0924", "unit": "words"},
    {"type": "repetition", "preset": "olmoe-0924", "tokenizer": {"path": "tokenizer.json"}},
    {"type": "repetition", "drop_at_times": 32, "unit": "words"},
    {"type": "char_repetition", "drop_at_score": 32},
    {"type": "char_repetition", "max_repeated_frac": 0.2, "scope": "paragraph"},
    {"type": "c4"},
    {"type": "c4", "preset": "dolma-1.2"},
    {"type": "c4", "lines": False, "min_paragraph_chars": 200},
    {"type": "fineweb"},
    {"type": "fineweb", "preset": "2024-04"},
    {"type": "code"},
    {"type": "code", "preset": "redpajama"},
    {"type": "stars"},
    {"type": "word_share"},
    {"type": "language", "keep": ["en", "de"], "model": "m.ftz", "judge": "any", "top": 2},
    {"type": "classifier", "model": "m.ftz", "labels": ["en"], "min_score": 0.2},
    {
        "type": "classifier",
        "model": "m.ftz",
        "labels": ["en", "de"],
        "unit": "line",
        "cut_below": 0.1,
        "max_removed_frac": 0.5,
        "text": "spaced",
    },
    {"type": "perplexity", "model": "web.ngram", "max_perplexity": 500.0},
    {
        "type": "perplexity",
        "model": "web.ngram",
        "keep": ["head", "middle"],
        "head_at_most": 50.0,
        "middle_at_most": 200.0,
    },
    {"type": "pii", "max_count": 5},
    {"type": "pii", "preset": "dolma-1.2"},
    {"type": "lines", "max_removed_frac": 0.5},
    {"type": "words", "lists": ["en.txt"], "max_matches": 0, "cut_lines": True},
    {"type": "words", "lists": ["en.txt"], "language_field": "metadata.ext", "max_line_frac": 0.5},
    {"type": "field", "field": "metadata.stars", "min": 2},
    {"type": "field", "field": "metadata.ext", "keep": ["py"]},
    {"type": "field", "field": "metadata.ext", "drop": ["zig"]},
    {"type": "regex", "patterns": {"login": "(?i)log ?in"}},
    {"type": "url", "lists": "datatrove"},
    {"type": "sampler", "keep_frac": 0.5},
    {"type": "warc"},
    {"type": "decontaminate", "sets": ["questions.jsonl"]},
    {"type": "rule", "column": "gopher.word_count", "below": 50},
    {"type": "datatrove", "filter": "RegexFilter", "args": {"regex_exp": "x"}},
]


def modules() -> list[str]:
    """Every module of `dolmix.filters` that holds filters."""
    found = [m.name for m in pkgutil.iter_modules(dolmix.filters.__path__)]
    return [name for name in found if name != "base"]


def made(raw: dict[str, Any]) -> Filter:
    """Make the filter of some settings; no file that they name is opened."""
    filter_: Filter = TypeAdapter(AnyFilter).validate_python(raw)
    return filter_


@pytest.fixture(params=SETTINGS, ids=lambda raw: "-".join(map(str, list(raw.values())[:2])))
def usable(request: pytest.FixtureRequest) -> Filter:
    """Each filter in each of its settings, with real files where it reads any."""
    return made(with_files(request.param, request))


def with_files(settings: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """Name real files in the settings where the filter reads any."""
    raw = dict(settings)
    if raw["type"] == "perplexity":
        raw["model"] = tiny_model(request.getfixturevalue("tmp_path"))
    elif "model" in raw:
        raw["model"] = request.getfixturevalue("lid_model")
    if "tokenizer" in raw:
        raw["tokenizer"] = {"path": request.getfixturevalue("tiny_tokenizer")}
    if "sets" in raw:
        folder = request.getfixturevalue("tmp_path")
        raw["sets"] = [str(folder / name) for name in raw["sets"]]
        (folder / "questions.jsonl").write_text('{"doc": {"query": "Who asks?"}}')
    if raw["type"] == "words":
        folder = request.getfixturevalue("tmp_path")
        raw["lists"] = [str(folder / name) for name in raw["lists"]]
        (folder / "en.txt").write_text("two\nlog in\n")
    return raw


def batch(texts: list[str]) -> TextBatch:
    """Build a batch that has the fields every filter asks for."""
    values = {"metadata.stars": "3", "metadata.ext": '"py"', "metadata.path": '"a/b.html"'}
    values |= dict.fromkeys(made({"type": "warc"}).fields(), '"empty"')
    values |= {"warc.status": "200", "warc.offset": "7"}
    rows = range(len(texts))
    fields = {path: [v if n % 2 else None for n in rows] for path, v in values.items()}
    return TextBatch.of(texts, fields=fields)


def test_every_filter_module_is_in_the_union() -> None:
    """A module that gives `AnyFilter` nothing is one that nobody can use."""
    used = {cls.__module__.rsplit(".", 1)[1] for cls in CLASSES}
    assert used == set(modules())
    assert {get_args(c.model_fields["type"].annotation)[0] for c in CLASSES} == {
        raw["type"] for raw in SETTINGS
    }


def test_every_filter_module_is_in_the_import_contract() -> None:
    """Filters that do not know each other stay so because import-linter is told of each."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    listed = {
        m for c in contracts["contracts"] if c["type"] == "independence" for m in c["modules"]
    }
    assert {f"dolmix.filters.{name}" for name in modules()} <= listed


@pytest.mark.parametrize("raw", SETTINGS, ids=lambda raw: raw["type"])
def test_docs_name_every_filter_field_column_and_reason(raw: dict[str, Any]) -> None:
    """`docs/filters.md` has each type, setting, column and reason code, spelt as in the code.

    A rule that drops documents without a value has two codes.
    """
    text, filter_ = (ROOT / "docs" / "filters.md").read_text(), made(raw)
    names = {*type(filter_).model_fields, *filter_.column_types()} - {"type", "name"}
    codes = {rule.code for rule in filter_.rules()}
    codes |= {rule.missing_code for rule in filter_.rules() if rule.on_missing == "drop"}
    names |= {f"`{filter_.type}.{code}`" for code in codes}
    names.add(f"`{filter_.type}`")
    assert sorted(name for name in names if name not in text) == []


@pytest.mark.parametrize("texts", [[], [""], ["", "one two\n\nthree", "中文…", "a " * 100]])
def test_columns_are_what_column_types_says(usable: Filter, texts: list[str]) -> None:
    """Names, order, types and lengths are known before any text is read, of no text included."""
    columns = usable.columns(batch(texts))
    assert {name: values.type for name, values in columns.items()} == usable.column_types()
    assert list(columns) == list(usable.column_types())
    assert all(len(values) == len(texts) for values in columns.values())
    columns |= dict.fromkeys(usable.reads(), pa.nulls(len(texts), pa.int64()))
    verdicts = judge(usable, columns, batch(texts))
    assert verdicts.type == pa.string()
    assert len(verdicts) == len(texts)


@pytest.mark.parametrize("raw", SETTINGS, ids=lambda raw: raw["type"])
def test_rules_judge_only_columns_of_their_own_filter(raw: dict[str, Any]) -> None:
    """Every rule has a column, a reason of its own within the filter, and a limit by default."""
    rules = list(made(raw).rules())
    codes = [rule.code for rule in rules]
    assert {rule.column for rule in rules} <= {*made(raw).column_types(), *made(raw).reads()}
    assert len(set(codes)) == len(codes)
    assert any(rule.active for rule in rules)


def test_a_filter_survives_its_own_record(usable: Filter) -> None:
    """The resolved settings, written out and read back, are the same filter with the same key."""
    again = TypeAdapter(AnyFilter).validate_json(usable.model_dump_json())
    assert again == usable
    assert hash(again) == hash(usable)
    assert again.definition == usable.definition != ""
    assert again.digests() == usable.digests()


VALUES: list[Any] = [None, 0.25, 7, True, False, "keep", "drop", ["de"], ["3", "zig"], ["head"]]
"""Something for every kind of setting that only rules read."""
WEB = [
    "http://example.org/a?b=1",
    "https://sub.example.com/casino/poker",
    None,
    "http://xxx.example.net/adult",
]
TEXTS = [
    "",
    builders.prose(1, 60),
    "Write to jo@example.org or 8.8.8.8.\nLog in\nLog in\n" + builders.prose(2, 30),
    "<?xml version='1.0'?>\n# note\nimport os  # os\n" + "abc def " * 40,
    "Zwei Zeilen.\n\nDie zweite... \u2026 {\n- a\n- a\n- a\n" + "!!!!!!!! " * 9,
]


def varied(raw: dict[str, Any], setting: str) -> list[Filter]:
    """Make the same filter with two values of `VALUES`, for one setting, that it has not."""
    found, now = [], getattr(made(raw), setting)
    for value in VALUES:
        try:
            other = made({**raw, setting: value})
        except ValidationError:
            continue
        if getattr(other, setting) != now:
            found.append(other)
    return found[:2]


@pytest.mark.parametrize(
    "raw", SETTINGS, ids=lambda raw: "-".join(map(str, list(raw.values())[:2]))
)
def test_settings_of_rules_change_no_column(
    raw: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """What `rule_settings` names can change without a column being computed again.

    Whatever else its value, each column that is still written has the same values and the same
    identity, but for files that only an added column needs.
    """
    raw = with_files(raw, request)
    filter_ = made(raw)
    texts = replace(batch(TEXTS), urls=pa.array((WEB * 2)[: len(TEXTS)], pa.string()))
    columns = filter_.columns(texts)
    for setting in filter_.rule_settings:
        for other in varied(raw, setting):
            shared = columns.keys() & other.column_types().keys()
            if other.column_types() | filter_.column_types() != (
                filter_.column_types() | other.column_types()
            ):
                continue  # a column of another type: none of its values is used again
            again = other.columns(texts)
            assert {n: again[n] for n in shared} == {n: columns[n] for n in shared}
            if other.digests() == filter_.digests():
                assert column_identity(other) == column_identity(filter_)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_setting_of_rules_is_one_and_can_be_changed(cls: type[Filter]) -> None:
    """No name in `rule_settings` is stale, and the test above tries each of them."""
    raws = [raw for raw in SETTINGS if made(raw).__class__ is cls]
    for setting in cls.rule_settings:
        assert setting in cls.model_fields
        assert any(varied(raw, setting) for raw in raws), setting

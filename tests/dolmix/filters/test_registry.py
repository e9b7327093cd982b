"""A filter that exists is a filter that a user can name, read about, and rely on."""

import pkgutil
import tomllib
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

import dolmix.filters
from dolmix.document import TextBatch
from dolmix.filters import AnyFilter, Filter, judge

ROOT = Path(__file__).resolve().parents[3]
CLASSES: tuple[type[Filter], ...] = get_args(get_args(AnyFilter)[0])
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "language": [{"keep": ["en"]}],
    "gopher": [{}, {"newlines": "each"}],
    "repetition": [{}, {"preset": "olmoe-0924"}, {"drop_at_times": 32}],
    "stars": [{}],
    "word_share": [{}],
}


def modules() -> list[str]:
    """Every module of `dolmix.filters` that holds filters."""
    found = [m.name for m in pkgutil.iter_modules(dolmix.filters.__path__)]
    return [name for name in found if name != "base"]


def filters(lid_model: Path) -> list[Filter]:
    """Each filter in each of its settings."""
    made = []
    for kind, variants in SETTINGS.items():
        extra = {"model": lid_model} if kind == "language" else {}
        raw = [{"type": kind, **extra, **variant} for variant in variants]
        made += [TypeAdapter(AnyFilter).validate_python(r) for r in raw]
    return made


def batch(texts: list[str]) -> TextBatch:
    """Build a batch that has the fields every filter asks for."""
    stars = {"metadata.stars": ["3" if n % 2 else None for n in range(len(texts))]}
    return TextBatch.of(texts, fields=stars)


def test_every_filter_module_is_in_the_union() -> None:
    """A module that gives `AnyFilter` nothing is one that nobody can use."""
    used = {cls.__module__.rsplit(".", 1)[1] for cls in CLASSES}
    assert used == set(modules())
    assert {get_args(c.model_fields["type"].annotation)[0] for c in CLASSES} == set(SETTINGS)


def test_every_filter_module_is_in_the_import_contract() -> None:
    """Filters that do not know each other stay so because import-linter is told of each."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    listed = {
        m for c in contracts["contracts"] if c["type"] == "independence" for m in c["modules"]
    }
    assert {f"dolmix.filters.{name}" for name in modules()} <= listed


def test_docs_name_every_filter_field_column_and_reason(lid_model: Path) -> None:
    """`docs/filters.md` has each type, setting, column and reason code, spelt as in the code."""
    text = (ROOT / "docs" / "filters.md").read_text()
    for filter_ in filters(lid_model):
        names = {*type(filter_).model_fields, *filter_.column_types()} - {"type", "name"}
        names |= {f"{filter_.type}.{rule.code}" for rule in filter_.rules()}
        names.add(f"`{filter_.type}`")
        assert sorted(name for name in names if name not in text) == []


@pytest.mark.parametrize("texts", [[], [""], ["", "one two\n\nthree", "中文…", "a " * 100]])
def test_columns_are_what_column_types_says(lid_model: Path, texts: list[str]) -> None:
    """Names, order, types and lengths are known before any text is read, of no text included."""
    for filter_ in filters(lid_model):
        columns = filter_.columns(batch(texts))
        assert {name: values.type for name, values in columns.items()} == filter_.column_types()
        assert list(columns) == list(filter_.column_types())
        assert {len(values) for values in columns.values()} == {len(texts)}
        assert judge(filter_, columns).type == pa.string()
        assert len(judge(filter_, columns)) == len(texts)


def test_rules_judge_only_columns_of_their_own_filter(lid_model: Path) -> None:
    """Every rule has a column, a reason of its own within the filter, and a limit by default."""
    for filter_ in filters(lid_model):
        rules = list(filter_.rules())
        codes = [rule.code for rule in rules]
        assert {rule.column for rule in rules} <= set(filter_.column_types())
        assert len(set(codes)) == len(codes)
        assert any(rule.active for rule in rules)


def test_a_filter_survives_its_own_record(lid_model: Path) -> None:
    """The resolved settings, written out and read back, are the same filter with the same key."""
    for filter_ in filters(lid_model):
        again = TypeAdapter(AnyFilter).validate_json(filter_.model_dump_json())
        assert again == filter_
        assert hash(again) == hash(filter_)
        assert again.definition == filter_.definition != ""
        assert again.digests() == filter_.digests()

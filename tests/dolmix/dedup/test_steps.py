"""The settings of dedup steps: what they accept, what they refuse, what they tell a pipeline."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from dolmix.config import Schema, parse
from dolmix.dedup import AnyDedup, Dedup, Exact, MinHash
from dolmix.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


class Steps(Schema):
    """As a pipeline holds them."""

    dedup: tuple[AnyDedup, ...]


def messages(*steps: dict[str, Any]) -> list[str]:
    """Return what is wrong with these steps, one line a problem."""
    with pytest.raises(ConfigError) as caught:
        parse(Steps, {"dedup": list(steps)}, origin="test")
    return [str(problem) for problem in caught.value.problems]


def test_steps_load_by_type() -> None:
    """The type picks the class; settings not given have their defaults."""
    keep_by = ["source_priority", "-gopher.word_count", "id"]
    loaded = parse(
        Steps,
        {"dedup": [{"type": "exact"}, {"type": "minhash", "threshold": 0.7, "keep_by": keep_by}]},
        origin="test",
    )
    assert loaded.dedup == (Exact(), MinHash(threshold=0.7, keep_by=tuple(keep_by)))


def test_unknown_steps_and_settings_are_named() -> None:
    """A misspelt type and a misspelt setting are reported together, with what was meant."""
    assert messages({"type": "minhsh"}, {"type": "minhash", "treshold": 0.7}) == [
        "dedup.0: unknown type 'minhsh'; did you mean 'minhash'?",
        "dedup.1.treshold: unknown key; did you mean 'threshold'?",
    ]


def test_bands_and_rows_must_fit() -> None:
    """Bands without rows, and more lanes than there are, are refused with the numbers."""
    half, full = messages(
        {"type": "minhash", "bands": 14}, {"type": "minhash", "bands": 20, "rows": 8}
    )
    assert "bands is given without rows" in half
    assert "20 x 8 needs 160 hashes" in full
    assert "num_hashes is 112" in full


def test_bands_and_rows_win_over_the_threshold() -> None:
    """Given bands and rows are used as they are; else the threshold chooses."""
    assert MinHash(bands=14, rows=8).banding == (14, 8)
    assert MinHash(threshold=0.8).banding == (9, 12)
    assert MinHash(threshold=0.8).resolved() == MinHash(threshold=0.8, bands=9, rows=12)
    assert MinHash(threshold=0.8).num_bands == 9
    assert Exact().resolved() == Exact()


@pytest.mark.parametrize("keep_by", [[], ["--x"], ["a b"], ["id", "-id"], [""]])
def test_bad_keep_by_is_refused(keep_by: list[str]) -> None:
    """An empty list, a malformed column, and a column given twice do not load."""
    (problem,) = messages({"type": "exact", "keep_by": keep_by})
    assert problem.startswith("dedup.0.keep_by")


def test_keep_columns_are_those_a_filter_must_write() -> None:
    """`source_priority` and `id` are given; all other columns are named for checking."""
    step = Exact(keep_by=("source_priority", "-gopher.word_count", "stars.count", "id"))
    assert step.keep_columns() == ("gopher.word_count", "stars.count")


def test_labels_tell_steps_apart() -> None:
    """A step is called by its name, or by its type without one."""
    assert Exact().label == "exact"
    assert MinHash(name="loose").label == "loose"


@pytest.mark.parametrize("step", [Exact(), MinHash(), MinHash(bands=2, rows=2)])
def test_steps_travel_to_workers(step: Exact | MinHash) -> None:
    """A step pickles, and survives JSON, as a task and a plan need it."""
    assert pickle.loads(pickle.dumps(step)) == step
    assert type(step).model_validate_json(step.model_dump_json()) == step


@pytest.mark.parametrize("step", [Exact(), MinHash()], ids=lambda step: step.type)
def test_docs_name_every_dedup_step_setting_and_reason(step: Dedup) -> None:
    """The pages on filters and dedup have each step's type, settings, definition and reason."""
    pages = (ROOT / "docs" / name for name in ("filters.md", "dedup.md"))
    text = "".join(page.read_text() for page in pages if page.exists())
    names = {f"`{name}`" for name in {*type(step).model_fields} - {"type", "name"}}
    names |= {f"`{step.type}`", f"`{step.type}.duplicate`", f"`{step.definition}`"}
    assert sorted(name for name in names if name not in text) == []

"""The pipeline file: what it refuses at load."""

from pathlib import Path

import builders
import pytest

from dolmix.config import parse
from dolmix.errors import ConfigError
from dolmix.pipeline.spec import Pipeline

SOURCE = {"inputs": ["x.jsonl"], "filters": [{"type": "gopher"}]}


def problems(**settings: object) -> str:
    """Return the message that a pipeline with these settings is refused with."""
    raw = builders.pipeline(Path("out"), Path("t.json"), **settings)
    with pytest.raises(ConfigError) as caught:
        parse(Pipeline, raw, origin="p.yaml")
    return str(caught.value)


def test_every_problem_is_reported_with_its_path() -> None:
    """A misspelt threshold, an unknown filter and a bad number are three problems, not one."""
    filters = [
        {"type": "gopher", "min_word_cuont": 3},
        {"type": "langauge"},
        {"type": "gopher", "name": "g2", "min_word_count": "5x"},
    ]
    message = problems(sources={"web": {"inputs": ["x.jsonl"], "filters": filters}})
    assert "p.yaml: 3 problems" in message
    assert "sources.web.filters.0.min_word_cuont: unknown key; did you mean 'min_word_count'?" in (
        message
    )
    assert "sources.web.filters.1: unknown type 'langauge'; did you mean 'language'?" in message
    assert "sources.web.filters.2.min_word_count: '5x' is not a whole number" in message


def test_filter_names_are_unique_within_a_source() -> None:
    """Two filters of one name would write the same columns."""
    filters = [{"type": "gopher"}, {"type": "gopher"}]
    message = problems(sources={"web": {"inputs": ["x.jsonl"], "filters": filters}})
    assert "sources.web: filter names repeat: gopher; give each its own 'name'" in message


def test_a_kept_column_must_be_written_by_some_filter() -> None:
    """`keep_columns` names what does not exist: refused at load, with what does."""
    message = problems(sources={"web": SOURCE}, keep_columns=["language.score"])
    assert "no filter writes 'language.score'" in message
    assert "gopher.word_count" in message


def test_keep_by_must_name_a_column() -> None:
    """A survivor cannot be chosen by a column that nobody writes."""
    step = {"type": "minhash", "keep_by": ["-fluency.score", "id"]}
    assert "keep_by names 'fluency.score', which no filter writes" in problems(
        sources={"web": SOURCE}, dedup=[step]
    )


def test_keep_by_names_no_edit() -> None:
    """An edit is neither small nor large."""
    source = {"inputs": ["x.jsonl"], "filters": [{"type": "c4"}]}
    step = {"type": "minhash", "keep_by": ["c4.edit"]}
    assert "keep_by names 'c4.edit', which is an edit" in problems(
        sources={"web": source}, dedup=[step]
    )


def test_dedup_steps_have_names_of_their_own() -> None:
    """Reasons carry the step's name, so two steps cannot share one."""
    steps = [{"type": "minhash"}, {"type": "minhash", "threshold": 0.7}]
    assert "dedup steps share a name: minhash, minhash" in problems(
        sources={"web": SOURCE}, dedup=steps
    )


def test_an_unknown_executor_is_named() -> None:
    """`slurm` is no executor yet; the message says which there are."""
    message = problems(sources={"web": SOURCE}, executor={"type": "slurm"})
    assert "executor.type: 'slurm' is not one of 'local'" in message


def test_a_dedup_step_is_no_filter() -> None:
    """Reasons begin with a name that is a filter's or a dedup step's, never both."""
    steps = [{"type": "minhash", "name": "gopher"}]
    assert "gopher names a filter too" in problems(sources={"web": SOURCE}, dedup=steps)

"""The filter `perplexity`: columns, buckets, rules, and models that are not there."""

from pathlib import Path
from typing import Any

import builders
import pytest
from ngram_models import tiny_model

from dolmix.document import TextBatch
from dolmix.errors import DataError, FilterError
from dolmix.filters import judge
from dolmix.filters.perplexity import Perplexity

TEXTS = ["", " \n ", builders.prose(3, 40), "qqq zzz www " * 20, builders.prose(4, 40)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a small model."""
    return tiny_model(tmp_path)


def judged(model: Path, **settings: Any) -> tuple[dict[str, list[Any]], list[str | None]]:
    """Columns and reasons of the texts."""
    filter_, batch = Perplexity(model=model, **settings), TextBatch.of(TEXTS)
    columns = filter_.columns(batch)
    return {n: v.to_pylist() for n, v in columns.items()}, judge(
        filter_, columns, batch
    ).to_pylist()


def test_a_text_without_units_has_no_perplexity(model: Path) -> None:
    """It has 0 units; what becomes of it is `on_missing`'s to say."""
    columns, reasons = judged(model, max_perplexity=1e6)
    assert columns["units"][:2] == [0, 0]
    for name in ("perplexity", "bits_per_byte", "unknown_frac"):
        assert columns[name][:2] == [None, None]
    assert reasons[:2] == [None, None]
    _, reasons = judged(model, max_perplexity=1e6, on_missing="drop")
    assert reasons[:2] == ["perplexity.perplexity_missing"] * 2


def test_noise_is_more_surprising_than_prose(model: Path) -> None:
    """Unknown units are counted, and cost more; the limit drops them alone."""
    columns, reasons = judged(model, max_perplexity=2_000)
    assert columns["unknown_frac"][3] == 1.0
    assert columns["unknown_frac"][2] < 0.1
    assert columns["bits_per_byte"][3] > columns["bits_per_byte"][2]
    assert reasons == [None, None, None, "perplexity.perplexity", None]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (["head"], [None, "bucket_high", "bucket_high"]),
        (["middle"], ["bucket_low", None, "bucket_high"]),
        (["middle", "tail"], ["bucket_low", None, None]),
        (["tail"], ["bucket_low", "bucket_low", None]),
        (["head", "middle", "tail"], [None, None, None]),
    ],
)
def test_buckets_end_at_their_limits(
    model: Path, keep: list[str], expected: list[str | None]
) -> None:
    """A value equal to a limit is in the bucket that ends there; buckets not kept go."""
    first, third = (judged(model)[0]["perplexity"][n] for n in (2, 3))
    second = judged(model)[0]["perplexity"][4]
    limits = sorted([first, second])
    columns, reasons = judged(model, head_at_most=limits[0], middle_at_most=limits[1], keep=keep)
    assert third > limits[1]
    order = sorted((2, 3, 4), key=lambda n: columns["perplexity"][n])
    assert [columns["bucket"][n] for n in order] == ["head", "middle", "tail"]
    assert columns["bucket"][:2] == [None, None]
    found = [reasons[n] and reasons[n].removeprefix("perplexity.") for n in order]
    assert found == expected


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With how to get one: absent, empty, of another kind."""
    missing = Perplexity(model=tmp_path / "no.ngram")
    with pytest.raises(FilterError, match="train-ngram"):
        missing.digests()
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(FilterError, match="is empty"):
        Perplexity(model=tmp_path / "empty").digests()
    (tmp_path / "other").write_bytes(b"\x00\x01")
    with pytest.raises(DataError, match="no n-gram model"):
        Perplexity(model=tmp_path / "other").columns(TextBatch.of(["a"]))

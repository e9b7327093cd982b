"""Task records: the commit of a task."""

from pathlib import Path

import pytest

from dolmix.errors import StoreError
from dolmix.pipeline.records import RecordBook, TaskRecord


def test_a_record_reads_back(tmp_path: Path) -> None:
    """What was written is found, with its counts."""
    (tmp_path / "out").write_text("x")
    book = RecordBook(tmp_path)
    record = TaskRecord("filter", "web/00000", "k1", {"decisions": "out"}, {"kept": 3}, 1.5)
    book.write(record)
    assert book.find("filter", "k1") == record


def test_no_record_means_not_done(tmp_path: Path) -> None:
    """An absent record is None to a planner and an error with advice to a task that needs it."""
    book = RecordBook(tmp_path)
    assert book.find("filter", "k1") is None
    with pytest.raises(StoreError, match="Run the pipeline again"):
        book.read("filter", "k1")


def test_a_record_whose_output_is_gone_does_not_count(tmp_path: Path) -> None:
    """Deleting an output makes its task open again."""
    book = RecordBook(tmp_path)
    book.write(TaskRecord("filter", "web/00000", "k1", {"decisions": "gone.parquet"}))
    assert book.find("filter", "k1") is None

"""Tables of statistics: the same facts as the JSON, one row each, as Parquet."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dolmix.pipeline.plan import Plan
from dolmix.report.stats import describe
from dolmix.report.tables import SCHEMAS, tables, write_parquet
from dolmix.report.wanted import Wanted


@pytest.fixture(scope="module", params=["run", "store"])
def found(request: pytest.FixtureRequest, made_run: Plan) -> dict[str, Any]:
    """Describe the run, and its first store."""
    run = made_run.pipeline.output
    location = run if request.param == "run" else run / "stores" / "web@1"
    return describe(str(location), Wanted(ngrams=2, top=3), quiet=True)


def test_every_fact_has_a_row(found: dict[str, Any]) -> None:
    """Lists of the JSON come back as rows of their source, in order."""
    made = tables(found)
    assert set(made) == set(SCHEMAS)
    for source, told in found["sources"].items():
        rows = {name: [r for r in all_ if r["source"] == source] for name, all_ in made.items()}
        assert [row["column"] for row in rows["columns"]] == list(told["columns"])
        assert [row["ngram"] for row in rows["ngrams"]] == [
            row["ngram"] for length in told["ngrams"] for row in length["top"]
        ]
        assert [row["step"] for row in rows["duplicates"]] == [
            d["step"] for d in told["duplicates"]
        ]
        tokens = [row["sum"] for row in rows["lengths"] if row["unit"] == "tokens"]
        assert sum(tokens) == told["counts"]["tokens"]
        assert {row["name"]: row["count"] for row in rows["counts"]}["documents"] == (
            told["counts"]["documents"]
        )


def test_no_row_has_a_fact_without_a_column(found: dict[str, Any]) -> None:
    """What a table has no column for would be lost in the file."""
    for name, rows in tables(found).items():
        for row in rows:
            assert set(row) <= set(SCHEMAS[name].names), (name, row)


def test_parquet_files_hold_the_rows(found: dict[str, Any], tmp_path: Path) -> None:
    """One file a table with the stated columns, empty ones too; written again, the same bytes."""
    paths = write_parquet(found, tmp_path / "out")
    before = [path.read_bytes() for path in paths]
    assert [path.stem for path in paths] == list(SCHEMAS)
    for path, rows in zip(paths, tables(found).values(), strict=True):
        table = pq.read_table(path)
        assert table.schema.equals(SCHEMAS[path.stem])
        full = [{name: row.get(name) for name in table.column_names} for row in rows]
        assert table.to_pylist() == full
    write_parquet(found, tmp_path / "out")
    assert [path.read_bytes() for path in paths] == before

"""What reading found of a WARC record: its outcome judges, the rest says where a text is from."""

from collections.abc import Iterator
from typing import Literal, get_args

import orjson
import pyarrow as pa

from dolmix.document import Columns, TextBatch
from dolmix.files.outcomes import Outcome
from dolmix.filters.base import Filter, Rule

WARC_COLUMNS = {
    "outcome": pa.string(),
    "type": pa.string(),
    "date": pa.string(),
    "status": pa.int64(),
    "content_type": pa.string(),
    "charset": pa.string(),
    "truncated": pa.string(),
    "offset": pa.int64(),
}
WARC_OUTCOMES = get_args(Outcome)


class WarcRecord(Filter):
    """Drop WARC records in which reading found no text; say of the others where they are from.

    A source that reads WARC files has it before all other filters, without being told.
    """

    type: Literal["warc"] = "warc"

    @property
    def definition(self) -> str:
        """Say what the columns are."""
        return "what reading found of the WARC record (docs/reading.md)"

    def fields(self) -> tuple[str, ...]:
        """Those of the columns."""
        return tuple(f"warc.{column}" for column in WARC_COLUMNS)

    def column_types(self) -> dict[str, pa.DataType]:
        """One column a field; all null for a document that is from no WARC file."""
        return dict(WARC_COLUMNS)

    def columns(self, texts: TextBatch) -> Columns:
        """Read the values."""
        found: Columns = {}
        for column, kind in WARC_COLUMNS.items():
            raws = texts.fields[f"warc.{column}"].to_pylist()
            found[column] = pa.array([raw and orjson.loads(raw) for raw in raws], kind)
        return found

    def rules(self) -> Iterator[Rule]:
        """One: the outcome of reading, where it was no text, is the reason."""
        yield Rule("outcome", any_of=WARC_OUTCOMES, reason="no_text", reason_from="outcome")

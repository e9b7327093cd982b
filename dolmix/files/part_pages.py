"""Pages of one part of a WARC file: read once, kept for the passes that read the part again.

Extraction takes far longer than anything else that is done with a page. So what a part gave, bad
records too, is kept in a file that may be deleted at any time: it only saves the work.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.errors import DataError
from dolmix.files import commit
from dolmix.files.pages import Page, PageReader, Warc
from dolmix.files.paths import Compression
from dolmix.files.records import RAW_BYTES, BadValueError
from dolmix.files.warc import Fault, read_records

GROUP_ROWS = 1024
GROUP_BYTES = 8 << 20
_TOTALS = b"dolmix.totals"
_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("id", pa.string()),
        ("url", pa.string()),
        ("text", pa.large_string()),
        ("about", pa.string()),
        ("cause", pa.string()),
        ("offset", pa.int64()),
        ("raw", pa.binary()),
    ]
)
"""A page has an id, a bad record a cause; what the other has is null."""


@dataclass(frozen=True, slots=True)
class BadPage:
    """A record that cannot be read: why, where in the stored file it begins, and how."""

    cause: str
    offset: int
    raw: bytes


Item: TypeAlias = tuple[int, Page | BadPage]
"""A record's number within the part, records of all types counted, and what it became."""


class PartPages:
    """Pages and bad records of a part, in order. Counts are final when they have all been read.

    num_records   records of any type, bad ones too
    types         records by type, bad ones not among them
    """

    def __init__(self, settings: Warc, *, kept: Path | None = None) -> None:
        self.num_records = 0
        self.types: Counter[str] = Counter()
        self._settings, self._kept = settings, kept

    def read(
        self, uri: str, compression: Compression, *, start: int = 0, stop: int | None = None
    ) -> Generator[Item, None, None]:
        """Read from `kept` if it is there, else from the file, as `read_records` does.

        Raises DataError for a file that cannot be read.
        """
        if self._kept is not None and self._kept.exists():
            return self._read_kept(self._kept)
        items = self._read_file(uri, compression, start, stop)
        return items if self._kept is None else self._keeping(items, self._kept)

    def _read_file(
        self, uri: str, compression: Compression, start: int, stop: int | None
    ) -> Generator[Item, None, None]:
        limit = self._settings.max_page_bytes
        records = read_records(uri, compression, max_bytes=limit, start=start, stop=stop)
        with closing(PageReader(self._settings)) as pages:
            for record in records:
                number = self.num_records
                self.num_records += 1
                if isinstance(record, Fault):
                    yield number, BadPage(record.cause, record.offset, record.raw[:RAW_BYTES])
                    continue
                try:
                    page = pages.read(record)
                except BadValueError as error:
                    raw = (record.content or b"")[:RAW_BYTES]
                    yield number, BadPage(str(error), record.offset, raw)
                    continue
                self.types[record.type] += 1
                if page is not None:
                    yield number, page

    def _keeping(
        self, items: Generator[Item, None, None], final: Path
    ) -> Generator[Item, None, None]:
        """Hand on the items; when all have come, they are kept."""
        with ExitStack() as stack:
            stack.enter_context(closing(items))
            attempt = stack.enter_context(commit.new_file(final))
            writer = stack.enter_context(pq.ParquetWriter(attempt, _SCHEMA, compression="zstd"))
            group: list[Item] = []
            size = 0
            for item in items:
                group.append(item)
                size += len(item[1].text if isinstance(item[1], Page) else item[1].raw)
                if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
                    writer.write_table(_table(group))
                    group, size = [], 0
                yield item
            writer.write_table(_table(group))
            totals = {"records": self.num_records, "types": self.types}
            writer.add_key_value_metadata({_TOTALS: orjson.dumps(totals)})

    def _read_kept(self, kept: Path) -> Generator[Item, None, None]:
        try:
            with pq.ParquetFile(kept, page_checksum_verification=True) as file:
                totals = orjson.loads(file.metadata.metadata[_TOTALS])
                for group in range(file.num_row_groups):
                    yield from map(_item, file.read_row_group(group, use_threads=False).to_pylist())
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise DataError(f"{kept}: damaged ({error}). Delete it and run again.") from None
        self.num_records = totals["records"]
        self.types.update(totals["types"])


def _table(items: list[Item]) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for number, item in items:
        row: dict[str, Any] = {"number": number}
        if isinstance(item, Page):
            about = orjson.dumps(item.about).decode()
            row |= {"id": item.id, "url": item.url, "text": item.text, "about": about}
        else:
            row |= {"cause": item.cause, "offset": item.offset, "raw": item.raw}
        rows.append(row)
    return pa.Table.from_pylist(rows, _SCHEMA)


def _item(row: dict[str, Any]) -> Item:
    if row["id"] is None:
        return row["number"], BadPage(row["cause"], row["offset"], row["raw"])
    return row["number"], Page(row["text"], row["id"], row["url"], orjson.loads(row["about"]))

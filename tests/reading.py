"""Reading parts in tests: everything that came out, and files to read."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from dolmix.sources import BadRecord, BadRecords, Fields, Part, PartReader, plan_parts, read_part

SKIP = BadRecords(policy="skip")
FAIL = BadRecords()


@dataclass
class Result:
    """What reading a list of parts gave: documents by id in order, reports, counts."""

    documents: list[tuple[str, str]]
    lines: list[int | None]
    reports: list[BadRecord]
    readers: list[PartReader]

    @property
    def num_bad(self) -> int:
        """Bad records of all parts."""
        return sum(r.num_bad for r in self.readers)

    @property
    def num_records(self) -> int:
        """Records of all parts, bad ones included."""
        return sum(r.num_records for r in self.readers)


def read(
    parts: Sequence[Part],
    bad: BadRecords = FAIL,
    fields: Fields = Fields(),  # noqa: B008 - frozen
    **limits: int,
) -> Result:
    """Read parts one after another."""
    result = Result([], [], [], [])
    before = 0
    for part in parts:
        reader = read_part(part, fields, ["n"], bad, result.reports.append, **limits)
        for batch in reader:
            result.documents += zip(batch.ids.to_pylist(), batch.text.to_pylist(), strict=True)
            result.lines += (before + batch.records).tolist()
        result.readers.append(reader)
        before += reader.num_lines
    return result


def plan(path: Path, part_bytes: int = 1 << 40, **kwargs: bool) -> list[Part]:
    """Plan one file; whole unless told otherwise."""
    return plan_parts([str(path)], part_bytes=part_bytes, **kwargs)


def line(n: object, text: str = "some text") -> bytes:
    """One record as a line, without its end."""
    return json.dumps({"id": n, "text": text}, ensure_ascii=False).encode()


def zstd(text: bytes) -> bytes:
    """One frame with a checksum."""
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(text)


STORED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd}
"""Suffix → how a file of it stores its text."""

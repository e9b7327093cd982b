"""The filter pass: one part read once, every document judged, nothing forgotten.

Writes the part's decisions (one Parquet row a document: id, size, every column, the last filter
that judged it, the reason if it was dropped) and sets bad records aside as JSON lines. Where the
folder holds decisions of an earlier run on the same part, columns that still stand are taken from
there; the files are the same, byte by byte.
"""

import base64
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.dedup.base import Signed
from dolmix.document import TextBatch
from dolmix.errors import DataError, DolmixError
from dolmix.files import commit
from dolmix.pipeline.clock import Clock
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.decisions import (
    Decided,
    decide_batch,
    decision_schema,
    decision_writer,
    reading_digest,
)
from dolmix.pipeline.kept_texts import Keep, keeping_texts, wanted
from dolmix.pipeline.known import Known, decide_known, standing
from dolmix.pipeline.passes.signatures import Signing
from dolmix.pipeline.prior import Prior, find_prior
from dolmix.pipeline.tally import Tally
from dolmix.pipeline.threads import ahead
from dolmix.sources import BadRecord

_log = logging.getLogger(__name__)


def filter_part(context: TaskContext) -> TaskResult:
    """Judge every document of one part."""
    filters = context.filters
    schema = decision_schema(filters, reading=reading_digest(context.source))
    prior = find_prior(context.plan, context.task)
    if prior is not None:
        try:
            result = _decide_again(context, schema, prior)
        except (DolmixError, OSError, pa.ArrowException, KeyError) as error:
            # what is wrong with the part itself comes up again when it is judged from its text
            _log.info("%s: judged anew, not from %s: %s", context.task.name, prior.decisions, error)
        else:
            if result is not None:
                return result
    decisions, bad = _paths(context)
    tally = Tally(filters)
    outputs = {"decisions": decisions}
    clock = context.clock
    with (
        _set_aside(bad) as (put, aside),
        commit.new_file(decisions) as attempt,
        _further(context) as further,
    ):
        reader = context.open_part(report=put)
        for filter_ in filters:
            filter_.begin_part()
        batches = clock.each("read", reader)
        with (
            decision_writer(attempt, schema) as writer,
            closing(_judged(context, schema, further, batches)) as all_judged,
        ):
            for judged in all_judged:
                further.add(judged, tally.documents)
                with clock.step("write decisions"):
                    tally.add(judged.decided.table)
                    writer.write_table(judged.decided.table)
                context.report(bytes=tally.num_bytes, documents=tally.documents, kept=tally.kept)
        also = further.results()
    if aside.exists():
        outputs["bad_records"] = bad
    counts = {
        **tally.counts(),
        "lines": reader.num_lines,
        "records": reader.num_records,
        "bad_records": reader.num_bad,
    }
    if reader.warc_records:
        counts["warc_records"] = dict(sorted(reader.warc_records.items()))
    return TaskResult(outputs, counts, also)


@dataclass(frozen=True, eq=False, slots=True)
class _Judged:
    """What is made of one batch, by any thread, and what that took."""

    decided: Decided
    signed: list[Signed]
    clock: Clock


def _judged(
    context: TaskContext, schema: pa.Schema, further: "_Further", batches: Iterator[TextBatch]
) -> Generator[_Judged, None, None]:
    """Judge batch after batch, in threads where the task has some and no filter has a state.

    The first one is judged alone: filters load their lists and models for it, once.
    """
    filters, whole = context.filters, context.plan.pipeline.tag == "all"

    def judge(batch: TextBatch) -> _Judged:
        clock = Clock()
        decided = decide_batch(batch, filters, schema, whole=whole, clock=clock)
        return _Judged(decided, further.sign(decided.left, clock), clock)

    alone = context.threads == 1 or any(filter_.has_state for filter_ in filters)
    yield from map(judge, islice(batches, 1))
    yield from ahead(judge, batches, threads=0 if alone else context.threads)


@contextmanager
def _further(context: TaskContext) -> Iterator["_Further"]:
    """Give what takes a part's survivors while their texts are there."""
    with ExitStack() as stack:
        keep = None
        if wanted(context.plan.pipeline):
            keep = stack.enter_context(keeping_texts(context))
        yield _Further(context, keep)


class _Further:
    """What else is made of a part's survivors.

    Signatures, where the pipeline compares documents: the result of the part's signature task. And
    the texts themselves are set aside for the tokenize pass, where it needs no others.
    """

    def __init__(self, context: TaskContext, keep: Keep | None) -> None:
        steps = context.plan.pipeline.document_steps
        self._clock, self._keep = context.clock, keep
        self._signing = Signing(context.beside("signatures")) if steps else None

    def sign(self, left: TextBatch, clock: Clock) -> list[Signed]:
        """Sign what is left of a batch, if anything is to be signed; any thread may."""
        if self._signing is None or not len(left):
            return []
        with clock.step("signatures"):
            return self._signing.sign(left)

    def add(self, judged: _Judged, first: int) -> None:
        """Take what is left of the next batch, whose first document has row `first`."""
        self._clock.add(judged.clock)
        if self._signing is not None and judged.signed:
            self._signing.add(judged.signed)
        if self._keep is not None and len(judged.decided.left):
            with self._clock.step("set texts aside"):
                self._keep(first + judged.decided.rows, judged.decided.left)

    def results(self) -> dict[str, TaskResult]:
        """Write what there is to write; results by pass."""
        if self._signing is None:
            return {}
        with self._clock.step("signatures"):
            return {"signatures": self._signing.write()}


def _paths(context: TaskContext) -> tuple[Path, Path]:
    """Where the part's decisions go, and its bad records."""
    bad = context.run / "bad-records" / context.task.source / f"{context.stem}.jsonl"
    return context.run / "decisions" / context.task.source / f"{context.stem}.parquet", bad


def _decide_again(context: TaskContext, schema: pa.Schema, prior: Prior) -> TaskResult | None:
    """Judge from the columns of an earlier run; None if none of them stands.

    The part is read as far as texts are missing. Raises what a file that is not as it was leads to.
    """
    filters, whole = context.filters, context.plan.pipeline.tag == "all"
    decisions, bad = _paths(context)
    tally, texts = Tally(filters), _Texts(context)
    for filter_ in filters:
        filter_.begin_part()
    with pq.ParquetFile(prior.decisions) as file:
        if file.metadata.num_rows != prior.counts["documents"]:
            raise DataError(f"{prior.decisions}: holds other documents than its task counted")
        usable = standing(file.schema_arrow, schema, prior.labels)
        if not usable:
            return None
        with (
            commit.new_file(decisions) as attempt,
            decision_writer(attempt, schema) as writer,
        ):
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, use_threads=False)
                known = Known.of(rows, usable, prior.labels, whole=prior.whole)
                read = texts.reader(group, known.names())
                table = decide_known(known, filters, schema, read=read, whole=whole)
                tally.add(table)
                writer.write_table(table)
                context.report(bytes=tally.num_bytes, documents=tally.documents, kept=tally.kept)
    outputs = {"decisions": decisions}
    if prior.bad_records is not None:
        commit.write_bytes(bad, prior.bad_records.read_bytes())
        outputs["bad_records"] = bad
    counts = tally.counts()
    of_reading = {name: count for name, count in prior.counts.items() if name not in counts}
    return TaskResult(outputs, {**counts, **of_reading})


class _Texts:
    """Texts of a part, batch by batch, read only as far as they are asked for."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    @cached_property
    def _batches(self) -> Iterator[tuple[int, TextBatch]]:
        return enumerate(self._context.open_part())

    def reader(self, number: int, names: TextBatch) -> Callable[[], TextBatch]:
        """Give a function that reads batch `number`, of documents that are known by these names.

        It raises DataError if the part holds others there.
        """

        def read() -> TextBatch:
            found = next((batch for n, batch in self._batches if n == number), None)
            if found is None or not np.array_equal(found.records, names.records):
                path = self._context.part.path
                raise DataError(f"{path}: holds other documents than when they were judged")
            return found

        return read


@contextmanager
def _set_aside(final: Path) -> Iterator[tuple[Any, Path]]:
    """Yield a function that sets a bad record aside, and the path; no file without bad records."""
    final.parent.mkdir(parents=True, exist_ok=True)
    attempt = commit.attempt_path(final)
    file: IO[bytes] | None = None

    def put(record: BadRecord) -> None:
        nonlocal file
        if file is None:
            file = attempt.open("wb")
        file.write(_bad_line(record))

    try:
        yield put, final
        if file is not None:
            file.close()
            commit.publish(attempt, final)
    finally:
        if file is not None:
            file.close()
        attempt.unlink(missing_ok=True)


def _bad_line(record: BadRecord) -> bytes:
    try:
        raw = {"raw": record.raw.decode()}
    except UnicodeDecodeError:
        raw = {"raw_base64": base64.b64encode(record.raw).decode()}
    return orjson.dumps(
        {
            "path": record.path,
            "record": record.record,
            "line": record.line,
            "offset": record.offset,
            "cause": record.cause,
            **raw,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )

"""Statistics of a store: from its manifest, ends, indices and docs files; texts by its tokenizer.

Works on a remote store as on a local one: only what is counted is fetched.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.document import I64Array, TextBatch
from dolmix.errors import ConfigError, StoreError, UsageError
from dolmix.files.paths import is_remote
from dolmix.report.columns import describe_columns
from dolmix.report.counting import Lengths, TopValues
from dolmix.report.domains import Domains
from dolmix.report.progress import Progress
from dolmix.report.texts import Unit, measure_texts
from dolmix.report.wanted import Wanted, describe_texts
from dolmix.shards.describe import load_pinned
from dolmix.shards.ids import RECORD
from dolmix.shards.layout import DOCUMENT_COLUMNS, TEXT_HASH, TEXT_INDEX
from dolmix.shards.reader import Store, open_store
from dolmix.shards.stats import length_histogram, top_tokens
from dolmix.tokenizer import Tokenizer

UNIT_TOKENS = 1 << 22
"""Tokens whose texts are counted as one unit, a document more or less."""
BATCH_TOKENS = 1 << 20
"""Tokens that are decoded together."""
INDEX_ITEMS = 1 << 20
"""Items of an index that are read together."""


def store_stats(location: str, wanted: Wanted, progress: Progress) -> dict[str, Any]:
    """Describe a store.

    Raises StoreError for a store that is absent or damaged, UsageError for another tokenizer.
    """
    with open_store(location) as store:
        notes: list[str] = []
        tokenizer = find_tokenizer(store, wanted.tokenizer, notes)
        rows = StoreRows(store)
        progress.begin("tokens")
        described = {
            "counts": _counts(store),
            "lengths": {
                "bytes": [],
                "tokens": length_histogram(store),
            },
            "columns": describe_columns(rows, rows.kept_types(), wanted.top),
            "languages": _languages(rows, wanted.top),
            "domains": _domains(store, wanted.top),
            "duplicates": duplicates_of(store, notes),
            "tokens": top_tokens(store, top=wanted.top, tokenizer=tokenizer),
            **_texts(store, tokenizer, wanted, progress, notes),
        }
        return {
            "store": store.location,
            "view": "kept",
            "sources": {store.name: described},
            "notes": notes,
        }


class StoreRows:
    """Rows of a store's docs files, shard by shard."""

    def __init__(self, store: Store) -> None:
        """Read rows of an open store."""
        self._store = store
        self.num_documents = store.num_documents

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of the docs files; none without documents."""
        for table in self._read(None):
            return table.schema
        return pa.schema([])

    def kept_types(self) -> dict[str, pa.DataType]:
        """Types of the columns that the pipeline kept, by name."""
        own = {*DOCUMENT_COLUMNS, TEXT_HASH}
        return {f.name: f.type for f in self.schema if f.name not in own}

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield these columns, row group by row group."""
        return self._read(list(columns))

    def _read(self, columns: list[str] | None) -> Iterator[pa.Table]:
        """Yield all or some columns. Raises StoreError for a docs file that cannot be read."""
        for shard, entry in enumerate(self._store.manifest.shards):
            place = f"{self._store.location}, docs of shard {entry.name}"
            try:
                with pq.ParquetFile(self._store.docs_file(shard)) as file:
                    for batch in file.iter_batches(columns=columns):
                        yield pa.Table.from_batches([batch])
            except (OSError, ValueError, KeyError, pa.ArrowException) as error:
                raise StoreError(f"{place}: {error}. Copy the store again.") from None


def urls_of(store: Store) -> Iterator[tuple[pa.Array, I64Array]]:
    """Yield URLs and tokens of a store's documents, (n,) each."""
    for table in StoreRows(store).tables(["url", "num_tokens"]):
        urls = table["url"].combine_chunks().cast(pa.large_string())
        yield urls, table["num_tokens"].to_numpy().astype(np.int64)


def _domains(store: Store, top: int) -> dict[str, Any] | None:
    """Count documents and tokens by domain; None where no document has a URL."""
    domains = Domains("tokens")
    for urls, tokens in urls_of(store):
        domains.add(urls, tokens)
    found = domains.describe(top)
    return {"of": "kept", **found} if found["top"] else None


def find_tokenizer(store: Store, given: Path | None, notes: list[str]) -> Path | None:
    """Choose the tokenizer file of a store: the one given, or that of the run it lies in.

    None, and a note, where there is none. Raises UsageError for one of another store.
    """
    if given is not None:
        load_pinned(store, given)
        return given
    found = _tokenizer_of_run(store)
    if found is not None:
        try:
            load_pinned(store, found)
        except (UsageError, ConfigError) as error:
            notes.append(f"no texts: {error}")
        else:
            return found
    return None


def _tokenizer_of_run(store: Store) -> Path | None:
    """Path of the tokenizer that the run around a store names, if there is a run."""
    from dolmix.pipeline.ahead import PLAN_FILE
    from dolmix.pipeline.plan import read_plan

    if is_remote(store.location):
        return None
    run = store.path.resolve().parent.parent
    if not (run / PLAN_FILE).is_file():
        return None
    try:
        return read_plan(run).pipeline.tokenizer.path
    except (UsageError, ConfigError):
        return None


def _counts(store: Store) -> dict[str, Any]:
    totals = store.manifest.totals
    return {
        "documents": totals.documents,
        "bytes": totals.bytes,
        "tokens": totals.tokens,
        "bytes_per_token": totals.bytes / totals.tokens if totals.tokens else None,
        "unknown_tokens": totals.unk_tokens,
    }


def _languages(rows: StoreRows, top: int) -> list[dict[str, Any]]:
    """Documents and tokens by language, of each kept column that a filter `language` writes."""
    found = []
    for column in rows.kept_types():
        if column.rpartition(".")[2] == "label":
            counts = TopValues(1)
            for table in rows.tables([column, "num_tokens"]):
                sums = [([], "count_all"), ("num_tokens", "sum")]
                grouped = table.group_by(column).aggregate(sums)
                grouped = grouped.filter(grouped[column].is_valid())
                names = grouped[column].to_pylist()
                amounts = (grouped[name].to_pylist() for name in ("count_all", "num_tokens_sum"))
                counts.add(names, *amounts)
            found += [
                {"column": column, "language": name, "documents": n, "tokens": tokens}
                for name, (n, tokens) in counts.top(top)
            ]
    return found


def duplicates_of(store: Store, notes: list[str]) -> list[dict[str, Any]]:
    """Texts that a store holds more than once, from its index of text hashes."""
    if TEXT_INDEX not in store.manifest.files or not store.num_documents:
        notes.append(f"duplicates: {store.location} has no {TEXT_INDEX}: made without texts")
        return []
    sizes = Lengths("members")
    duplicates = clusters = 0
    for lengths in _run_lengths(store):
        repeated = lengths[lengths > 1]
        clusters += repeated.size
        duplicates += int((repeated - 1).sum())
        sizes.add(repeated)
    return [
        {
            "step": "same text",
            "documents": store.num_documents,
            "duplicates": duplicates,
            "duplicate_frac": duplicates / store.num_documents,
            "dropped": False,
            "clusters": clusters,
            "sizes": sizes.describe(),
        }
    ]


def _run_lengths(store: Store) -> Iterator[np.ndarray]:
    """Yield how many documents share each text hash, (k,) int64 of some hashes at a time."""
    index = store.folder.sorted_items(TEXT_INDEX, RECORD, store.num_documents)
    keys = index["key"]
    last, waiting = None, 0
    for start in range(0, store.num_documents, INDEX_ITEMS):
        block = np.asarray(keys[start : min(start + INDEX_ITEMS, store.num_documents)])
        edges = np.flatnonzero(np.diff(block)) + 1
        lengths = np.diff(np.concatenate([[0], edges, [block.size]])).astype(np.int64)
        if last is not None and block[0] == last:
            lengths[0] += waiting
        elif last is not None:
            yield np.array([waiting], np.int64)
        last, waiting = block[-1], int(lengths[-1])
        yield lengths[:-1]
    yield np.array([waiting], np.int64)


def _texts(
    store: Store,
    tokenizer: Path | None,
    wanted: Wanted,
    progress: Progress,
    notes: list[str],
) -> dict[str, Any]:
    if not wanted.ngrams:
        return {}
    if tokenizer is None:
        notes.append(
            "n-grams: left out, they need the texts: give the store's tokenizer with --tokenizer"
        )
        return {}
    decoder = load_pinned(store, tokenizer)
    units = [_unit(store, decoder, first, stop) for first, stop in _cuts(store)]
    progress.begin("n-grams, candidates")
    measured = measure_texts(
        units, wanted.ngrams, wanted.top, workers=wanted.workers, progress=progress
    )
    notes.append("characters, words, lines and n-grams: of the texts that the tokens decode to")
    return describe_texts(measured)


def _cuts(store: Store) -> list[tuple[int, int]]:
    """Cut the documents into runs of about `UNIT_TOKENS` tokens, whoever counts them."""
    marks = np.arange(0, store.num_tokens, UNIT_TOKENS)
    firsts = np.unique(np.append(store.documents_at(marks), store.num_documents)).tolist()
    return list(pairwise(firsts))


def _unit(store: Store, decoder: Tokenizer, first: int, stop: int) -> Unit:
    return lambda: _decoded(store, decoder, first, stop)


def _decoded(store: Store, decoder: Tokenizer, first: int, stop: int) -> Iterator[TextBatch]:
    """Yield the texts of the documents [first, stop), without the token that ends each."""
    starts, stops = store.document_spans(np.arange(first, stop))
    at = 0
    while at < stop - first:
        end = int(np.searchsorted(stops, starts[at] + BATCH_TOKENS, side="right"))
        end = max(end, at + 1)
        tokens = store.tokens(int(starts[at]), int(stops[end - 1]))
        spans = zip((starts - starts[at])[at:end], (stops - starts[at])[at:end], strict=True)
        yield TextBatch.of(decoder.decode_all(tokens[a : b - 1].tolist() for a, b in spans))
        at = end

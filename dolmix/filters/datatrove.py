"""Any filter of datatrove as a filter of a pipeline: its verdicts, its reasons, its rewriting.

Each document becomes a datatrove `Document`, one after the other in Python, so this is as slow as
the filter is there. Guarantee: the documents of a part go, in reading order, to one object made for
that part; verdicts are those of datatrove over the same documents, whatever the number of workers.
"""

import inspect
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import orjson
import pyarrow as pa
from pydantic import Field, StringConstraints, model_validator

from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import EDIT, Filter, Rule, document_at

HOME = "datatrove.pipeline.filters"
"""Module in which a bare class name is looked for."""
LONGEST_REASON = 64
NO_REASON = "dropped"
"""Reason code where the filter names none."""
WRITER = "exclusion_writer"
ERROR = "error"
"""Reason code of a document on which the filter raised, under `on_error: drop`."""

ClassPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
FieldPath = Annotated[str, StringConstraints(pattern=r"^[^.]+(\.[^.]+)*$")]

_log = logging.getLogger(__name__)


class Datatrove(Filter):
    """Judge documents by a filter class of datatrove."""

    rewrites: ClassVar[bool] = True
    has_state = True

    type: Literal["datatrove"] = "datatrove"
    filter: ClassPath
    """Class in `datatrove.pipeline.filters`, or the dotted path of any class derived from
    datatrove's `BaseFilter`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the class, by name; what is not given has the default it has there."""
    metadata: dict[str, FieldPath] = Field(default_factory=dict)
    """Metadata that the class reads: its key in `Document.metadata`, and the dotted path of the
    record's field. `url` is there without being asked for."""
    on_rewrite: Literal["edit", "fail", "ignore"] = "edit"
    """What to do when the class changes a text: keep the change as an edit, stop, or let the text
    be."""
    on_error: Literal["fail", "keep", "drop"] = "fail"
    """What to do with a document on which the class raises an exception."""

    @model_validator(mode="after")
    def _is_a_filter(self) -> Self:
        _check_args(find_class(self.filter), self.args)
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def definition(self) -> str:
        """The class, and whose it is."""
        return f"datatrove {version('datatrove')} {self.filter}"

    def digests(self) -> dict[str, str]:
        """Name what decides: the class's file, files that `args` name, datatrove, spaCy if there.

        Raises FilterError for a package that the class needs and that is not installed.
        """
        from datatrove.utils._import_utils import check_required_dependencies

        found = find_class(self.filter)
        needed = [n for c in found.mro() for n in getattr(c, "_requires_dependencies", [])]
        try:
            check_required_dependencies(self.filter, needed)
        except ImportError as error:
            raise FilterError(f"{self.label}: {' '.join(str(error).split())}") from None
        file = inspect.getsourcefile(found)
        return {
            "datatrove_version": version("datatrove"),
            "spacy_version": _version_of("spacy"),
            "code": "" if file is None else file_digest(Path(file)),
            **{
                f"args.{name}": file_digest(Path(value))
                for name, value in self.args.items()
                if isinstance(value, str) and os.path.isfile(value)  # noqa: PTH113 - any text
            },
        }

    def fields(self) -> tuple[str, ...]:
        """Paths of the metadata asked for."""
        return tuple(self.metadata.values())

    def column_types(self) -> dict[str, pa.DataType]:
        """Verdict and reason; the edit, where rewriting is kept."""
        from dolmix.text.edits import EDIT_TYPE

        types = {"keep": pa.bool_(), "reason": pa.string()}
        return types | ({EDIT: EDIT_TYPE} if self.on_rewrite == "edit" else {})

    def begin_part(self) -> None:
        """Forget the object that judged the part before: a sampler draws anew in every part."""
        _make.cache_clear()

    def columns(self, texts: TextBatch) -> Columns:
        """Ask the class about every document.

        Raises FilterError, naming the document, for an exception of the class under `on_error:
        fail`, for a text changed under `on_rewrite: fail`, and under `edit` for one changed into
        something else than pieces of it with newlines and spaces between them.
        """
        documents = _Documents(texts, self.metadata)
        verdicts = list(self._ask(documents))
        columns = {
            "keep": pa.array([v.keep for v in verdicts], pa.bool_()),
            "reason": pa.array([v.reason for v in verdicts], pa.string()),
        }
        if self.on_rewrite == "ignore":
            return columns
        spans = [self._edit(documents, row, v) for row, v in enumerate(verdicts)]
        if self.on_rewrite == "edit":
            columns[EDIT] = pa.array(spans, self.column_types()[EDIT])
        return columns

    def rules(self) -> Iterator[Rule]:
        """One rule, with the class's own reasons."""
        yield Rule("keep", below=1, reason=NO_REASON, reason_from="reason")

    def _ask(self, documents: "_Documents") -> Iterator["_Verdict"]:
        """Yield a verdict a document; in batches of the class's size, by its own method."""
        judge = _make(self.label, self.filter, orjson.dumps(self.args))
        failed = 0
        rows = iter(range(len(documents.texts)))
        while chunk := list(islice(rows, max(1, judge.batch_size))):
            for verdict in self._verdicts(judge, documents, chunk):
                failed += verdict.text is None
                yield verdict
        if failed:
            _log.warning(
                "%s: failed on %d documents, on_error: %s", self.label, failed, self.on_error
            )

    def _verdicts(
        self, judge: Any, documents: "_Documents", rows: Sequence[int]
    ) -> list["_Verdict"]:
        """Judge one batch; when that fails, its documents one by one."""
        try:
            return documents.ask(judge, rows)
        except Exception as error:
            if len(rows) > 1:
                return [v for row in rows for v in self._verdicts(judge, documents, [row])]
            if self.on_error == "fail":
                raise FilterError(
                    f"{document_at(documents.texts, rows[0])}: {self.label} ({self.filter}) "
                    f"failed: {type(error).__name__}: {error}. Check {self.label}.args and the "
                    f"input, or set {self.label}.on_error to keep or drop."
                ) from error
            return [_Verdict(False if self.on_error == "drop" else None, ERROR, None)]

    def _edit(self, documents: "_Documents", row: int, verdict: "_Verdict") -> Any:
        """Edit of one document as a value of its column; None where its text is as it was."""
        from dolmix.text.align import find_edit

        old, new = documents.before[row], verdict.text
        if new is None or new == old or verdict.keep is False:
            return None
        where = (
            f"{document_at(documents.texts, row)}: {self.label} ({self.filter}) changed its text"
        )
        if self.on_rewrite == "fail":
            raise FilterError(
                f"{where}, and {self.label}.on_rewrite is fail. Set it to edit, to go on with the "
                f"changed text, or to ignore, to go on with the text as it is."
            )
        spans = find_edit(old, new)
        if spans is None:
            raise FilterError(
                f"{where} into something else than pieces of it with newlines and spaces between "
                f"them, which no edit can say. Set {self.label}.on_rewrite to ignore, to go on "
                f"with the text as it is, or leave the filter out."
            )
        return [{"start": start, "stop": stop, "put": put} for start, stop, put in spans]


class _Verdict(NamedTuple):
    """What the class said of one document."""

    keep: bool | None
    """None where it failed."""
    reason: str | None
    text: str | None
    """Text as it left it; None where it failed."""


class _Documents:
    """Documents of a batch, made anew for every question: a filter may change what it is given."""

    def __init__(self, texts: TextBatch, metadata: Mapping[str, str]) -> None:
        self.texts = texts
        self.before: list[str] = texts.text.to_pylist()
        self._ids = texts.ids.to_pylist()
        self._urls = texts.urls.to_pylist()
        self._fields = {key: texts.fields[path].to_pylist() for key, path in metadata.items()}

    def ask(self, judge: Any, rows: Sequence[int]) -> list[_Verdict]:
        """Ask about the documents of some rows; whatever the class raises goes on."""
        asked = [self._made(row) for row in rows]
        results = list(judge.filter_batch(asked))
        if len(results) != len(asked):
            raise ValueError(f"{len(results)} verdicts for {len(asked)} documents")
        return [_verdict(r, d.text) for r, d in zip(results, asked, strict=True)]

    def _made(self, row: int) -> Any:
        from datatrove.data import Document

        url = self._urls[row]
        known = {} if url is None else {"url": url}
        found = {key: values[row] for key, values in self._fields.items()}
        known |= {key: orjson.loads(value) for key, value in found.items() if value is not None}
        return Document(text=self.before[row], id=self._ids[row], metadata=known)


def find_class(path: str) -> type[Any]:
    """Class of a filter of datatrove, by its name or its dotted path.

    Raises ValueError for a module that cannot be imported and for anything that is no filter, with
    the filters that are there.
    """
    from datatrove.pipeline.filters.base_filter import BaseFilter

    place, _, name = path.rpartition(".")
    try:
        module = import_module(place or HOME)
    except Exception as error:  # noqa: BLE001 - a module of the user: it may raise anything
        raise ValueError(
            f"filter: {place!r} cannot be imported: {type(error).__name__}: {error}. A module of "
            f"your own must be installed, or its folder be in PYTHONPATH"
        ) from None
    known = {
        n: c
        for n, c in vars(module).items()
        if isinstance(c, type) and issubclass(c, BaseFilter) and not inspect.isabstract(c)
    }
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
    raise ValueError(f"filter: {module.__name__} has no filter {name!r}; {hint}")


def reason_code(reason: object) -> str:
    """Turn what the class gave as a reason into a reason code: `[a-z0-9_]`, at most 64 of them."""
    code = re.sub(r"[^a-z0-9]+", "_", str(reason or "").lower()).strip("_")
    return code[:LONGEST_REASON] or NO_REASON


def _verdict(result: Any, text: str) -> _Verdict:
    keep, reason = result if isinstance(result, tuple) else (result, None)
    return _Verdict(keep=bool(keep), reason=None if keep else reason_code(reason), text=text)


def _check_args(found: type[Any], args: Mapping[str, Any]) -> None:
    """Refuse arguments that the class does not take, or that a run cannot give it."""
    parameters = dict(list(inspect.signature(found.__init__).parameters.items())[1:])
    if WRITER in args:
        raise ValueError(f"args.{WRITER}: a run keeps dropped documents itself; set keep_dropped")
    known = [name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
    for name in () if len(known) < len(parameters) else args:
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.6)
            takes = ", ".join(n for n in known if n != WRITER)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {takes}"
            raise ValueError(f"args: {found.__name__} takes no {name!r}; {hint}")
    for name, parameter in parameters.items():
        _check_arg(found, parameter, given=name in args)
    if "seed" in parameters and args.get("seed", parameters["seed"].default) is None:
        raise ValueError(
            f"args.seed: {found.__name__} draws at random, so no two runs would agree; give a seed"
        )


def _check_arg(found: type[Any], parameter: inspect.Parameter, *, given: bool) -> None:
    variable = parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    required = parameter.default is parameter.empty and not variable
    if "Callable" in str(parameter.annotation) and (given or required):
        raise ValueError(
            f"args.{parameter.name}: {found.__name__} takes a Python function here, which no "
            f"pipeline file can hold. Derive a class from datatrove's BaseFilter that has it, and "
            f"give the class's dotted path as filter"
        )
    if required and not given:
        raise ValueError(f"args.{parameter.name}: required by {found.__name__}, but missing")


@lru_cache(maxsize=32)
def _make(label: str, path: str, args: bytes) -> Any:
    """Make the object that judges, once a part."""
    try:
        return find_class(path)(**orjson.loads(args))
    except Exception as error:
        raise FilterError(
            f"{label}: {path} cannot be made with these args: {type(error).__name__}: {error}"
        ) from error


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

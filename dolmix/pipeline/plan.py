"""From a pipeline and its inputs to passes of tasks, before anything runs.

Task counts, barriers and keys follow from the configuration and the inputs alone, so a cluster can
queue every pass up front and a rerun knows what is done. A key hashes what the task's result
depends on: its part's identity, the resolved configuration of its pass, filter versions, digests of
models and tokenizer, and the keys of the tasks that feed it.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

import orjson

from dolmix.config import parse
from dolmix.dedup import Paragraphs
from dolmix.dedup.index import FOLDER, INDEX_FORMAT, index_digest, open_index, step_identity
from dolmix.dedup.paragraphs import COMPARING, HASHING
from dolmix.errors import ConfigError, DataError, FilterError, Problem, UsageError
from dolmix.files import commit
from dolmix.files.commit import fingerprint
from dolmix.filters.base import Filter, identity
from dolmix.pipeline.ahead import PLAN_FILE
from dolmix.pipeline.sampling import num_sampled, sample_rate, sampled_parts
from dolmix.pipeline.spec import Pipeline, Source, valid_name
from dolmix.sources import Part, plan_parts
from dolmix.tokenizer import read_pin

KEY_FORMAT = "dolmix-task-1"
PLAN_FORMAT = "dolmix-plan-1"
PRIOR_PLAN_FILE = "work/prior-plan.json"
"""Plan that the run had before its filters changed: whose columns may be used again."""
DECISIONS_FORMAT = "dolmix-decisions-2"
"""What the filter pass writes of a document, and of its columns in their metadata."""
KEY_LAYOUT = "dolmix-keys-1"
"""How the signature pass writes keys and sketches."""
TOKENS_FORMAT = "dolmix-tokens-2"
"""What the tokenize pass writes beside the tokens."""
HOLDOUT_FORMAT = "dolmix-holdout-1"
"""How held-out documents are chosen."""
STORE_FORMAT = "dolmix-store-files-2"
"""Which files and columns the store pass writes."""
RANGE_BYTES = 64 << 30
"""Input bytes for which the candidate pass has one task a band."""
LIMITS_FORMAT = "dolmix-limits-1"
"""What is measured of a sample, and which limits follow."""
PASSES = (
    *("calibrate", "limits"),
    *("filter", "signatures", "candidates", "shingles", "verify", "clusters", "index"),
    *("paragraph_hashes", "paragraph_groups", "paragraph_marks"),
    *("holdout", "tokenize", "store", "valid"),
)
"""All passes, in order; each starts when the one before it is done. A plan has those it needs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work: a pure function of configuration, inputs and the tasks that feed it."""

    pass_name: str
    name: str
    """For people: `web/00003`."""
    key: str
    """64 hex digits; the identity of the result."""
    source: str = ""
    part: int = 0
    """Number of the part within its source."""
    step: int = 0
    """Number of the dedup step, for candidates."""
    band: int = 0
    """Number of the band, for candidates of MinHash."""
    key_range: int = 0
    """Number of the range of keys, for candidates and for groups of paragraphs."""


@dataclass(frozen=True)
class Plan:
    """Everything that a run will do."""

    pipeline: Pipeline
    parts: dict[str, list[Part]]
    passes: dict[str, list[Task]]

    def tasks(self, pass_name: str, source: str | None = None) -> list[Task]:
        """Tasks of a pass, in order; of one source where given."""
        return [t for t in self.passes[pass_name] if source is None or t.source == source]

    def task(self, pass_name: str, source: str, part: int) -> Task:
        """Return the task of one part in a pass over parts."""
        return self._by_part[pass_name, source, part]

    @cached_property
    def _by_part(self) -> dict[tuple[str, str, int], Task]:
        return {(t.pass_name, t.source, t.part): t for ts in self.passes.values() for t in ts}

    def describe(self) -> dict[str, Any]:
        """Give the plan as plain data: what `plan.json` and `dolmix plan --json` hold."""
        return {
            "format": PLAN_FORMAT,
            "pipeline": self.pipeline.model_dump(mode="json"),
            "parts": {s: [p.to_json() for p in parts] for s, parts in self.parts.items()},
            "passes": {name: [asdict(t) for t in tasks] for name, tasks in self.passes.items()},
        }

    def write(self) -> None:
        """Write `plan.json` into the run's folder."""
        commit.write_json(self.pipeline.output / PLAN_FILE, self.describe(), indent=1)


def read_plan(run: Path, name: str = PLAN_FILE) -> Plan:
    """Read the plan that `dolmix run` last carried out in a folder, or another one kept there.

    Raises UsageError for a folder that holds no run, or a plan of another version of dolmix.
    """
    path = run / name
    try:
        found = orjson.loads(path.read_bytes())
        parts = {s: [Part.from_json(p) for p in parts] for s, parts in found["parts"].items()}
        passes = {n: [Task(**t) for t in tasks] for n, tasks in found["passes"].items()}
    except FileNotFoundError:
        raise UsageError(f"{run}: no {name} here; this is no run of `dolmix run`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: no plan that this version of dolmix wrote ({error}). Run the pipeline again."
        ) from None
    if found.get("format") != PLAN_FORMAT:
        raise UsageError(
            f"{path}: its format is {found.get('format')!r}, this version of dolmix reads "
            f"{PLAN_FORMAT!r}. Run the pipeline again."
        )
    here = {**found["pipeline"], "output": str(run)}  # wherever the folder was when it was made
    return Plan(parse(Pipeline, here, origin=str(path)), parts, passes)


def make_plan(pipeline: Pipeline) -> Plan:
    """Look at the inputs and cut the run into tasks.

    Raises DataError for inputs that match nothing, ConfigError for a missing model, table or
    tokenizer.
    """
    steps = tuple(step.resolved() for step in pipeline.dedup)
    pipeline = pipeline.model_copy(update={"dedup": steps})
    parts = {}
    for name, source in pipeline.sources.items():
        try:
            parts[name] = plan_parts(
                source.inputs,
                part_bytes=pipeline.part_bytes,
                splittable=source.fields.id is not None,
            )
            _check_kinds(source, parts[name])
        except DataError as error:
            raise DataError(f"sources.{name}.inputs: {error}") from None
    passes = _calibration_tasks(pipeline, parts)
    limits = {t.source: t.key for t in passes.get("limits", [])}
    passes["filter"] = _filter_tasks(pipeline, parts, limits)
    dedup_key = ""
    if pipeline.document_steps:
        passes |= _dedup_tasks(pipeline, parts, passes["filter"])
        dedup_key = passes["clusters"][0].key
    if pipeline.paragraph_step is not None:
        step = pipeline.paragraph_step
        passes |= _paragraph_tasks(step, passes["filter"], dedup_key)
        dedup_key = digest_of([dedup_key, *(t.key for t in passes["paragraph_marks"])])
    held = [name for name, source in pipeline.sources.items() if source.holdout is not None]
    if held:
        passes["holdout"] = _holdout_tasks(pipeline, passes["filter"], dedup_key)
    passes["tokenize"] = _tokenize_tasks(pipeline, passes["filter"], dedup_key)
    holdout_key = passes["holdout"][0].key if held else ""
    passes["store"] = _store_tasks(
        pipeline, passes["tokenize"], list(pipeline.sources), holdout_key
    )
    if held:  # after it: where a store is refused, none of its held-out documents appears either
        passes["valid"] = _store_tasks(pipeline, passes["tokenize"], held, holdout_key, valid=True)
    return Plan(pipeline, parts, passes)


def task_key(pass_name: str, depends_on: dict[str, Any]) -> str:
    """Identity of a task's result, 64 hex digits."""
    return digest_of({"format": KEY_FORMAT, "pass": pass_name, **depends_on})


def digest_of(value: Any) -> str:
    """Digest plain data, floats among it, in 64 hex digits."""
    return fingerprint(_without_floats(value))


def _calibration_tasks(pipeline: Pipeline, parts: dict[str, list[Part]]) -> dict[str, list[Task]]:
    """Tasks over the parts of a source's sample, and one a source; none where no limit is asked.

    What is measured depends on no limit and no share, so that another share reads no text again.
    """
    measured: list[Task] = []
    found: list[Task] = []
    for name, source in pipeline.sources.items():
        filters = source.filters[: num_sampled(source.filters)]
        if not filters:
            continue
        chosen = sampled_parts(pipeline, name, parts[name])
        rate = sample_rate(pipeline, parts[name], chosen)
        depends_on: dict[str, Any] = {
            "format": LIMITS_FORMAT,
            "source": name,
            "fields": source.fields.model_dump(mode="json"),
            "filters": [
                _unlimited_identity(f, where=f"sources.{name}.filters.{number}")
                for number, f in enumerate(filters)
            ],
            "unicode": unidata_version,
            "policy": pipeline.on_bad_record.policy,
            "reading": _reading(name, source) if source.warc is not None else None,
            "sample": [*rate, pipeline.seed if rate != (1, 1) else 0],
        }
        for number in chosen:
            where = {k: v for k, v in parts[name][number].to_json().items() if k != "uri"}
            key = task_key("calibrate", {**depends_on, "part": where})
            measured.append(Task("calibrate", f"{name}/{number:05d}", key, name, number))
        asked = [[f.label, asdict(quantile)] for f in filters for quantile in f.quantiles()]
        upstream = [t.key for t in measured if t.source == name]
        key = task_key("limits", {"format": LIMITS_FORMAT, "asked": asked, "from": upstream})
        found.append(Task("limits", name, key, name))
    return {"calibrate": measured, "limits": found} if found else {}


def _unlimited_identity(filter_: Filter, *, where: str) -> dict[str, Any]:
    """Name what a filter measures and decides where its limits are not found yet."""
    about = _identity(filter_, where=where)
    asked = {name for q in filter_.quantiles() for name in (q.setting, q.given_by)}
    about["config"] = {k: v for k, v in about["config"].items() if k not in asked}
    return {**about, "columns": list(filter_.column_types())} if asked else about


def _filter_tasks(
    pipeline: Pipeline, parts: dict[str, list[Part]], limits: dict[str, str]
) -> list[Task]:
    tasks = []
    for name, source in pipeline.sources.items():
        judged_by: dict[str, Any] = {
            "format": DECISIONS_FORMAT,
            "source": name,
            "fields": source.fields.model_dump(mode="json"),
            "filters": [
                _identity(f, where=f"sources.{name}.filters.{number}")
                for number, f in enumerate(source.filters)
            ],
            "unicode": unidata_version,
            "policy": pipeline.on_bad_record.policy,
            "tag": pipeline.tag,
        }
        if source.warc is not None:
            judged_by["reading"] = _reading(name, source)
        if name in limits:
            judged_by["limits"] = limits[name]
        for number, part in enumerate(parts[name]):
            where = {k: v for k, v in part.to_json().items() if k != "uri"}
            key = task_key("filter", {**judged_by, "part": where})
            tasks.append(Task("filter", f"{name}/{number:05d}", key, name, number))
    return tasks


def _reading(name: str, source: Source) -> dict[str, Any] | None:
    try:
        return source.reading()
    except DataError as error:
        raise ConfigError("pipeline", [Problem(f"sources.{name}.warc", str(error))]) from None


def _check_kinds(source: Source, parts: Sequence[Part]) -> None:
    """Refuse WARC files that a pattern reaches without saying that it does."""
    path = next((part.path for part in parts if part.kind == "warc"), None)
    if path is not None and source.warc is None:
        raise DataError(
            f"{path} is a WARC file, by a pattern that does not say so. Give the source the "
            f"setting 'warc: {{}}', or narrow the pattern."
        )


def _identity(filter_: Filter, *, where: str) -> dict[str, Any]:
    try:
        return identity(filter_)
    except FilterError as error:
        raise ConfigError("pipeline", [Problem(where, str(error))]) from None


def key_ranges(pipeline: Pipeline, parts: dict[str, list[Part]]) -> int:
    """Ranges that the keys of a band are cut into: as set, or one for 64 GiB of input files."""
    if pipeline.dedup_ranges is not None:
        return pipeline.dedup_ranges
    files = {(s, p.path): int(p.identity["size"]) for s, ps in parts.items() for p in ps}
    return 1 + sum(files.values()) // RANGE_BYTES


def _dedup_tasks(
    pipeline: Pipeline, parts: dict[str, list[Part]], filtered: Sequence[Task]
) -> dict[str, list[Task]]:
    """Tasks over parts, over ranges of keys, where asked for over parts again, and over all."""
    steps = pipeline.document_steps
    held = [step_identity(step) for step in steps]
    signatures = _over_parts("signatures", {"layout": KEY_LAYOUT, "steps": held}, filtered)
    olds = [_older_side(pipeline, number) for number in range(len(steps))]
    ranges = key_ranges(pipeline, parts)
    upstream = [t.key for t in signatures]
    candidates = []
    for number, step in enumerate(steps):
        settled = {"step": held[number], "verified": step.verifies, "against": olds[number]}
        for band, place in product(range(step.num_bands), range(ranges)):
            at = {"band": band, "range": [place, ranges], "from": upstream}
            key = task_key("candidates", {**settled, **at})
            name = f"{step.label}/{band:03d}" + (f".{place:04d}" if ranges > 1 else "")
            candidates.append(Task("candidates", name, key, "", 0, number, band, place))
    made = {"signatures": signatures, "candidates": candidates}
    if any(step.verifies for step in steps):
        chosen = [number for number, step in enumerate(steps) if step.verifies]
        found = {"verified": chosen, "from": [t.key for t in candidates]}
        made["shingles"] = _over_parts("shingles", {"candidates": found}, signatures)
        upstream = [t.key for t in made["shingles"]]
        made["verify"] = _over_parts("verify", {"shingles": upstream}, made["shingles"])
    last = made.get("verify", candidates)
    choices = [step.model_dump(mode="json", exclude={"against"}) for step in steps]
    depends_on = {"steps": choices, "priority": list(pipeline.sources), "against": olds}
    keys = [t.key for t in (*candidates, *(last if last is not candidates else ()))]
    made["clusters"] = [Task("clusters", "all", task_key("clusters", {**depends_on, "from": keys}))]
    if pipeline.dedup_index:
        key = task_key("index", {"format": INDEX_FORMAT, "from": made["clusters"][0].key})
        made["index"] = [Task("index", "all", key)]
    return made


def _older_side(pipeline: Pipeline, step: int) -> str | None:
    """Digest of the index that a step compares against."""
    dedup, where = pipeline.document_steps[step], f"dedup.{step}.against"
    if dedup.against is None:
        return None
    own = pipeline.output.resolve()
    if dedup.against.resolve() in {own, own / FOLDER}:
        same = f"{dedup.against} is this run itself; name the folder of an older run"
        raise ConfigError("pipeline", [Problem(where, same)])
    try:
        return index_digest(open_index(dedup.against, dedup, where=where))
    except UsageError as error:
        problem = Problem(where, str(error).removeprefix(f"{where}: "))
        raise ConfigError("pipeline", [problem]) from None


def _over_parts(pass_name: str, depends_on: dict[str, Any], before: Sequence[Task]) -> list[Task]:
    """One task a part, each fed by the part's task of an earlier pass."""
    return [
        Task(
            pass_name,
            task.name,
            task_key(pass_name, {**depends_on, "from": task.key}),
            task.source,
            task.part,
        )
        for task in before
    ]


def _paragraph_tasks(
    step: Paragraphs, filtered: Sequence[Task], dedup_key: str
) -> dict[str, list[Task]]:
    """Tasks over parts, over ranges of keys, and over parts again."""
    config = step.model_dump(mode="json")
    hashing, comparing = ({name: config.pop(name) for name in s} for s in (HASHING, COMPARING))
    settled = {"version": step.version, "config": hashing, "dedup": dedup_key}
    hashed = _over_parts("paragraph_hashes", settled, filtered)
    config.pop("against")  # what it holds counts, not where it is
    settled = {
        "config": comparing,
        "against": step.older_digests(),
        "from": [t.key for t in hashed],
    }
    groups = []
    for number in range(step.tasks):
        key = task_key("paragraph_groups", {**settled, "range": number})
        name = f"{step.label}/{number:04d}"
        groups.append(Task("paragraph_groups", name, key, key_range=number))
    settled = {"config": config, "groups": [t.key for t in groups]}
    marked = _over_parts("paragraph_marks", settled, hashed)
    return {"paragraph_hashes": hashed, "paragraph_groups": groups, "paragraph_marks": marked}


def _tokenize_tasks(pipeline: Pipeline, filtered: Sequence[Task], dedup_key: str) -> list[Task]:
    pin = read_pin(pipeline.tokenizer)
    depends_on = {
        "format": TOKENS_FORMAT,
        "tokenizer": pin.model_dump(mode="json"),
        "tokenizers": version("tokenizers"),
        "special_in_text": pipeline.tokenizer.special_in_text,
        "keep_columns": pipeline.keep_columns,
        "keep_dropped": pipeline.keep_dropped,
        "dedup": dedup_key,
    }
    return [
        Task(
            "tokenize",
            task.name,
            task_key("tokenize", {**depends_on, "from": task.key}),
            task.source,
            task.part,
        )
        for task in filtered
    ]


def _holdout_tasks(pipeline: Pipeline, filtered: Sequence[Task], dedup_key: str) -> list[Task]:
    """One task over all parts: which documents are held out."""
    if not pipeline.document_steps:
        _log.warning(
            "holdout: the pipeline has no dedup step, so that every document is its own cluster:"
            " a copy of a held-out document may stay in training. Add a step, as {type: minhash}."
        )
    holdouts = {
        name: source.holdout.model_dump(mode="json")
        for name, source in pipeline.sources.items()
        if source.holdout is not None
    }
    depends_on = {
        "format": HOLDOUT_FORMAT,
        "seed": pipeline.seed,
        "holdout": holdouts,
        "dedup": dedup_key,
        "from": [t.key for t in filtered],
    }
    return [Task("holdout", "all", task_key("holdout", depends_on))]


def _store_tasks(
    pipeline: Pipeline,
    tokenized: Sequence[Task],
    names: Sequence[str],
    holdout_key: str,
    *,
    valid: bool = False,
) -> list[Task]:
    """One task a source: its store, or with `valid` the store of what it holds out."""
    tasks = []
    pass_name = "valid" if valid else "store"
    for name in names:
        source = pipeline.sources[name]
        depends_on = {
            "format": STORE_FORMAT,
            "source": name,
            "version": source.version,
            "seed": pipeline.seed,
            "shard_tokens": pipeline.shard_tokens,
            "max_unk_frac": pipeline.max_unk_frac,
            "holdout": holdout_key if source.holdout is not None else "",
            "from": [t.key for t in tokenized if t.source == name],
        }
        store = f"{valid_name(name) if valid else name}@{source.version}"
        tasks.append(Task(pass_name, store, task_key(pass_name, depends_on), name))
    return tasks


def _without_floats(value: Any) -> Any:
    """Write floats as text, so that a key never depends on how a JSON library prints them."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {k: _without_floats(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_floats(v) for v in value]
    return value

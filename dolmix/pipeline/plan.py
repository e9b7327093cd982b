"""From a pipeline and its inputs to passes of tasks, before anything runs.

Task counts, barriers and keys follow from the configuration and the inputs alone, so a cluster can
queue every pass up front and a rerun knows what is done. A key hashes what the task's result
depends on: its part's identity, the resolved configuration of its pass, filter versions, digests of
models and tokenizer, and the keys of the tasks that feed it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

import orjson

from dolmix.config import parse
from dolmix.errors import ConfigError, DataError, FilterError, Problem, UsageError
from dolmix.files import commit
from dolmix.files.commit import fingerprint
from dolmix.filters.base import Filter, identity
from dolmix.pipeline.spec import Pipeline
from dolmix.sources import Part, plan_parts
from dolmix.tokenizer import Tokenizer

KEY_FORMAT = "dolmix-task-1"
PLAN_FORMAT = "dolmix-plan-1"
PLAN_FILE = "plan.json"
PASSES = ("filter", "signatures", "candidates", "clusters", "tokenize", "store")
"""All passes, in order; each starts when the one before it is done."""


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


def read_plan(run: Path) -> Plan:
    """Read the plan that `dolmix run` last carried out in a folder.

    Raises UsageError for a folder that holds no run, or a plan of another version of dolmix.
    """
    path = run / PLAN_FILE
    try:
        found = orjson.loads(path.read_bytes())
        parts = {s: [Part.from_json(p) for p in parts] for s, parts in found["parts"].items()}
        passes = {n: [Task(**t) for t in tasks] for n, tasks in found["passes"].items()}
    except FileNotFoundError:
        raise UsageError(f"{run}: no {PLAN_FILE} here; this is no run of `dolmix run`") from None
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
        except DataError as error:
            raise DataError(f"sources.{name}.inputs: {error}") from None
    passes: dict[str, list[Task]] = {"filter": _filter_tasks(pipeline, parts)}
    dedup_key = ""
    if pipeline.dedup:
        passes |= _dedup_tasks(pipeline, passes["filter"])
        dedup_key = passes["clusters"][0].key
    passes["tokenize"] = _tokenize_tasks(pipeline, passes["filter"], dedup_key)
    passes["store"] = _store_tasks(pipeline, passes["tokenize"])
    return Plan(pipeline, parts, passes)


def task_key(pass_name: str, depends_on: dict[str, Any]) -> str:
    """Identity of a task's result, 64 hex digits."""
    return digest_of({"format": KEY_FORMAT, "pass": pass_name, **depends_on})


def digest_of(value: Any) -> str:
    """Digest plain data, floats among it, in 64 hex digits."""
    return fingerprint(_without_floats(value))


def _filter_tasks(pipeline: Pipeline, parts: dict[str, list[Part]]) -> list[Task]:
    tasks = []
    for name, source in pipeline.sources.items():
        judged_by = {
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
        for number, part in enumerate(parts[name]):
            where = {k: v for k, v in part.to_json().items() if k != "uri"}
            key = task_key("filter", {**judged_by, "part": where})
            tasks.append(Task("filter", f"{name}/{number:05d}", key, name, number))
    return tasks


def _identity(filter_: Filter, *, where: str) -> dict[str, Any]:
    try:
        return identity(filter_)
    except FilterError as error:
        raise ConfigError("pipeline", [Problem(where, str(error))]) from None


def _dedup_tasks(pipeline: Pipeline, filtered: Sequence[Task]) -> dict[str, list[Task]]:
    steps = [
        {
            "config": step.model_dump(mode="json"),
            "version": step.version,
            "digests": step.digests(),
        }
        for step in pipeline.dedup
    ]
    signatures = []
    for task in filtered:
        key = task_key("signatures", {"steps": steps, "from": task.key})
        signatures.append(Task("signatures", task.name, key, task.source, task.part))
    upstream = [t.key for t in signatures]
    candidates = []
    for number, step in enumerate(pipeline.dedup):
        for band in range(step.num_bands):
            depends_on = {"step": steps[number], "band": band, "from": upstream}
            key = task_key("candidates", depends_on)
            name = f"{step.label}/{band:03d}"
            candidates.append(Task("candidates", name, key, step=number, band=band))
    key = task_key(
        "clusters",
        {
            "steps": steps,
            "priority": list(pipeline.sources),
            "from": [t.key for t in candidates],
        },
    )
    return {
        "signatures": signatures,
        "candidates": candidates,
        "clusters": [Task("clusters", "all", key)],
    }


def _tokenize_tasks(pipeline: Pipeline, filtered: Sequence[Task], dedup_key: str) -> list[Task]:
    pin = Tokenizer(pipeline.tokenizer).pin()
    depends_on = {
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


def _store_tasks(pipeline: Pipeline, tokenized: Sequence[Task]) -> list[Task]:
    tasks = []
    for name, source in pipeline.sources.items():
        depends_on = {
            "source": name,
            "version": source.version,
            "seed": pipeline.seed,
            "shard_tokens": pipeline.shard_tokens,
            "max_unk_frac": pipeline.max_unk_frac,
            "from": [t.key for t in tokenized if t.source == name],
        }
        tasks.append(Task("store", f"{name}@{source.version}", task_key("store", depends_on), name))
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

"""datatrove's whole way from files to tokens, as its users put it together, and what it decided.

Reader, language, Gopher repetition, Gopher quality; MinHash in its four stages; DocumentTokenizer,
documents in reading order. Each stage is one local executor of its own. What is dropped is
written, with its reason, where datatrove's filters write it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dolmix.pipeline.context import TaskContext
from dolmix.pipeline.plan import read_plan
from dolmix.shards import open_store

LANGUAGE = "en"
NUM_BUCKETS = 14
PATTERN = "*.jsonl.zst"
SETTINGS: dict[str, dict[str, Any]] = {
    "exact": {
        "filters": [
            {"type": "repetition", "preset": "datatrove-0.10"},
            {"type": "gopher", "preset": "datatrove-0.10"},
        ],
        "dedup": [{"type": "minhash", "preset": "datatrove-0.10", "short": "keep"}],
    },
    "defaults": {
        "filters": [{"type": "gopher"}, {"type": "repetition"}],
        "dedup": [{"type": "minhash"}],
    },
}
"""dolmix on the same way: datatrove's decisions, or its own defaults; language comes first."""
REASONS = {
    "repetition": {
        "empty": "empty",
        "dup_para_frac": "dup_para_frac",
        "dup_para_char_frac": "dup_para_char_frac",
        "dup_line_frac": "dup_line_frac",
        "dup_line_char_frac": "dup_line_char_frac",
        **{f"top_{n}_gram": f"top_{n}gram_char_frac" for n in (2, 3, 4)},
        **{f"duplicated_{n}_n_grams": f"dup_{n}gram_char_frac" for n in (5, 6, 7, 8, 9, 10)},
    },
    "gopher": {
        "gopher_short_doc": "word_count_low",
        "gopher_long_doc": "word_count_high",
        "gopher_below_avg_threshold": "mean_word_length_low",
        "gopher_above_avg_threshold": "mean_word_length_high",
        "gopher_too_many_hashes": "hash_frac",
        "gopher_too_many_ellipsis": "ellipsis_frac",
        "gopher_too_many_bullets": "bullet_line_frac",
        "gopher_too_many_end_ellipsis": "ellipsis_line_frac",
        "gopher_below_alpha_threshold": "alpha_word_frac",
        "gopher_enough_stop_words": "stop_words",
    },
    "c4": {
        "lorem_ipsum": "lorem_ipsum",
        "curly_bracket": "curly_bracket",
        "too_few_sentences": "sentences",
    },
    "fineweb": {
        "empty": "lines",
        "line_punct_ratio": "line_punct_frac",
        "short_line_ratio": "short_line_frac",
        "char_dup_ratio": "dup_line_char_frac",
        "list_ratio": "newlines_per_word",
    },
}
"""Our filter, datatrove's reason, our reason."""


@dataclass(frozen=True)
class Verdicts:
    """What datatrove decided.

    dropped   id → reason, of the filters, as dolmix names it
    repeated  ids that MinHash removed
    tokens    id → token ids, EOS included, of what is left
    """

    dropped: dict[str, str]
    repeated: set[str]
    tokens: dict[str, list[int]]


def pipeline_of(
    setting: str, inputs: Sequence[Path], output: Path, model: Path, tokenizer: Path
) -> dict[str, Any]:
    """Write dolmix's pipeline file for the same steps."""
    chosen = SETTINGS[setting]
    language = {"type": "language", "keep": [LANGUAGE], "model": str(model)}
    source = {"inputs": list(map(str, inputs)), "filters": [language, *chosen["filters"]]}
    return {
        "name": f"whole-{setting}",
        "output": str(output),
        "sources": {"web": source},
        "dedup": chosen["dedup"],
        # datatrove makes a literal special token in a text that token
        "tokenizer": {"path": str(tokenizer), "special_in_text": "allow"},
    }


def our_verdicts(run: Path) -> Verdicts:
    """Read what a finished run of dolmix decided, reasons of filters as datatrove names them."""
    dropped, repeated = {}, set()
    plan = read_plan(run)
    for part in range(len(plan.parts["web"])):
        context = TaskContext(plan, plan.task("tokenize", "web", part), run / "unused")
        ids = context.decisions(["id"])["id"].to_pylist()
        for id_, reason in zip(ids, context.reasons().to_pylist(), strict=True):
            name, _, code = (reason or "").partition(".")
            if name == "minhash":
                repeated.add(id_)
            elif reason is not None:
                dropped[id_] = f"language.{None}" if name == "language" else f"{name}.{code}"
    with open_store(run / "stores" / "web@1") as store:
        rows = store.provenance(range(store.num_documents))
        tokens = {
            row.id: store.tokens(*store.document_span(n)).tolist() for n, row in enumerate(rows)
        }
    return Verdicts(dropped, repeated, tokens)


def differences(ours: Verdicts, theirs: Verdicts) -> Iterator[str]:
    """Say where two ways decided otherwise."""
    for id_ in sorted(ours.dropped.keys() | theirs.dropped.keys()):
        mine, peer = ours.dropped.get(id_), theirs.dropped.get(id_)
        if mine != peer:
            yield f"{id_}: dropped for {mine}, by datatrove for {peer}"
    for id_ in sorted(ours.repeated ^ theirs.repeated):
        yield f"{id_}: repeated only for {'dolmix' if id_ in ours.repeated else 'datatrove'}"
    for id_ in sorted(ours.tokens.keys() | theirs.tokens.keys()):
        if ours.tokens.get(id_) != theirs.tokens.get(id_):
            yield f"{id_}: other tokens"


def run_datatrove(inputs: Path, work: Path, model: Path, tokenizer: Path, workers: int = 2) -> None:
    """Run every stage over the .jsonl.zst files of a folder.

    tokenizer  a plain `tokenizer.json`
    """
    from datatrove.pipeline.dedup import minhash as peer
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.logging import logger
    from datatrove_steps import pinned_language, pinned_signatures  # found on the tests' path

    logger.remove()

    def writer(folder: str) -> Any:
        return JsonlWriter(str(work / folder), compression=None)

    def reader(folder: str) -> Any:
        return JsonlReader(str(work / folder), doc_progress=False, file_progress=False)

    def execute(name: str, steps: list[Any], tasks: int = workers) -> None:
        from datatrove.executor.local import LocalPipelineExecutor

        logs = str(work / "logs" / name)
        LocalPipelineExecutor(steps, tasks=tasks, workers=workers, logging_dir=logs).run()

    config = peer.MinhashConfig()
    signatures, pairs, removals = (str(work / n) for n in ("signatures", "buckets", "removals"))
    execute(
        "filters",
        [
            JsonlReader(str(inputs), glob_pattern=PATTERN, doc_progress=False, file_progress=False),
            pinned_language(model, [LANGUAGE], writer("dropped/language")),
            GopherRepetitionFilter(exclusion_writer=writer("dropped/repetition")),
            GopherQualityFilter(exclusion_writer=writer("dropped/gopher")),
            writer("kept"),
        ],
    )
    execute("signatures", [reader("kept"), pinned_signatures(signatures, config)])
    execute("buckets", [peer.MinhashDedupBuckets(signatures, pairs, config=config)], NUM_BUCKETS)
    execute("clusters", [peer.MinhashDedupCluster(pairs, removals, config)], 1)
    execute(
        "removal",
        [
            reader("kept"),
            peer.MinhashDedupFilter(removals, exclusion_writer=writer("dropped/minhash")),
            writer("left"),
        ],
    )
    execute(
        "tokens",
        [
            reader("left"),
            DocumentTokenizer(
                str(work / "tokens"),
                str(tokenizer),
                eos_token="<|endoftext|>",
                shuffle_documents=False,
            ),
        ],
    )


def read_verdicts(work: Path) -> Verdicts:
    """Read what a finished run decided."""
    dropped: dict[str, str] = {}
    for name in ("language", *REASONS):
        for row in _rows(work / "dropped" / name):
            reason = row["metadata"].get("filter_reason")
            dropped[row["id"]] = f"{name}.{REASONS.get(name, {}).get(reason, reason)}"
    repeated = {row["id"] for row in _rows(work / "dropped" / "minhash")}
    return Verdicts(dropped, repeated, dict(_tokens(work)))


def _tokens(work: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield id and tokens of each document: a task reads the files of its rank in order."""
    for path in sorted((work / "tokens").glob("*.ds")):
        rank = path.name.partition("_")[0]
        ids = [row["id"] for row in _rows(work / "left", f"{rank}*.jsonl")]
        ends = np.fromfile(f"{path}.index", "<u8").tolist()
        size = Path(f"{path}.metadata").read_text().splitlines()[0].rpartition("|")[2]
        tokens = np.fromfile(path, f"<u{size}")
        for id_, start, stop in zip(ids, [0, *ends], ends, strict=False):
            yield id_, tokens[start:stop].tolist()


def _rows(folder: Path, pattern: str = "*.jsonl") -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(pattern)):
        with path.open("rb") as file:
            yield from map(json.loads, file)

"""Loading ahead what the tasks of a pipeline ask for: kernels, tables, models, the tokenizer.

Done once in the process that workers are forked from, so that every worker of every pass has it
all, and shares the memory. Nothing depends on it: what cannot be loaded here is left to the task
that needs it, which says what is wrong.
"""

import logging
import os
from collections.abc import Callable
from threading import Thread
from typing import Any

import numpy as np
import orjson

from dolmix.document import TextBatch
from dolmix.files.records import FieldPaths
from dolmix.pipeline.ahead import WARM
from dolmix.pipeline.pool import load_engine
from dolmix.pipeline.spec import Pipeline, Source
from dolmix.tokenizer import TokenizerConfig, load_tokenizer

TEXT = """A document of some sentences, so that every kernel has something to do.
It is plain English prose with the words that and have and with, the usual marks, and a number, 17.
- a line that starts as lists do
Words repeat: one two three four five, one two three four five, and then the end...

Another paragraph, with a caf\u00e9 and a quote: "isn't it?"
"""

_log = logging.getLogger(__name__)


def warm_up(pipeline: Pipeline) -> None:
    """Load everything in this process; whatever fails is passed over."""
    # most of a tokenizer's loading is compiled code that lets all else be loaded meanwhile
    tokenizer = Thread(target=_try, args=(_load_tokenizer, pipeline.tokenizer))
    tokenizer.start()
    load_tasks()
    batches = {name: _batch(source) for name, source in pipeline.sources.items()}
    for name, source in pipeline.sources.items():
        for filter_ in source.filters:
            if not filter_.has_state:
                _try(filter_.columns, batches[name])
    _try(_read_a_line)
    for step in pipeline.document_steps:
        _try(step.sign, TextBatch.of([TEXT]))
    tokenizer.join()


def warm_up_from_environment() -> None:
    """Load what the pipeline needs that the parent process names, if it does."""
    given = os.environ.pop(WARM, "")
    if given:
        _try(lambda text: warm_up(Pipeline.model_validate(orjson.loads(text))), given)
    load_tasks()


def load_tasks() -> None:
    """Load what runs a task, whatever it is asked for."""
    import dolmix.pipeline.worker  # noqa: F401

    load_engine()


def _batch(source: Source) -> TextBatch:
    paths = {path for filter_ in source.filters for path in filter_.fields()}
    fields: dict[str, list[str | None]] = {path: [None] for path in paths}
    return TextBatch.of([TEXT], fields=fields)


def _read_a_line() -> None:
    from dolmix.text.json_rows import JsonRows

    rows = JsonRows(FieldPaths(("text",), ("id",), None, {}), (1, 1), str)
    rows.read(np.frombuffer(b'{"text": "a", "id": "b"}', np.uint8), 0, 0)
    rows.take()


def _load_tokenizer(config: TokenizerConfig) -> None:
    load_tokenizer(config).load_ahead()


def _try(load: Callable[..., Any], *given: Any) -> None:
    try:
        load(*given)
    except Exception as error:  # noqa: BLE001 - the task that needs it will say so
        _log.debug("not loaded ahead: %s", error)

"""Builders of small stores, locks and runs for the trainer's tests."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from question_files import answers, write_letters, write_questions
from zygote import Zygote

from dolmix.config import parse
from dolmix.mix import load_mix, resolve
from dolmix.shards import StoreWriter
from dolmix.tokenizer import Tokenizer, TokenizerConfig, TokenizerPin
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.loop import Training
from trainer.parallel import join_world

VOCAB = 61
LENGTH = 12
PIN = TokenizerPin(
    digest="0" * 64,
    largest_id=VOCAB - 1,
    eos="<eos>",
    eos_id=0,
    unk_id=None,
    specials={"<eos>": 0},
)


def write_store(
    folder: Path,
    source: str,
    num_tokens: int,
    seed: int,
    *,
    repeated: int = 0,
    pin: TokenizerPin = PIN,
    num_bytes: int | None = None,
) -> Path:
    """Commit a store of documents of 2 to 40 tokens that count upwards: a model can learn it.

    Before them goes one of `repeated` tokens that are all the same. Its texts had `num_bytes`, as
    many as there are tokens unless given.
    """
    rng = np.random.default_rng(seed)
    lengths = [repeated] if repeated else []
    while sum(lengths) < num_tokens:
        lengths.append(int(rng.integers(2, 41)))
    tokens = np.zeros(sum(lengths), np.int64)
    ends = np.cumsum(lengths)
    for start, end in zip(ends - lengths, ends, strict=True):
        tokens[start:end] = 1 + (rng.integers(VOCAB - 1) + np.arange(end - start)) % (VOCAB - 1)
        tokens[end - 1] = 0
    tokens[: max(repeated - 1, 0)] = 7
    count = len(lengths)
    documents = pa.table(
        {
            "id": [f"{source}-{n}" for n in range(count)],
            "url": pa.nulls(count, pa.string()),
            "path": ["made.jsonl"] * count,
            "record": list(range(count)),
        }
    )
    size = len(tokens) if num_bytes is None else num_bytes
    path = folder / f"{source}@1"
    with StoreWriter(
        path, source=source, version=1, tokenizer=pin, special_in_text="plain", parents=[]
    ) as writer:
        writer.append(tokens.astype(np.uint16), np.asarray(lengths), documents, size)
        writer.commit()
    return path


def write_lock(
    folder: Path,
    *,
    seed: int = 5,
    steps: int = 12,
    batch: int = 8,
    length: int = LENGTH,
    pin: TokenizerPin = PIN,
) -> Path:
    """Resolve a mix of two small stores to a lock of `steps` steps of `batch` instances."""
    for number, source in enumerate(("code", "web")):
        if not (folder / f"{source}@1").exists():
            write_store(folder, source, 100 * length, number, pin=pin)
    mix = {
        "name": "tiny",
        "seed": seed,
        "sequence_length": length,
        "block": 16,
        "batch_size": batch,
        "sources": {
            name: {"store": str(folder / f"{name}@1"), "max_epochs": 4} for name in ("code", "web")
        },
        "stages": [
            {
                "name": "main",
                "tokens": steps * batch * length,
                "weights": {"code": 0.3, "web": 0.7},
            }
        ],
    }
    text = yaml.safe_dump(mix)
    (folder / f"mix-{seed}.yaml").write_text(text)
    path = folder / f"mix-{seed}.lock.json"
    resolve(load_mix(folder / f"mix-{seed}.yaml"), text, folder).write(path)
    return path


def settings(lock: Path, output: Path) -> dict[str, Any]:
    """Give the settings of a run of a very small model, as YAML would."""
    return {
        "lock": str(lock),
        "output": str(output),
        "device": "cpu",
        "threads": 1,
        "microbatch": 2,
        "log_every": 4,
        "model": {
            "vocab": 64,
            "d_model": 16,
            "layers": 2,
            "heads": 2,
            "experts": 4,
            "top_k": 2,
            "d_ff": 8,
        },
        "optimizer": {"lr": 3e-3},
    }


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Write a lock of 12 steps of 8 instances, with its stores."""
    return write_lock(tmp_path)


@pytest.fixture
def configure(lock: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Build a run's configuration on `lock`; `output` is a folder name below the test's own."""

    def build(output: str = "out", **changes: Any) -> TrainConfig:
        return parse(TrainConfig, settings(lock, tmp_path / output) | changes, origin="test")

    return build


@pytest.fixture
def train() -> Callable[..., bool]:
    """Give a function that trains in this process, as the only one of its run.

    `train(config, stop_before=n)` asks for an end before the n-th step from the start; it returns
    whether the run got to its last step.
    """

    def run(config: TrainConfig, *, stop_before: int | None = None) -> bool:
        asked = count(1)
        with (
            join_world(config) as world,
            Data(config, rank=world.rank, world=world.size) as data,
        ):
            return Training(config, data, world).run(lambda: next(asked) == stop_before)

    return run


@pytest.fixture
def small_model(lock: Path, tmp_path: Path) -> dict[str, Any]:
    """Give the model settings that `configure` uses, to be changed."""
    model: dict[str, Any] = settings(lock, tmp_path)["model"]
    return model


@pytest.fixture
def relock() -> Callable[..., Path]:
    """Give the writer of locks: `relock(folder, seed=..., steps=..., batch=..., length=...)`."""
    return write_lock


@pytest.fixture
def stores() -> Callable[..., Path]:
    """Give the writer of stores: `stores(folder, source, num_tokens, seed)`."""
    return write_store


@pytest.fixture
def repeating_lock(tmp_path: Path) -> Path:
    """Write a lock of 12 steps of 8 instances of 48 tokens; 20 instances of code repeat one."""
    folder = tmp_path / "repeating"
    folder.mkdir()
    write_store(folder, "code", 100 * 48, 0, repeated=20 * 48)
    return write_lock(folder, length=48)


@pytest.fixture
def rewrite_store() -> Callable[[Path, str], Path]:
    """Give a function that puts other content in the place of a store."""

    def rewrite(folder: Path, source: str) -> Path:
        shutil.rmtree(folder / f"{source}@1")
        return write_store(folder, source, 1200, seed=99)

    return rewrite


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Give the process that runs of several ranks are forked from."""
    started = Zygote()
    yield started
    started.close()


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where there is one: runs that write many checkpoints wait for it."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def letters(tmp_path: Path) -> Tokenizer:
    """Load a tokenizer of letters, that of the stores of `evaluated`."""
    path = write_letters(tmp_path / "tokenizer.json")
    return Tokenizer(TokenizerConfig(path=path, eos="<eos>"))


@pytest.fixture
def evaluated(
    configure: Callable[..., TrainConfig],
    tmp_path: Path,
    letters: Tokenizer,
    stores: Callable[..., Path],
    relock: Callable[..., Path],
) -> Callable[..., TrainConfig]:
    """Build a run of 12 steps that is evaluated every 5, on two stores and two tasks.

    The texts of the held-out stores have 3 bytes a token (code) and 5 (web).
    """
    folder = tmp_path / "evaluated"
    held_out = folder / "held-out"
    held_out.mkdir(parents=True)
    lock = relock(folder, pin=letters.pin())
    paths = {}
    for number, name in enumerate(("code", "web")):
        path = stores(held_out, name, 9 * 12, 70 + number, pin=letters.pin(), num_bytes=777)
        paths[name] = str(path)
    one = [line for n, text in enumerate("cat") for line in answers(n, "a", [f" {text}"], [text])]
    tasks = {
        "made": str(write_questions(tmp_path / "made.jsonl.gz")),
        "one": str(write_questions(tmp_path / "one.jsonl", one)),
    }

    def build(output: str = "out", **changes: Any) -> TrainConfig:
        evaluation = {
            "every_steps": 5,
            "stores": paths,
            "tokens": 7 * 12 - 3,
            "tasks": tasks,
            "tokenizer": {"path": str(letters.config.path), "eos": "<eos>"},
        } | changes.pop("evaluation", {})
        return configure(output, lock=str(lock), evaluation=evaluation, **changes)

    return build

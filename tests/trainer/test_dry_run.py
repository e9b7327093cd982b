"""`--dry-run`: what is foretold is what would happen."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml

from dolmix.cli.train import train as start
from dolmix.config import load, parse
from dolmix.errors import ConfigError, OrderError, UsageError
from dolmix.mix import read_lock
from dolmix.order import Order
from trainer.attention import rope_table
from trainer.checkpoint import training_tensors
from trainer.config import ModelConfig, TrainConfig
from trainer.data import Data
from trainer.dry_run import MEASURED, OLMOE, dry_run, epochs, forecast
from trainer.footprint import Plan, count, layer_bytes, memory
from trainer.loop import Training
from trainer.model import Block, count_parameters
from trainer.parallel import join_world

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]
SHARDED: dict[str, Any] = {"precision": {"state": "float32"}, "processes": 2}
FOUR = SHARDED | {"processes": 4}
EXPERTS: dict[str, Any] = {"recompute": "experts"}
KEPT: dict[str, Any] = {"recompute": "experts", "comm": "step"}


def olmoe(rows: int, **changes: Any) -> TrainConfig:
    """Give OLMoE-1B-7B's shape, with bfloat16 state unless said otherwise."""
    raw: dict[str, Any] = {
        "lock": "none", "output": "none", "device": "cuda", "microbatch": rows,
        "model": OLMOE.model_dump(), "optimizer": {"lr": 4e-4},
        "precision": {"state": "bfloat16"},
    }  # fmt: skip
    return parse(TrainConfig, raw | changes, origin="test")


@pytest.mark.parametrize(
    ("config", "microbatches", "measured"),
    [
        (olmoe(12), 1, 126),
        (olmoe(16, parallel=EXPERTS), 1, 122),
        (olmoe(8), 1, 97),
        (olmoe(6, parallel=EXPERTS), 1, 71),
        (olmoe(8, parallel=KEPT, **SHARDED), 1, 94),
        (olmoe(8, **SHARDED), 1, 99),
        (olmoe(8, parallel=KEPT, **SHARDED), 8, 120),
        (olmoe(8, **SHARDED), 8, 112),
        (olmoe(8, **FOUR), 1, 80),
        (olmoe(4, **FOUR), 1, 51),
        (olmoe(8, parallel={"comm": "step"}, **FOUR), 1, 91),
        (olmoe(8, parallel={"comm": "step"}, **FOUR), 8, 116),
        (olmoe(8, parallel={"replicas": 2}, **FOUR), 1, 99),
    ],
)
def test_memory_is_what_was_measured(
    config: TrainConfig, microbatches: int, measured: float
) -> None:
    """Peaks of OLMoE-1B-7B on H100 and H200, as docs/trainer.md has them in GiB, within 2.5 %.

    On one GPU, on two and on four.
    """
    assert isinstance(config.processes, int)
    plan = Plan(config.processes, tokens=config.microbatch * 4096, microbatches=microbatches)
    assert memory(config, plan)["peak"] / 2**30 == pytest.approx(measured, rel=0.025)


@pytest.mark.parametrize(("processes", "microbatches", "measured"), [(1, 2, 8.73), (2, 1, 6.58)])
def test_memory_of_a_small_model(processes: int, microbatches: int, measured: float) -> None:
    """236 M parameters, 16 x 1024 tokens a microbatch, on H200s: where logits are most of it."""
    path = Path(__file__).parents[2] / "configs" / "train" / "small.yaml"
    config = load(TrainConfig, path, ["device=cuda", f"processes={processes}"])
    plan = Plan(processes, tokens=16 * 1024, microbatches=microbatches)
    assert memory(config, plan)["peak"] / 2**30 == pytest.approx(measured, rel=0.025)


def kept_by_autograd(model: ModelConfig, layer: int, dtype: torch.dtype) -> float:
    """Bytes a token that one layer keeps for backward, parameters aside."""
    torch.manual_seed(0)
    block = Block(model, layer).to(dtype)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    own = {p.untyped_storage().data_ptr() for p in block.parameters()}
    x = torch.randn(4, 64, model.d_model, dtype=dtype, requires_grad=True)
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(x, rope_table(64, model.d_head, model.rope_theta, x.device))
    return sum(storage.nbytes() for storage in storages.values()) / x[..., 0].numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ["grouped_mm", "triton", "loop", "dense"])
def test_activations_are_what_autograd_keeps(backend: str, dtype: torch.dtype) -> None:
    """Of a layer that is not compiled, dense or with any backend, within 15 %."""
    dense = backend == "dense"
    model = ModelConfig(
        vocab=64, d_model=64, layers=1, heads=4, kv_heads=2, experts=8, top_k=2, d_ff=64,
        expert_backend="loop" if dense else backend, dense_layers=(0,) if dense else (),
    )  # fmt: skip
    found = layer_bytes(model, dtype.itemsize, moe=not dense, compiled=False)
    assert found == pytest.approx(kept_by_autograd(model, 0, dtype), rel=0.15)


def test_recomputing_keeps_less(configure: Configure) -> None:
    """Of the levels `blocks` keeps least, `experts` saves the sorted inputs and nothing else."""
    config = olmoe(8)
    kept = memory(config, Plan(1, tokens=8 * 4096, microbatches=1))["activations_by_recompute"]
    saved = 8 * 4096 * OLMOE.layers * OLMOE.top_k * OLMOE.d_model * 2
    assert kept["none"] - kept["experts"] == saved
    assert kept["blocks"] < kept["experts"] / 5


def test_parameters_are_those_of_the_model() -> None:
    """OLMoE-1B-7B's published counts; the parts make the whole."""
    found = count(OLMOE)
    assert (found.total, found.active) == count_parameters(OLMOE) == (6919161856, 1282017280)
    assert found.embedding == found.output == 50304 * 2048
    assert found.total == found.root + OLMOE.layers * found.largest_block


def test_a_forecast_is_what_the_run_does(
    configure: Configure, train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Steps, tokens, epochs and size of a checkpoint, as the run has them; no store is needed.

    Afterwards the time follows from the speed that the run has measured.
    """
    config = configure(max_steps=10, microbatch=3)
    foretold = forecast(config)
    assert not dist.is_initialized()
    assert foretold["times"] == []
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        training = Training(config, data, world)
        assert foretold["steps"] == data.num_steps
        assert foretold["tokens"] == data.tokens_through(10)
        assert foretold["tokens_per_step"] == {"first": 96, "last": 96}
        assert (foretold["microbatches"], foretold["microbatch_tokens"]) == (3, 36)
        tensors = training_tensors(training.model, training.optimizer)
        assert foretold["checkpoint_bytes"] == sum(t.nbytes for t in tensors.values())
    train(config)
    rows = [json.loads(x) for x in (config.output / "metrics.jsonl").read_text().splitlines()]
    for store in tmp_path.glob("*@1"):
        shutil.rmtree(store)
    (time,) = forecast(config)["times"]
    speed = np.median([row["tokens_per_s_gpu"] for row in rows])
    assert time["seconds"] == pytest.approx(960 / speed)
    assert time["source"] == f"as this run has measured ({config.output})"
    (given,) = forecast(config, tokens_per_s=480.0)["times"]
    assert (given["seconds"], given["source"]) == (2.0, "as given")


@pytest.mark.parametrize("steps", [2, 7, 12])
def test_epochs_are_those_of_the_order(lock: Path, steps: int) -> None:
    """Draws of each source in the first steps, within what one block may shift."""
    found = epochs(read_lock(lock), 8 * steps)
    order = Order(read_lock(lock).order)
    source = order.places(0, 8 * steps).source
    for number, name in enumerate(order.sources):
        has = read_lock(lock).order.sources[name].num_instances
        exact = 0.51 if (8 * steps) % 16 == 0 else 8.0  # a block is 16 instances
        assert found[name] * has == pytest.approx((source == number).sum(), abs=exact)


def test_known_shapes_have_a_time(
    lock: Path, relock: Callable[..., Path], stores: Callable[..., Path], tmp_path: Path
) -> None:
    """OLMoE-1B-7B has the speeds of docs/trainer.md for as many GPUs, other shapes none."""
    folder = tmp_path / "long"
    folder.mkdir()
    for number, source in enumerate(("code", "web")):
        stores(folder, source, 12 * 4096, number)
    long = relock(folder, length=4096, steps=2, batch=16)
    found = forecast(olmoe(8, lock=str(long)))
    told = {time["source"].partition(" (")[0]: time for time in found["times"]}
    assert told.keys() == {"as measured on 1 x H200", "as measured on 1 x H100"}
    assert told["as measured on 1 x H200"]["seconds"] == pytest.approx(2 * 16 * 4096 / 62037)
    (two,) = forecast(olmoe(8, lock=str(long), parallel=KEPT, **SHARDED))["times"]
    assert two["seconds"] == pytest.approx(2 * 16 * 4096 / 51178 / 2)
    (eight,) = forecast(olmoe(8, lock=str(long), **SHARDED | {"processes": 8}))["times"]
    assert eight["source"].startswith("as measured on 4 x H200")
    assert forecast(olmoe(8, lock=str(lock)))["times"] == []
    text = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text()
    assert all(f"{known.tokens_per_s:,}" in text for known in MEASURED)


def test_a_run_that_would_not_start_is_refused(configure: Configure) -> None:
    """Uneven batches, replicas and too many steps are refused as the trainer would."""
    with pytest.raises(OrderError, match="3 processes cannot share a batch of 8 instances"):
        forecast(configure(processes=3))
    with pytest.raises(UsageError, match=r"parallel\.replicas: 3, but 4 processes"):
        forecast(configure(processes=4, parallel={"replicas": 3}))
    with pytest.raises(ConfigError, match="13, but the lock has 12 steps"):
        forecast(configure(max_steps=13))
    for speed in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"--tokens-per-s .*: give a speed above 0"):
            forecast(configure(), tokens_per_s=speed)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="say for how many, as in processes=8"):
            forecast(configure(processes="gpu"))


def test_an_output_without_a_step_has_no_speed(configure: Configure) -> None:
    """A run that was killed before its first step was told is no reason to fail."""
    config = configure()
    config.output.mkdir(parents=True)
    (config.output / "metrics.jsonl").touch()
    assert forecast(config)["times"] == []


@pytest.mark.e2e
def test_the_command_says_it(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`dolmix train --dry-run` prints a table, or JSON; it writes nothing."""
    config = configure()
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    code = "from dolmix.cli.main import run_main; run_main()"
    command = [sys.executable, "-c", code, "train", str(file), "max_steps=5"]
    done = subprocess.run(
        [*command, "--dry-run", "--json", "--tokens-per-s", "48"], capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert (found["steps"], found["times"][0]["seconds"]) == (5, 10.0)
    with pytest.raises(UsageError, match=r"^--json: with --dry-run only$"):
        start(file, as_json=True)
    assert dry_run([str(file), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("parameters    ")
    assert "time          not known: give --tokens-per-s" in said
    assert not config.output.exists()

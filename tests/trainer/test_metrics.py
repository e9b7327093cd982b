"""What a run says while it runs, and where that goes."""

import io
import json
import logging
import math
import struct
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from zygote import Zygote

from dolmix.errors import ConfigError, UsageError
from trainer import sinks
from trainer.checkpoint import complete
from trainer.config import TrainConfig
from trainer.console import CLEAR_LINE, Console
from trainer.data import Data
from trainer.loop import Training
from trainer.metrics import Layout, Metrics, StepFacts
from trainer.parallel import join_world
from trainer.sinks import JsonLines, Sinks
from trainer.speed import Speed, peak_tflops

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]
CPU = Speed("cpu", devices=1, flops_per_token=6.0, peak_flops=None)


def layout(layers: int = 0, experts: int = 4) -> Layout:
    """Give the layout of one source without router losses."""
    return Layout(("a",), layers, experts, load_balance=0.0, router_z=0.0)


def pack(of: Layout, visits: list[Tensor]) -> Tensor:
    """Give the sums of one step of one row whose loss is 1."""
    one = torch.ones(1)
    return of.pack(torch.zeros(1), torch.zeros(1, dtype=torch.bool), one, torch.ones(1, 4), visits)


def test_time_left_follows_the_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """100 of 1,000 tokens in 10 s leave 90 s, though only 1 of 3 steps is to come: batches grow."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    caplog.set_level("INFO")
    lines = Sinks(JsonLines(tmp_path / "metrics.jsonl"))
    metrics = Metrics(lines, layout(), CPU, num_steps=3, num_tokens=1000)
    metrics.start(0, 0)
    clock[0] = 10.0
    one = torch.ones(1)
    metrics.add(StepFacts(2, 100, 0.1, None), pack(layout(), []), one[0], one[0] > 1)
    (row,) = metrics.fetch(1)
    assert row["tokens_per_s"] == 10.0
    assert "step 2/3" in caplog.text
    assert "0:01:30 left" in caplog.text
    clock[0] = 15.0
    metrics.add(StepFacts(3, 200, 0.1, None), pack(layout(), []), one[0], one[0] > 1)
    metrics.leave_out(4.0)
    (row,) = metrics.fetch(1)
    assert row["tokens_per_s"] == 100.0
    metrics.close()


@given(st.lists(st.lists(st.integers(0, 50), min_size=5, max_size=5), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_router_spread_is_its_definition(visits: list[list[int]]) -> None:
    """Largest share and entropy over ln E of each layer, as plain Python computes them."""
    visits = [[*layer[:4], layer[4] + 1] for layer in visits]
    of = layout(len(visits), 5)
    found = of.unpack(pack(of, [torch.tensor(visits)]), 1)["router"]
    for layer, share, entropy in zip(visits, found["max_share"], found["entropy"], strict=True):
        shares = [count / sum(layer) for count in layer]
        assert share == pytest.approx(max(shares), abs=1e-5)
        expected = -sum(p * math.log(p) for p in shares if p) / math.log(5)
        assert entropy == pytest.approx(expected, abs=1e-5)


def test_mfu_is_of_the_named_peak() -> None:
    """OLMoE's 7.878 GFLOP a token at 62,037 tokens/s on each of two H200s: 49.4 % of 989."""
    peak = peak_tflops("NVIDIA H200")
    assert peak == 989.0
    speed = Speed("NVIDIA H200", devices=2, flops_per_token=7.878e9, peak_flops=peak * 1e12)
    facts = speed.facts(2 * 62037)
    assert facts["tokens_per_s"] == 2 * 62037
    assert facts["tokens_per_s_gpu"] == 62037
    assert facts["mfu"] == pytest.approx(0.494, abs=5e-4)
    assert "7.878 GFLOP a token (6 an active weight, causal attention counted half" in (
        speed.explain()
    )
    assert "of 989 TFLOP/s (NVIDIA H200)" in speed.explain()


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.4),
        ("NVIDIA GH200 480GB", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA A10G", None),
        ("NVIDIA RTX A4000", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA L40S", 362.05),
        ("AMD Instinct MI250X", 191.5),
    ],
)
def test_peaks_are_of_that_very_device(device: str, peak: float | None) -> None:
    """No device has the peak of another one whose name its own begins with."""
    assert peak_tflops(device) == peak


def test_unknown_devices_have_no_mfu(configure: Configure) -> None:
    """A device without a known peak has none, nor has float32; `peak_tflops` sets one."""
    assert peak_tflops("Some Accelerator 9") is None
    with join_world(configure()) as world:
        speed = Speed.of(configure(), world, 12)
        known = Speed.of(configure(metrics={"peak_tflops": 0.5}), world, 12)
    assert speed.facts(10)["mfu"] is None
    assert speed.explain() == "no MFU: no peak is known of cpu (metrics.peak_tflops sets one)"
    assert known.facts(0.5e12 / known.flops_per_token)["mfu"] == 1.0
    assert speed.facts(10)["memory_gib"]["resident"] > 0.01


class _NoWaiting(TorchDispatchMode):
    """Refuses what would make a host wait for a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func), "the host waits for a number"
        assert "nonzero" not in str(func), "the host waits for a count"
        return func(*args, **(kwargs or {}))


def test_a_step_waits_for_no_number(configure: Configure) -> None:
    """Neither the step nor what the metrics keep of it reads a value back from the device."""
    config = configure()
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        training = Training(config, data, world)
        batch = data.batch(1)
        with _NoWaiting():
            outcome = training.step.run(training._send(batch), 1e-3)
            training.metrics.add(StepFacts(1, 96, 1e-3, None), *outcome)
        (row,) = training.metrics.fetch(1)
    assert len(row["router"]["entropy"]) == 2


def test_share_of_skipped_steps_outlives_a_restart(tmp_path: Path) -> None:
    """2 of 8 steps before and 1 of 2 after make 3 of 10."""
    metrics = Metrics(
        Sinks(JsonLines(tmp_path / "m.jsonl")), layout(), CPU, num_steps=10, num_tokens=10
    )
    metrics.start(8, 8, num_skipped=2)
    one = torch.ones(())
    for step, skipped in ((9, one > 1), (10, one > 0)):
        metrics.add(StepFacts(step, step, 0.1, None), pack(layout(), []), one, skipped)
    assert [row["skipped_frac"] for row in metrics.fetch(1)] == [2 / 9, 3 / 10]
    metrics.close()


def run_twice(configure: Configure, train: Train, **metrics: Any) -> TrainConfig:
    """Train 7 steps as if killed after the checkpoint of step 5, then go on to the 12th."""
    config = configure(checkpoint={"every_steps": 5}, metrics=metrics)
    assert not train(config, stop_before=8)
    last = complete(config.output / "checkpoints")[-1]
    last.rename(config.output / last.name)
    assert train(config)
    return config


def rows(config: TrainConfig) -> list[dict[str, Any]]:
    """Read a run's metrics."""
    text = (config.output / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_tensorboard_has_every_step_once(configure: Configure, train: Train) -> None:
    """What TensorBoard reads of a killed and resumed run is what metrics.jsonl holds."""
    if find_spec("tensorboard") is None:
        pytest.skip("the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = run_twice(configure, train, tensorboard=True)
    seen = EventAccumulator(str(config.output / "tensorboard"))
    seen.Reload()
    kept = rows(config)
    for name in ("loss", "grad_norm", "lr"):
        events = {e.step: e.value for e in seen.Scalars(name)}
        assert [e.step for e in seen.Scalars(name)] == list(range(1, 13))
        assert [events[r["step"]] for r in kept] == pytest.approx([r[name] for r in kept], rel=1e-6)
    assert {"source_loss/web", "router/entropy/layer-01"} <= {*seen.Tags()["scalars"]}


def offline_records(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield (run id, record) of offline runs: records in a log of blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(folder.glob("offline-run-*/*.wandb")):
        data, at, whole = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 2**15 - at % 2**15 < 7:
                at += 2**15 - at % 2**15
                continue
            _, size, kind = struct.unpack("<IHB", data[at : at + 7])
            whole += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in (1, 4):
                record = Record()
                record.ParseFromString(whole)
                whole = b""
                yield file.stem.removeprefix("run-"), record


@pytest.mark.e2e
def test_wandb_goes_on_with_one_run(
    configure: Configure, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, a killed and resumed run is one run there, each step once, with its numbers."""
    if find_spec("wandb") is None:
        pytest.skip("the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    config = run_twice(configure, train, wandb={"project": "test", "tags": ["small"]})
    found = [*offline_records(config.output / "wandb")]
    assert len({run for run, _ in found}) == 1
    assert {r.run.project for _, r in found if r.WhichOneof("record_type") == "run"} == {"test"}
    told = [r.history for _, r in found if r.WhichOneof("record_type") == "history"]
    assert [history.step.num for history in told] == list(range(1, 13))
    values = [
        {item.key or "/".join(item.nested_key): item.value_json for item in history.item}
        for history in told
    ]
    for row, value in zip(rows(config), values, strict=True):
        assert float(value["loss"]) == pytest.approx(row["loss"], rel=1e-12)
        assert float(value["source_loss/web"]) == pytest.approx(row["source_loss"]["web"])


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"id": "ab", "sent": 3', b'{"id": "ab"}', b"[]", b"\xff"]
)
def test_a_damaged_wandb_state_is_explained(
    configure: Configure, train: Train, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    """The file is named, with what is lost by removing it; it is left as it is."""
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    config = configure(metrics={"wandb": {"project": "test"}})
    path = config.output / "wandb" / "dolmix.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    with pytest.raises(UsageError) as caught:
        train(config)
    assert str(caught.value).startswith(f"{path} cannot be read (")
    assert "Remove it: metrics then go to a new Weights & Biases run" in str(caught.value)
    assert path.read_bytes() == damage


@pytest.mark.e2e
def test_only_the_first_rank_writes(configure: Configure, zygote: Zygote, tmp_path: Path) -> None:
    """Two ranks make one file of metrics and one of events; speed is told for each and for all."""
    if find_spec("tensorboard") is None:
        pytest.skip("the extra `tensorboard` is not installed")
    config = configure(metrics={"tensorboard": True}, max_steps=2)
    file = tmp_path / "two.json"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    run = zygote.start([str(file)], processes=2, log=tmp_path / "log")
    assert run.wait() == [0, 0]
    assert len([*(config.output / "tensorboard").iterdir()]) == 1
    for row in rows(config):
        assert row["tokens_per_s"] == pytest.approx(2 * row["tokens_per_s_gpu"], abs=0.11)
    assert "metrics in" in run.said(0)
    assert "metrics in" not in run.said(1)


def test_a_missing_package_is_told_before_training(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sink whose package is not there is one problem, with pip's line."""
    monkeypatch.setattr(sinks, "find_spec", lambda _: None)
    config = configure(metrics={"tensorboard": True, "wandb": {"project": "p"}})
    with pytest.raises(ConfigError) as caught:
        sinks.check_sinks(config, "run.yaml")
    assert [str(problem) for problem in caught.value.problems] == [
        f"metrics.{name}: needs the package {name}, which is not installed: "
        f"pip install 'dolmix[{name}]'"
        for name in ("tensorboard", "wandb")
    ]
    sinks.check_sinks(configure(), "run.yaml")


def test_numbers_have_names() -> None:
    """Layers go by their own numbers, dense ones left out; texts and what is no number are not."""
    row = {"step": 3, "router": {"entropy": [0.5, 0.6]}, "mfu": None, "z": math.nan}
    row |= {"skipped": True, "chain": "ab", "eval": {"loss/web": 2.0}}
    rest = [("skipped", 1.0), ("eval/loss/web", 2.0)]
    layers = [("router/entropy/layer-01", 0.5), ("router/entropy/layer-03", 0.6)]
    assert [*sinks.numbers(row, (1, 3), layers=True)] == layers + rest
    assert [*sinks.numbers(row, (1, 3), layers=False)] == rest


class _Broken:
    """A sink whose disk is full."""

    def __init__(self) -> None:
        self.taken = 0

    def start(self, step: int, told: int) -> None:
        """Start."""

    def write(self, rows: Any) -> None:
        """Take one row, no more."""
        self.taken += len(rows)
        if self.taken > 1:
            raise OSError(28, "No space left on device")

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Fail the test: a sink that was left out is left alone."""
        raise AssertionError


def test_a_display_that_fails_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, and the JSON lines go on."""
    broken = _Broken()
    all_of_them = Sinks(JsonLines(tmp_path / "m.jsonl"), [broken])
    all_of_them.start(0)
    for step in (1, 2, 3):
        all_of_them.write([{"step": step, "loss": math.nan}])
    all_of_them.close()
    assert broken.taken == 2
    (warning,) = caplog.records
    assert "_Broken: left out from now on, since it failed (OSError" in warning.getMessage()
    lines = (tmp_path / "m.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": n, "loss": None} for n in (1, 2, 3)]


def test_rows_of_later_steps_are_cut_off(tmp_path: Path) -> None:
    """Going on from step 2 keeps its row and its evaluation, and nothing torn or later."""
    path = tmp_path / "m.jsonl"
    kept = ['{"step": 1}\n', '{"step": 2}\n', '{"step": 2, "eval": {}}\n']
    path.write_text("".join([*kept, '{"step": 3}\n', '{"step": 3, "ev']))
    assert sinks.last_step(path) == 3
    lines = JsonLines(path)
    lines.start(2, 3)
    lines.write([{"step": 3}])
    lines.close()
    assert path.read_text() == "".join([*kept, '{"step": 3}\n'])


class _Terminal(io.StringIO):
    """Text that a terminal shows."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


@pytest.mark.parametrize(
    ("stream", "shown"),
    [
        (io.StringIO(), "one\ntwo\nnote\nthree\n"),
        (
            _Terminal(),
            f"{CLEAR_LINE}one{CLEAR_LINE}two{CLEAR_LINE}note\ntwo{CLEAR_LINE}three\n",
        ),
    ],
    ids=["file", "terminal"],
)
def test_progress_stays_in_place_on_a_terminal(stream: io.StringIO, shown: str) -> None:
    """There a progress line replaces the one before, and others stand above it; else all stand."""
    console = Console(stream)
    for text, passing in (("one", True), ("two", True), ("note", False), ("three", True)):
        record = logging.LogRecord("x", logging.INFO, "", 0, text, (), None)
        record.passing = passing
        console.emit(record)
    console.flush()
    ended = stream.getvalue()
    console.close()
    assert ended == stream.getvalue() == shown

"""`profile: {steps: [a, b]}`: a trace, and a table of where the time goes."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import DeviceType

from dolmix.errors import ConfigError
from trainer import profile_table, profiling
from trainer.checkpoint import complete
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.dry_run import forecast
from trainer.loop import Training
from trainer.parallel import join_world
from trainer.profile_table import ATTENTION, KERNELS, STEP
from trainer.profiling import open_profile
from trainer.speed import CLOCKED

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]


def metrics(config: TrainConfig) -> list[dict[str, Any]]:
    """Read a run's metrics without what depends on the clock."""
    text = (config.output / "metrics.jsonl").read_text()
    return [json.loads(line) | dict.fromkeys(CLOCKED) for line in text.splitlines()]


def test_a_profiled_run_trains_the_same(configure: Configure, train: Train) -> None:
    """Steps 3 to 5 give a trace, a table and its text; losses and proofs are as without."""
    plain, profiled = (
        configure(name, max_steps=6, microbatch=8, profile=asked)
        for name, asked in (("plain", None), ("profiled", {"steps": [3, 5]}))
    )
    train(plain)
    train(profiled)
    assert metrics(plain) == metrics(profiled)
    assert not (plain.output / "profile").exists()
    folder = profiled.output / "profile"
    names = ["rank-0.json", "rank-0.trace.json.gz", "rank-0.txt"]
    assert sorted(path.name for path in folder.iterdir()) == names
    with gzip.open(folder / "rank-0.trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    assert len([e for e in events if e.get("name") == STEP]) == 3
    found = json.loads((folder / "rank-0.json").read_text())
    assert (found["first_step"], found["steps"], found["on"]) == (3, 3, "cpu")
    assert 0 < found["unprofiled_step_ms"] < 10 * found["step_ms"]
    groups = {group["group"]: group for group in found["groups"]}
    assert {
        "attention", "grouped GEMM", "dense GEMM", "norms", "optimiser", "data wait",
        "cross entropy and output", "router and moves", "expert moves", "communication",
    } <= groups.keys()  # fmt: skip
    assert sum(group["ms"] for group in found["groups"]) == pytest.approx(
        found["step_ms"], rel=0.02
    )
    assert groups.get("other", {"share": 0})["share"] < 0.2
    text = (folder / "rank-0.txt").read_text()
    assert text.startswith("rank 0, 3 steps from step 3: ")
    assert "attention" in text


def test_an_interrupted_run_leaves_what_it_profiled(configure: Configure, train: Train) -> None:
    """Stopped before step 5, steps 3 and 4 of 3 to 9 are in the table; and no marks stay."""
    config = configure(profile={"steps": [3, 9]}, microbatch=8)
    assert not train(config, stop_before=5)
    found = json.loads((config.output / "profile" / "rank-0.json").read_text())
    assert (found["first_step"], found["steps"]) == (3, 2)


def test_a_resumed_run_says_where_its_profile_begins(configure: Configure, train: Train) -> None:
    """A run that goes on with step 5 has steps 5 and 6 of 3 to 6 in its table."""
    train(configure(max_steps=4))
    config = configure(profile={"steps": [3, 6]}, max_steps=7)
    train(config)
    found = json.loads((config.output / "profile" / "rank-0.json").read_text())
    assert (found["first_step"], found["steps"]) == (5, 2)


def test_nothing_profiles_unless_asked(
    configure: Configure, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the setting, and on ranks that are not named: nothing."""
    monkeypatch.setattr(profiling, "profile", lambda **_: pytest.fail("it profiles"))
    config = configure(max_steps=2)
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        assert Training(config, data, world).profile is None
        elsewhere = configure(profile={"steps": [1, 2], "ranks": [1]})
        assert open_profile(elsewhere, world, torch.nn.Identity(), lambda _: None) is None
    train(config)


def test_a_profile_of_nothing_is_refused(configure: Configure, train: Train) -> None:
    """Steps behind the last one and ranks that are not there: the numbers, and which there are.

    Before anything is trained, and by `--dry-run`.
    """
    for config, last in (
        (configure(profile={"steps": [11, 13], "ranks": [0, 1, 4]}), "12 (the lock's last)"),
        (configure(profile={"steps": [7, 9], "ranks": [1, 4]}, max_steps=8), "8 (max_steps)"),
    ):
        for run in (train, forecast):
            with pytest.raises(ConfigError) as caught:
                run(config)
            steps, ranks = map(str, caught.value.problems)
            first, end = config.profile.steps
            assert steps.startswith(f"profile.steps: [{first}, {end}], but training ends with step")
            assert last in steps
            assert ranks == (
                "profile.ranks: [1, 4], but the ranks of this run are 0 to 0: choose of those"
            )
        assert not config.output.exists()
    with pytest.raises(ConfigError, match=r"profile\.ranks"):
        configure(profile={"steps": [1, 2], "ranks": []})
    foretold = configure(profile={"steps": [1, 2], "ranks": [0, 4]}, processes=4)
    with pytest.raises(ConfigError, match=r"\[4\], but the ranks of this run are 0 to 3"):
        forecast(foretold)


def test_a_profile_that_came_to_nothing_is_told(
    configure: Configure, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that ends before the steps to profile, or goes on behind them, says so; else none."""
    warned = "profile.steps [3, 4]: nothing was profiled, for this run "
    config = configure(profile={"steps": [3, 4]}, microbatch=8)
    assert not train(config, stop_before=2)
    assert f"{warned}ended before step 3 was done" in caplog.text
    caplog.clear()
    assert not train(config, stop_before=4)
    assert train(configure(profile={"steps": [3, 4]}, microbatch=8))
    assert "nothing was profiled" not in caplog.text  # the profile of before is there
    shutil.rmtree(config.output / "profile")
    (complete(config.output / "checkpoints")[-1]).rename(config.output / "last")
    assert not train(config, stop_before=2)
    assert f"{warned}goes on with step 5" in caplog.text


def test_marks_are_gone_afterwards(configure: Configure) -> None:
    """A module that was marked has no hook left."""
    config = configure()
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        model = Training(config, data, world).model
        before = [len(m._forward_pre_hooks) for m in model.modules()]
        with profiling._marked(model):
            assert [len(m._forward_pre_hooks) for m in model.modules()] != before
        assert [len(m._forward_pre_hooks) for m in model.modules()] == before


@dataclass(eq=False)
class Event:
    """What the profiler tells of an operation or a kernel."""

    name: str
    start: float = 0.0
    end: float = 0.0
    device_type: DeviceType = DeviceType.CPU
    kernels: list[Any] = field(default_factory=list)
    cpu_parent: Any = None
    sequence_nr: int = -1
    is_async: bool = False

    @property
    def time_range(self) -> "Event":
        """Start and end."""
        return self

    @property
    def duration(self) -> float:
        """Microseconds."""
        return self.end - self.start

    @property
    def cpu_time_total(self) -> float:
        """Microseconds of the host."""
        return self.duration


class Profiler:
    """Gives events."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events

    def events(self) -> list[Event]:
        """Return them."""
        return self._events


def on_gpu(name: str, start: float, end: float, launched_by: Event | None = None) -> Event:
    """Make a kernel."""
    kernel = Event(name, start, end, DeviceType.CUDA)
    if launched_by is not None:
        launched_by.kernels.append(kernel)
    return kernel


def test_kernels_are_counted_once_each() -> None:
    """Groups are those of names, else of what launched them; talk that is hidden is told apart."""
    attention = Event(ATTENTION)
    product = Event("aten::mm", cpu_parent=attention)
    node = Event("autograd::engine::evaluate_function: MulBackward0", sequence_nr=7)
    forward = Event("aten::mul", cpu_parent=Event("dolmix: norm"), sequence_nr=7)
    backward = Event("aten::mul", cpu_parent=node, sequence_nr=7)
    kernels = [
        on_gpu("nvjet_tst_128x256", 0, 40, product),
        on_gpu("elementwise_kernel", 40, 50, backward),
        on_gpu("cutlass::gemm::GroupProblemShape", 50, 90),
        on_gpu("ncclDevKernel_AllGather", 80, 120),
        on_gpu("dolmix: experts", 0, 500),
        on_gpu("something_else", 150, 160),
    ]
    host = [attention, product, node, forward, backward]
    found = profile_table.table(Profiler([*host, *kernels]), steps=2, seconds=200e-6)
    groups = {group["group"]: group["ms"] * 2e3 for group in found["groups"]}
    assert groups == pytest.approx(
        {
            "dense GEMM": 40,
            "norms": 10,
            "grouped GEMM": 40,
            "communication": 40,
            "communication, not hidden": 30,
            "other": 10,
            "idle": 70,
        }
    )
    assert found["longest"][0] == {"name": "nvjet_tst_128x256", "ms": 0.02}
    assert profile_table.rendered(found | {"rank": 0, "first_step": 4}).count("\n") == 17


@pytest.mark.parametrize(
    ("kernel", "group"),
    [
        ("ncclDevKernel_ReduceScatter_Sum_f32_RING_LL", "communication"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", "attention"),
        ("void cutlass::device_kernel<cutlass::gemm::GroupProblemShape<int>>", "grouped GEMM"),
        ("_spread", "expert moves"),
        ("_swiglu_backward", "expert moves"),
        ("_cross_entropy", "cross entropy and output"),
        ("_adamw", "optimiser"),
        ("triton_red_fused__to_copy_mean_mul_pow_rsqrt_1", "norms"),
        ("triton_poi_fused_add_cat_mul_3", "compiled elementwise"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NTT", None),
    ],
)  # fmt: skip
def test_kernels_are_known_by_name(kernel: str, group: str | None) -> None:
    """Names as an H200 shows them; products are told apart by what launched them."""
    assert profile_table._first(KERNELS, kernel) == group


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=12)


@given(spans)
@settings(deadline=None, max_examples=60)
def test_overlaps_are_counted_once(found: list[tuple[int, int]]) -> None:
    """The union of spans is as long as the set of the microseconds that they hold."""
    held = {at for start, length in found for at in range(start, start + length)}
    assert profile_table._covered((start, start + n) for start, n in found) == len(held)


def test_steps_have_an_order(configure: Configure) -> None:
    """A profile that ends before it begins is refused."""
    with pytest.raises(ConfigError, match="the first comes after the last"):
        configure(profile={"steps": [5, 4]})

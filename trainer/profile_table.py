"""Where the time of profiled steps goes, by group of operations.

On a GPU time is that of its kernels: a kernel belongs to the group that its name says, else to that
of the operation that launched it. `communication, not hidden` is when nothing else ran; `idle` is
when no kernel ran. On a CPU time is that of operations alone, without those inside them; what no
operation took is Python's. An operation belongs to the group that its own name or one around it
says; one of backward to that of its twin in forward, which autograd's sequence number names.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import profile

DATA, STEP, NORM, ATTENTION, MOE = (
    f"dolmix: {name}" for name in ("data", "step", "norm", "attention", "experts")
)
"""Names of the ranges that the trainer marks."""
LONGEST = 20
"""Kernels or operations that are listed one by one."""
ROUNDING_US = 0.01
CPU = torch.autograd.DeviceType.CPU  # type: ignore[attr-defined]
Times = dict[str, float]
Rules = tuple[tuple[str, re.Pattern[str]], ...]


def _rules(**patterns: str) -> Rules:
    return tuple((name.replace("_", " "), re.compile(text)) for name, text in patterns.items())


KERNELS = _rules(
    communication=r"nccl|rccl|AllReduce|AllGather|ReduceScatter",
    copies=r"^Memcpy|^Memset|CatArrayBatchedCopy|chunk_cat|split_with_sizes",
    attention=r"(?i)flash|fmha|sdpa|attention|softmax_warp",
    optimiser=r"(?i)adam|multi_tensor",
    cross_entropy_and_output=r"^_cross_entropy|nll_loss",
    expert_moves=r"^_spread|^_collect|^_swiglu",
    grouped_GEMM=r"(?i)grouped|GroupProblemShape|group_gemm",
    router=r"(?i)triton.*(softmax|logsumexp|topk|cumsum)|topk|bitonicsort|radixsort",
    norms=r"triton.*rsqrt",
    compiled_elementwise=r"^triton_",
)
"""What a kernel's name says."""
AROUND = _rules(
    data_wait=f"^{DATA}$",
    cross_entropy_and_output=r"_LinearCrossEntropy",
    optimiser=r"^Optimizer\.step|_fused_adam|_foreach_norm|_foreach_mul_|linalg_vector_norm",
    communication=r"^(c10d|nccl|gloo|record_param_comms|_c10d_functional|fsdp)|FSDP::",
)
"""What any operation around one says, the outermost first; it rules over the next."""
OPERATIONS = _rules(
    grouped_GEMM=r"grouped_mm",
    attention=r"scaled_dot_product|flash_attention|varlen_attn|^" + ATTENTION + "$",
    dense_GEMM=r"^aten::(mm|addmm|bmm|baddbmm|matmul|linear)$|wide_product",
    expert_moves=r"dolmix::experts|_SpreadBackward|_CollectBackward|_PermuteBackward",
    norms=f"^{NORM}$",
    router_and_moves=f"^{MOE}$",
    embedding=r"^aten::embedding",
    copies=r"^aten::(copy_|_to_copy|cat|stack|clone)$",
)
"""What an operation or the nearest one around it says."""


def table(profiler: profile, *, steps: int, seconds: float) -> dict[str, Any]:
    """Sum what was profiled; seconds: wall time of all steps.

    Returns steps, step_ms (wall time of one), on (`gpu` or `cpu`), data_wait_ms, groups, each with
    ms a step, share of the step and calls a step, and the longest kernels or operations.
    """
    events = [*(profiler.events() or ())]
    kernels = [e for e in events if _is_kernel(e)]
    host = [e for e in events if e.device_type == CPU and not e.is_async]
    waited = sum(e.cpu_time_total for e in host if e.name == DATA)
    wall = seconds * 1e6
    if kernels:
        times, calls, longest = _of_kernels(kernels, host)
        times |= _gaps(kernels, wall)
    else:
        times, calls, longest = _of_operations(host)
        times["Python, outside of operations"] = max(wall - sum(times.values()), 0.0)
    groups = [
        {
            "group": name,
            "ms": round(us / 1e3 / steps, 4),
            "share": round(us / wall, 5),
            "calls": round(calls[name] / steps, 1),
        }
        for name, us in sorted(times.items(), key=lambda item: -item[1])
    ]
    return {
        "steps": steps,
        "step_ms": round(wall / 1e3 / steps, 4),
        "on": "gpu" if kernels else "cpu",
        "data_wait_ms": round(waited / 1e3 / steps, 4),
        "groups": groups,
        "longest": [
            {"name": name, "ms": round(us / 1e3 / steps, 4)}
            for name, us in sorted(longest.items(), key=lambda item: -item[1])[:LONGEST]
        ],
    }


def rendered(found: dict[str, Any]) -> str:
    """Give the table as text, for people."""
    what = "kernels" if found["on"] == "gpu" else "operations"
    plain = found.get("unprofiled_step_ms")
    head = (
        f"rank {found['rank']}, {found['steps']} steps from step {found['first_step']}: "
        f"{found['step_ms']:.2f} ms a step, of which the host waited {found['data_wait_ms']:.2f} "
        "ms for its batch" + ("" if plain is None else f"; {plain:.2f} ms before, unprofiled")
    )
    lines = [
        head,
        "",
        f"{'ms a step':>10}  {'share':>7}  {'calls':>8}  {what} by group",
    ]
    lines += [
        f"{g['ms']:10.3f}  {100 * g['share']:5.1f} %  {g['calls']:8,.0f}  {g['group']}"
        for g in found["groups"]
    ]
    lines += ["", f"{'ms a step':>10}  the longest {what}"]
    lines += [f"{one['ms']:10.3f}  {one['name'][:100]}" for one in found["longest"]]
    return "\n".join(lines) + "\n"


def _is_kernel(event: FunctionEvent) -> bool:
    """Whether an event is work of the device, not a range that the host marked on it."""
    marked = getattr(event, "is_user_annotation", False) or event.name.startswith("dolmix: ")
    return event.device_type != CPU and not marked


def _of_kernels(
    kernels: Sequence[FunctionEvent], host: Sequence[FunctionEvent]
) -> tuple[Times, Counter[str], Times]:
    """Microseconds and calls by group, and microseconds by name."""
    by_name: Times = defaultdict(float)
    for kernel in kernels:
        by_name[kernel.name] += _length(kernel)
    left, times = dict(by_name), defaultdict[str, float](float)
    calls: Counter[str] = Counter()
    group_of = _Groups(host)
    for operation in host:
        for launched in operation.kernels:
            group = _first(KERNELS, launched.name) or group_of(operation)
            times[group] += launched.duration
            calls[group] += 1
            left[launched.name] = left.get(launched.name, 0.0) - launched.duration
    for name, us in left.items():  # launched by what the profiler does not link to
        if us > ROUNDING_US:
            times[_first(KERNELS, name) or "other"] += us
    return times, calls, by_name


def _gaps(kernels: Sequence[FunctionEvent], wall: float) -> dict[str, float]:
    """Microseconds in which nothing ran, and in which communication ran alone."""
    spans = [(k.time_range.start, k.time_range.end) for k in kernels]
    talks = [_first(KERNELS, k.name) == "communication" for k in kernels]
    busy = _covered(spans)
    without = _covered(s for s, talk in zip(spans, talks, strict=True) if not talk)
    gaps = {"idle": max(wall - busy, 0.0)}
    if any(talks):
        gaps["communication, not hidden"] = busy - without
    return gaps


def _of_operations(host: Sequence[FunctionEvent]) -> tuple[Times, Counter[str], Times]:
    """Microseconds and calls by group, and microseconds by name."""
    times, by_name = defaultdict[str, float](float), defaultdict[str, float](float)
    calls: Counter[str] = Counter()
    group_of = _Groups(host)
    for operation in host:
        if operation.name == STEP:
            continue
        group = group_of(operation)
        times[group] += operation.self_cpu_time_total
        calls[group] += 1
        by_name[operation.name] += operation.self_cpu_time_total
    return times, calls, by_name


class _Groups:
    """Finds the group of an operation."""

    def __init__(self, host: Sequence[FunctionEvent]) -> None:
        # Autograd gives forward's operation and backward's node one number.
        self._forward = {
            e.sequence_nr: e for e in host if e.sequence_nr >= 0 and _node(_ancestors(e)) is None
        }

    def __call__(self, operation: FunctionEvent) -> str:
        """Group of an operation; `other` where nothing says."""
        around = [*_ancestors(operation)]
        for event in reversed(around):
            if group := _first(AROUND, event.name):
                return group
        for event in around:
            if group := _first(OPERATIONS, event.name):
                return group
        node = _node(around)
        twin = None if node is None else self._forward.get(node.sequence_nr)
        return "other" if twin is None else self._of_twin(twin)

    def _of_twin(self, twin: FunctionEvent) -> str:
        named = (_first(AROUND + OPERATIONS, event.name) for event in _ancestors(twin))
        return next((group for group in named if group), "other")


def _ancestors(operation: FunctionEvent) -> Iterator[FunctionEvent]:
    """Yield an operation and those around it, the nearest first."""
    event: FunctionEvent | None = operation
    while event is not None:
        yield event
        event = event.cpu_parent


def _node(around: Iterable[FunctionEvent]) -> FunctionEvent | None:
    """Find the node of backward that an operation belongs to, among those around it."""
    return next((event for event in around if event.name.startswith("autograd::")), None)


@cache
def _first(rules: Rules, name: str) -> str | None:
    return next((group for group, pattern in rules if pattern.search(name)), None)


def _length(event: FunctionEvent) -> float:
    return float(event.time_range.end - event.time_range.start)


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total

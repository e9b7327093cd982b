"""Processes, devices and sharding.

Each block and the rest of the model are FSDP2 groups: parameters, gradients and optimiser state are
cut along their first axis over the ranks of a replica, and gathered where they are used. On CUDA
compute is bfloat16 with float32 master weights and float32 reduction; on the CPU all is float32.
One rank whose state is in the type that it computes in needs no sharding and has none. Small facts
about the batch travel between hosts over gloo, so that no device waits for them.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from dolmix.errors import UsageError
from trainer import experts
from trainer.config import TrainConfig
from trainer.model import Model, initial_value

TIMEOUT = timedelta(minutes=30)
Group = dist.ProcessGroup | None
"""Ranks that talk to each other; None is all of them, from the training's own thread."""


@dataclass(frozen=True)
class World:
    """All processes of the run, seen from one of them."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh
    """All ranks, or (replica, rank within it)."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and console lines."""
        return self.rank == 0

    def send(self, array: NDArray[Any]) -> Tensor:
        """Copy an array to the device without waiting for it."""
        tensor = torch.from_numpy(array)
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def gather_bytes(self, mine: NDArray[np.uint8], group: Group = None) -> NDArray[np.uint8]:
        """Gather (n,) bytes of every rank on every host, (size, n); n is the same everywhere.

        group: of all ranks; a thread beside the training needs one of its own.
        """
        parts = [torch.empty(mine.size, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(parts, torch.from_numpy(mine), group=group)
        return torch.stack(parts).numpy()

    def gather_texts(self, mine: str, limit_bytes: int = 8192, group: Group = None) -> list[str]:
        """Gather every rank's text on every rank, cut at `limit_bytes` of UTF-8."""
        padded = mine.encode()[:limit_bytes].ljust(limit_bytes, b"\0")
        rows = self.gather_bytes(np.frombuffer(padded, np.uint8).copy(), group)
        return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in rows]

    def broadcast_text(self, text: str, group: Group = None) -> str:
        """Give the first rank's text, of any length, to every rank."""
        data = text.encode()
        size = int.from_bytes(self.gather_bytes(_eight_bytes(len(data)), group)[0], "little")
        sent = np.zeros(size, np.uint8)
        if self.is_first:
            sent[:] = np.frombuffer(data, np.uint8)
        if size:
            dist.broadcast(torch.from_numpy(sent), 0, group=group)
        return sent.tobytes().decode()

    def sum(self, values: Tensor) -> Tensor:
        """Add a tensor over all ranks, on the device, in place."""
        dist.all_reduce(values)
        return values


@contextmanager
def join_world(config: TrainConfig) -> Iterator[World]:
    """Join the processes that torchrun started, or be the only one; set device and threads.

    Raises UsageError if the configuration asks for CUDA and there is none.
    """
    if config.deterministic:  # read when cuBLAS starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = choose_device(config)
    torch.set_num_threads(config.threads or _threads_each())
    torch.use_deterministic_algorithms(config.deterministic)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=TIMEOUT)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        size = dist.get_world_size()
        yield World(dist.get_rank(), size, device, _mesh(config, size, device))
    finally:
        dist.destroy_process_group()


def choose_device(config: TrainConfig) -> torch.device:
    """Choose the GPU of the local rank, or the CPU.

    Raises UsageError where CUDA is missing, and on every rank of a machine that has too few GPUs.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device: cuda, but torch {torch.__version__} sees no CUDA device. "
            "Set device: cpu, or install a CUDA build of torch."
        )
    if config.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    count, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if count > there:
        raise UsageError(
            f"processes: {count}, but this machine has {there} CUDA devices. Lower processes, or "
            "set it to gpu."
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def check_replicas(replicas: int, processes: int) -> None:
    """Raise UsageError where processes do not make so many groups of one size."""
    if processes % replicas:
        raise UsageError(
            f"parallel.replicas: {replicas}, but {processes} processes do not share evenly in so "
            "many groups. Choose a divisor."
        )


def _mesh(config: TrainConfig, size: int, device: torch.device) -> DeviceMesh:
    replicas = config.parallel.replicas
    check_replicas(replicas, size)
    if replicas == 1:
        return init_device_mesh(device.type, (size,))
    return init_device_mesh(
        device.type, (replicas, size // replicas), mesh_dim_names=("replica", "shard")
    )


Draw = Callable[..., Tensor]
"""Draws a parameter's initial value: (name, shape, *, seed, std), float32."""


def build_model(config: TrainConfig, world: World, *, draw: Draw = initial_value) -> Model:
    """Build the sharded model; its initial weights do not depend on the number of ranks."""
    state = getattr(torch, config.precision.state)
    with torch.device("meta"):
        model = Model(config.model).to(state)
    parallel = config.parallel
    model.recompute_blocks = parallel.recompute == "blocks"
    experts.keep_inputs = parallel.recompute == "none"
    if parallel.compile or (parallel.compile is None and world.device.type == "cuda"):
        for block in model.blocks:
            block.compile()
    if world.size > 1 or compute_type(config, world) != state or world.device.type == "cpu":
        _shard(model, config, world)
    model.to_empty(device=world.device)
    _initialise(model, config, draw)
    return model


def compute_type(config: TrainConfig, world: World) -> torch.dtype:
    """Type of weights and activations in forward and backward."""
    default = "bfloat16" if world.device.type == "cuda" else "float32"
    kind: torch.dtype = getattr(torch, config.precision.compute or default)
    return kind


def last_of_step(model: Model, config: TrainConfig, *, last: bool) -> None:
    """Tell a sharded model, before a microbatch's forward, whether it is the step's last one."""
    if isinstance(model, FSDPModule) and config.parallel.comm == "step":
        model.set_requires_gradient_sync(last)
        model.set_reshard_after_backward(last)


def _shard(model: Model, config: TrainConfig, world: World) -> None:
    policy = MixedPrecisionPolicy(
        param_dtype=compute_type(config, world),
        reduce_dtype=getattr(torch, config.precision.reduce),
        # Rotary angles must stay float32; everything else follows the embedding's type by itself.
        cast_forward_inputs=False,
    )
    once = config.parallel.comm == "step"
    for block in model.blocks:
        fully_shard(block, mesh=world.mesh, mp_policy=policy, reshard_after_forward=not once)
    fully_shard(model, mesh=world.mesh, mp_policy=policy)


@torch.no_grad()
def _initialise(model: Model, config: TrainConfig, draw: Draw) -> None:
    for block in model.blocks:
        if hasattr(block.mlp, "choice_bias"):  # float32 whatever the state: its steps are small
            block.mlp.choice_bias = torch.zeros(config.model.experts, device=block.mlp.w2.device)
    named = [*model.named_parameters()]

    def value_of(item: tuple[str, nn.Parameter]) -> Tensor:
        return draw(item[0], item[1].shape, seed=config.seed, std=config.model.init_std)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        # A few at a time: whole parameters of all layers at once may not fit the host.
        for some in batched(named, torch.get_num_threads()):
            for (_, parameter), value in zip(some, pool.map(value_of, some), strict=True):
                _fill(parameter, value)


def _fill(parameter: Tensor, value: Tensor) -> None:
    if not isinstance(parameter, DTensor):
        parameter.copy_(value)
        return
    value = value.to(parameter.device, parameter.dtype)
    # No source rank: every rank cuts its part from the whole that it drew itself.
    parameter.copy_(
        distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
    )


def batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut a sequence into runs of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _eight_bytes(number: int) -> NDArray[np.uint8]:
    return np.frombuffer(number.to_bytes(8, "little"), np.uint8).copy()


def _threads_each() -> int:
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, _num_cores() // local)


def _num_cores() -> int:
    """Cores that this process may run on: a batch job is often given fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

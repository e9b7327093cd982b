"""Each kernel equals its plain twin: on a GPU if there is one, else in Triton's interpreter.

TRITON_INTERPRET=1 python -m pytest tests/trainer/test_kernels.py
"""

import os
from types import ModuleType

import pytest
import torch
from torch import Tensor

from trainer import plain
from trainer.config import OptimizerConfig
from trainer.experts import places
from trainer.optim import AdamW

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KINDS = pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """Load the kernels; without a GPU Triton has to interpret them, from its own import on."""
    pytest.importorskip("triton", reason="triton is not installed")
    if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU; TRITON_INTERPRET=1 in the environment interprets the kernels")
    from trainer import kernels as module

    return module


def drawn(*shape: int, kind: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    """Draw a tensor on the device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, kind)


@KINDS
def test_rows_are_moved_and_added(kernels: ModuleType, kind: torch.dtype) -> None:
    """Spreading copies every bit; collecting adds as the twin does, rows wider than a block too."""
    ids = torch.stack([torch.randperm(6)[:3] for _ in range(7)]).to(DEVICE)
    place, _ = places(ids, 6)
    for width in (40, 1500):
        x, y = drawn(7, width, kind=kind), drawn(21, width, kind=kind, seed=2)
        assert torch.equal(kernels.spread(x, place), plain.spread(x, place))
        torch.testing.assert_close(kernels.collect(y, place), plain.collect(y, place))


@KINDS
def test_swiglu_and_its_gradients(kernels: ModuleType, kind: torch.dtype) -> None:
    """Forward and backward equal the twins, whose forward is torch's silu."""
    h, weight = drawn(9, 2 * 24, kind=kind), drawn(9, seed=3).abs()
    gate, up = h.float().chunk(2, dim=-1)
    expected = (weight[:, None] * torch.nn.functional.silu(gate) * up).to(kind)
    torch.testing.assert_close(plain.swiglu(h, weight), expected)
    torch.testing.assert_close(kernels.swiglu(h, weight), expected)
    grad = drawn(9, 24, kind=kind, seed=4)
    found, twin = (m.swiglu_backward(grad, h, weight) for m in (kernels, plain))
    for a, b in zip(found, twin, strict=True):
        torch.testing.assert_close(a, b)


@KINDS
def test_cross_entropy_and_its_gradient(kernels: ModuleType, kind: torch.dtype) -> None:
    """Losses and gradients in place equal the twin's over several blocks of the vocabulary."""
    logits = 4 * drawn(5, 9000, kind=kind)
    labels = torch.tensor([0, -100, 8999, 17, 4096], device=DEVICE)
    mine, theirs = logits.clone(), logits.clone()
    losses = kernels.cross_entropy_(mine, labels, -100)
    torch.testing.assert_close(losses, plain.cross_entropy_(theirs, labels, -100))
    torch.testing.assert_close(mine, theirs)
    assert losses[1] == 0
    assert not mine[1].any()


def test_adamw_equals_torch(kernels: ModuleType) -> None:
    """Three updates of the kernel, its gradient factor included, are those of torch's AdamW."""
    parameter = torch.nn.Parameter(drawn(5000))
    config = OptimizerConfig(lr=0.01, clip=None)
    optimizer = AdamW([parameter], config)
    optimizer.own_kernel = False
    own = parameter.detach().clone()
    first, second = torch.zeros_like(own), torch.zeros_like(own)
    for step in (1, 2, 3):
        grad = drawn(5000, seed=step)
        parameter.grad = grad * 0.5
        optimizer.update(0.01)
        numbers = [
            0.5, 1 - 0.01 * 0.1, 0.9, 0.95, 1e-8, 0.01 / (1 - 0.9**step), (1 - 0.95**step) ** -0.5,
        ]  # fmt: skip
        kernels.adamw_(own, grad, first, second, torch.tensor(numbers, device=DEVICE))
    torch.testing.assert_close(own, parameter.detach())

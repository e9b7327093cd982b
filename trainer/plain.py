"""What the kernels compute, in plain torch: for the CPU, and to compare the kernels with.

Same names, arguments and results as in `trainer.kernels`; statistics and sums are float32.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

HAS_TRITON = find_spec("triton") is not None
"""Whether the kernels can be compiled; torch's builds for GPUs bring Triton along on Linux."""


def fastest(x: Tensor) -> ModuleType:
    """Choose who moves and sums: the kernels where they run, else this module."""
    if not (x.is_cuda and HAS_TRITON):
        return sys.modules[__name__]
    from trainer import kernels

    return kernels


def order_of(place_NK: Tensor) -> Tensor:
    """Invert places: which visit n * K + k stands at each sorted row. Returns (N * K,) int64."""
    flat_M = place_NK.flatten().long()
    return torch.empty_like(flat_M).scatter_(
        0, flat_M, torch.arange(len(flat_M), device=flat_M.device)
    )


def spread(x_ND: Tensor, place_NK: Tensor) -> Tensor:
    """Copy row n to rows place[n, :]. Returns (N * K, D)."""
    return x_ND[order_of(place_NK) // place_NK.shape[1]]


def collect(y_MD: Tensor, place_NK: Tensor) -> Tensor:
    """Add rows place[n, :] in float32. Returns (N, D)."""
    return y_MD[place_NK.long()].float().sum(1).to(y_MD.dtype)


def swiglu(h_MG: Tensor, weight_M: Tensor) -> Tensor:
    """Compute weight * silu(gate) * up, h = [gate | up] (M, 2F). Returns (M, F)."""
    gate, up = h_MG.float().chunk(2, dim=-1)
    return (weight_M[:, None] * gate * gate.sigmoid() * up).to(h_MG.dtype)


def swiglu_backward(
    grad_MF: Tensor, h_MG: Tensor, weight_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `swiglu`, and its output again: (M, 2F), (M,) float32, (M, F)."""
    gate, up = h_MG.float().chunk(2, dim=-1)
    grad, weight = grad_MF.float(), weight_M[:, None]
    share = gate.sigmoid()
    silu = gate * share
    to_gate = grad * weight * up * share * (1 + gate * (1 - share))
    grad_h_MG = torch.cat([to_gate, grad * weight * silu], dim=-1).to(h_MG.dtype)
    out_MF = (weight * silu * up).to(h_MG.dtype)
    return grad_h_MG, (grad * silu * up).sum(-1), out_MF


def cross_entropy_(logits_NV: Tensor, labels_N: Tensor, ignored: int) -> Tensor:
    """Losses (N,) float32; overwrites the logits with their gradient, softmax - onehot."""
    kept = labels_N != ignored
    target_N1 = labels_N.masked_fill(~kept, 0)[:, None]
    wide = logits_NV.float()
    log_total_N = wide.logsumexp(-1)
    losses_N = (log_total_N - wide.gather(1, target_N1).squeeze(1)).masked_fill(~kept, 0.0)
    share = wide.sub_(log_total_N[:, None]).exp_()  # float32 logits are `wide` themselves
    share.scatter_add_(1, target_N1, share.new_full((1, 1), -1.0).expand_as(target_N1))
    logits_NV.copy_(share.mul_(kept[:, None]))
    return losses_N

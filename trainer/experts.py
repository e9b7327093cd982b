"""The experts' seam: three backends that compute the same sum over a token's chosen experts.

`experts(x, ids, weights, w13, w2)` is Σ_j weight_j · down_j(silu(gate_j x) · up_j x) over the
experts j of a token. `loop` is the oracle, `grouped_mm` the default, `triton` the fast one on CUDA.
No token is dropped; counts and places stay on the device; the sum over a token's experts adds in
the order of its choices, without atomics, forward and backward. The grouped backends multiply by
the weight before the down projection, which is linear: equal but for rounding, and half as wide.

Shape suffixes: N tokens, K experts a token, M = N * K visits sorted by expert (ties by token), E
experts, D model width, F expert width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer import plain

Experts = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""x (N, D), ids (N, K), weights (N, K), w13 (E, 2F, D) gate above up, w2 (E, D, F): (N, D)."""

keep_inputs = True
"""Whether `triton` keeps the sorted inputs for backward (M, D), or copies them again."""


def places(ids_NK: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """Sort visits by expert, ties by token, without sorting.

    Returns the sorted place of each visit (N, K) int32 and the ends (E,) int32 of experts' runs.
    The running sum of who-visits-whom, one expert's tokens after another's, is the place: a token
    visits an expert once at most.
    """
    count = ids_NK.shape[0]
    experts_E = torch.arange(num_experts, device=ids_NK.device)
    visits_EN = (ids_NK[None] == experts_E[:, None, None]).any(-1)
    running_EN = visits_EN.flatten().cumsum(0, dtype=torch.int32).view(num_experts, count)
    tokens_N = torch.arange(count, device=ids_NK.device)
    return running_EN[ids_NK, tokens_N[:, None]] - 1, running_EN[:, -1].contiguous()


def experts_loop(
    x_ND: Tensor, ids_NK: Tensor, weights_NK: Tensor, w13: Tensor, w2: Tensor
) -> Tensor:
    """Compute one expert after another; the host waits for each."""
    y_ND = torch.zeros_like(x_ND)
    for expert in range(w13.shape[0]):
        tokens, choice = (ids_NK == expert).nonzero(as_tuple=True)
        gate, up = F.linear(x_ND[tokens], w13[expert]).chunk(2, dim=-1)
        out = F.linear(F.silu(gate) * up, w2[expert])
        weight = weights_NK[tokens, choice, None].to(out.dtype)
        y_ND = y_ND.index_add(0, tokens, out * weight)
    return y_ND


def experts_grouped_mm(
    x_ND: Tensor, ids_NK: Tensor, weights_NK: Tensor, w13: Tensor, w2: Tensor
) -> Tensor:
    """Compute all experts in two grouped products; what is around them is left to the compiler."""
    place_NK, ends_E = places(ids_NK, w13.shape[0])
    weight_M = _Permute.apply(weights_NK.flatten(), plain.order_of(place_NK), place_NK.flatten())
    x_MD = _Spread.apply(x_ND, place_NK)
    gate_MF, up_MF = F.grouped_mm(x_MD, w13.mT, offs=ends_E).chunk(2, dim=-1)
    wide = F.silu(gate_MF.float()) * up_MF.float() * weight_M[:, None]
    y_MD = F.grouped_mm(wide.to(x_ND.dtype), w2.mT, offs=ends_E)
    y_ND: Tensor = _Collect.apply(y_MD, place_NK)
    return y_ND


def experts_triton(
    x_ND: Tensor, ids_NK: Tensor, weights_NK: Tensor, w13: Tensor, w2: Tensor
) -> Tensor:
    """Compute as `experts_grouped_mm`, with forward and backward written out around own kernels."""
    place_NK, ends_E = places(ids_NK, w13.shape[0])
    y_ND: Tensor = _forward(x_ND, weights_NK.float(), w13, w2, place_NK, ends_E, keep_inputs)[0]
    return y_ND


BACKENDS: dict[str, Experts] = {
    "grouped_mm": experts_grouped_mm,
    "triton": experts_triton,
    "loop": experts_loop,
}


def _sorted_weights(weights_NK: Tensor, place_NK: Tensor) -> Tensor:
    flat = place_NK.flatten().long()
    return torch.empty_like(weights_NK.flatten()).scatter_(0, flat, weights_NK.flatten())


# Opaque to the compiler on purpose: it would otherwise decide itself what backward keeps.
@torch.library.custom_op("dolmix::experts_forward", mutates_args=())
def _forward(
    x_ND: Tensor, weights_NK: Tensor, w13: Tensor, w2: Tensor, place_NK: Tensor, ends_E: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    moves = plain.fastest(x_ND)
    weight_M = _sorted_weights(weights_NK, place_NK)
    x_MD = moves.spread(x_ND, place_NK)
    h_MG = F.grouped_mm(x_MD, w13.mT, offs=ends_E)
    y_MD = F.grouped_mm(moves.swiglu(h_MG, weight_M), w2.mT, offs=ends_E)
    return moves.collect(y_MD, place_NK), h_MG, weight_M, x_MD if keep else x_MD.new_empty(0)


@_forward.register_fake
def _(
    x_ND: Tensor, weights_NK: Tensor, w13: Tensor, w2: Tensor, place_NK: Tensor, ends_E: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    del w2, place_NK, ends_E
    rows = weights_NK.numel()
    x_MD = x_ND.new_empty(rows, x_ND.shape[1]) if keep else x_ND.new_empty(0)
    return (
        torch.empty_like(x_ND),
        x_ND.new_empty(rows, w13.shape[1]),
        weights_NK.new_empty(rows),
        x_MD,
    )


@torch.library.custom_op("dolmix::experts_backward", mutates_args=())
def _backward(
    grad_ND: Tensor, x_ND: Tensor, x_MD: Tensor, h_MG: Tensor, weight_M: Tensor, w13: Tensor,
    w2: Tensor, place_NK: Tensor, ends_E: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    moves = plain.fastest(grad_ND)
    grad_MD = moves.spread(grad_ND, place_NK)
    grad_a_MF = F.grouped_mm(grad_MD, w2, offs=ends_E)
    grad_h_MG, grad_weight_M, a_MF = moves.swiglu_backward(grad_a_MF, h_MG, weight_M)
    grad_w2 = F.grouped_mm(grad_MD.mT, a_MF, offs=ends_E)
    del grad_MD, grad_a_MF, a_MF
    inputs_MD = x_MD if x_MD.numel() else moves.spread(x_ND, place_NK)
    grad_w13 = F.grouped_mm(grad_h_MG.mT, inputs_MD, offs=ends_E)
    del inputs_MD
    grad_x_MD = F.grouped_mm(grad_h_MG, w13, offs=ends_E)
    return moves.collect(grad_x_MD, place_NK), grad_weight_M[place_NK.long()], grad_w13, grad_w2


@_backward.register_fake
def _(
    grad_ND: Tensor, x_ND: Tensor, x_MD: Tensor, h_MG: Tensor, weight_M: Tensor, w13: Tensor,
    w2: Tensor, place_NK: Tensor, ends_E: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    del grad_ND, x_MD, h_MG, ends_E
    return (
        torch.empty_like(x_ND),
        weight_M.new_empty(place_NK.shape),
        torch.empty_like(w13),
        torch.empty_like(w2),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x_ND, _, w13, w2, place_NK, ends_E, _ = inputs
    _, h_MG, weight_M, x_MD = output
    ctx.save_for_backward(x_ND, x_MD, h_MG, weight_M, w13, w2, place_NK, ends_E)
    ctx.mark_non_differentiable(h_MG, weight_M, x_MD)


def _gradients(ctx: Any, grad_ND: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    grads = _backward(grad_ND.contiguous(), *ctx.saved_tensors)
    return (*grads, None, None, None)


_forward.register_autograd(_gradients, setup_context=_save)


class _Spread(torch.autograd.Function):
    """Copy each token to its visits; gradients are gathered back and added in order."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, place_NK: Tensor) -> Tensor:
        ctx.save_for_backward(place_NK)
        return plain.spread(x_ND, place_NK)

    @staticmethod
    def backward(ctx: Any, grad_MD: Tensor) -> tuple[Tensor, None]:
        (place_NK,) = ctx.saved_tensors
        return plain.collect(grad_MD, place_NK), None


class _Collect(torch.autograd.Function):
    """Add each token's visits; gradients are copied to them."""

    @staticmethod
    def forward(ctx: Any, y_MD: Tensor, place_NK: Tensor) -> Tensor:
        ctx.save_for_backward(place_NK)
        return plain.collect(y_MD, place_NK)

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None]:
        (place_NK,) = ctx.saved_tensors
        return plain.spread(grad_ND, place_NK), None


class _Permute(torch.autograd.Function):
    """Reorder elements; gradients go by the inverse, where plain indexing would scatter and add."""

    @staticmethod
    def forward(ctx: Any, x_M: Tensor, index_M: Tensor, inverse_M: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_M)
        return x_M[index_M]

    @staticmethod
    def backward(ctx: Any, grad_M: Tensor) -> tuple[Tensor, None, None]:
        (inverse_M,) = ctx.saved_tensors
        return grad_M[inverse_M.long()], None, None

"""Dropless token-choice mixture of experts: a router, and one seam before the experts.

`experts(x, ids, weights, w13, w2)` computes Σ_j w_j · down_j(silu(gate_j x) · up_j x) over a
token's chosen experts j. Backends agree: `loop` is the oracle, `grouped_mm` the default. No token
is dropped, counts and offsets stay on the device, and the sum over a token's experts is a gather
with a fixed order of addition: no atomics, forward or backward.

Shape suffixes: N tokens, K experts a token, M = N * K visits, E experts, D model width, F expert
width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.config import ModelConfig

Experts = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Routing:
    """What one layer's router did with one microbatch; all that the router losses need.

    Not a tuple on purpose: FSDP2 hooks every tensor that it finds in a block's output, and
    gradients of the router losses reach all blocks at once, which would gather the whole model at
    the start of backward.
    """

    probs: Tensor
    """(N, E) softmax over all experts, float32."""
    logsumexp: Tensor
    """(N,) log of the sum of exponentials of the router's logits, float32."""
    counts: Tensor
    """(E,) visits that each expert got, int64."""


class MoE(nn.Module):
    """Router and experts of one layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.top_k = config.top_k
        self.router = nn.Linear(config.d_model, config.experts, bias=False)
        self.w13 = nn.Parameter(torch.empty(config.experts, 2 * config.d_ff, config.d_model))
        self.w2 = nn.Parameter(torch.empty(config.experts, config.d_model, config.d_ff))
        self.experts = BACKENDS[config.expert_backend]

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        """Route each token to its experts; returns (B, T, D) and what the router did."""
        x_ND = x_BTD.flatten(0, 1)
        weights_NK, ids_NK, routing = self.route(x_ND)
        y_ND = self.experts(x_ND, ids_NK, weights_NK, self.w13, self.w2)
        return y_ND.view_as(x_BTD), routing

    def route(self, x_ND: Tensor) -> tuple[Tensor, Tensor, Routing]:
        """Choose each token's K likeliest experts: weights (N, K) in x's type, ids (N, K), routing.

        Logits and softmax are float32; the softmax is over all experts and the chosen weights are
        not renormalised.
        """
        logits_NE = F.linear(x_ND.float(), self.router.weight.float())
        probs_NE = logits_NE.softmax(-1)
        weights_NK, ids_NK = probs_NE.topk(self.top_k, dim=-1)
        experts_E = torch.arange(logits_NE.shape[1], device=x_ND.device)
        counts_E = (ids_NK.flatten()[:, None] == experts_E).sum(0)
        routing = Routing(probs_NE, logits_NE.logsumexp(-1), counts_E)
        return weights_NK.to(x_ND.dtype), ids_NK, routing


def experts_loop(
    x_ND: Tensor, ids_NK: Tensor, weights_NK: Tensor, w13: Tensor, w2: Tensor
) -> Tensor:
    """Compute one expert after another; the host waits for each. w13 (E, 2F, D), w2 (E, D, F)."""
    y_ND = torch.zeros_like(x_ND)
    for expert in range(w13.shape[0]):
        tokens, choice = (ids_NK == expert).nonzero(as_tuple=True)
        gate, up = F.linear(x_ND[tokens], w13[expert]).chunk(2, dim=-1)
        out = F.linear(F.silu(gate) * up, w2[expert])
        y_ND = y_ND.index_add(0, tokens, out * weights_NK[tokens, choice, None])
    return y_ND


def experts_grouped_mm(
    x_ND: Tensor, ids_NK: Tensor, weights_NK: Tensor, w13: Tensor, w2: Tensor
) -> Tensor:
    """Compute all experts in two grouped products. w13 (E, 2F, D), w2 (E, D, F)."""
    ends_E, order_M = group_ends(ids_NK.flatten(), w13.shape[0])
    place_M = order_M.argsort()
    x_MD = _Spread.apply(x_ND, order_M, place_M)
    gate_MF, up_MF = F.grouped_mm(x_MD, w13.mT, offs=ends_E).chunk(2, dim=-1)
    y_MD = F.grouped_mm(F.silu(gate_MF) * up_MF, w2.mT, offs=ends_E)
    y_NKD = _Permute.apply(y_MD, place_M, order_M).unflatten(0, ids_NK.shape)
    return (y_NKD * weights_NK[..., None]).sum(1)


def group_ends(ids_M: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """Sort visits by expert, ties by token: ends (E,) int32 of the runs, and the order (M,).

    A binary search in place of a count: no atomics, and nothing that the host waits for.
    """
    sorted_M, order_M = ids_M.sort(stable=True)
    experts_E = torch.arange(num_experts, device=ids_M.device)
    return torch.searchsorted(sorted_M, experts_E, right=True, out_int32=True), order_M


BACKENDS: dict[str, Experts] = {"grouped_mm": experts_grouped_mm, "loop": experts_loop}


class _Spread(torch.autograd.Function):
    """Copy each token to its visits, sorted by expert; gradients are gathered back and summed."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_M: Tensor, place_M: Tensor) -> Tensor:
        ctx.save_for_backward(place_M)
        ctx.num_tokens = x_ND.shape[0]
        return x_ND[order_M // (order_M.shape[0] // x_ND.shape[0])]

    @staticmethod
    def backward(ctx: Any, grad_MD: Tensor) -> tuple[Tensor, None, None]:
        (place_M,) = ctx.saved_tensors
        return grad_MD[place_M].unflatten(0, (ctx.num_tokens, -1)).sum(1), None, None


class _Permute(torch.autograd.Function):
    """Reorder rows; gradients go by the inverse, where plain indexing would scatter and add."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, index_M: Tensor, inverse_M: Tensor) -> Tensor:
        ctx.save_for_backward(inverse_M)
        return x_MD[index_M]

    @staticmethod
    def backward(ctx: Any, grad_MD: Tensor) -> tuple[Tensor, None, None]:
        (inverse_M,) = ctx.saved_tensors
        return grad_MD[inverse_M], None, None

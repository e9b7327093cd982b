"""Dropless token-choice mixture of experts: a router, and the experts' seam (`trainer.experts`).

The router: gate, noise, choice, normalisation of the chosen weights, scale. Logits, softmax and
statistics are float32 whatever the model computes in. OLMoE's: one matrix, softmax over all
experts, the K largest, not renormalised.

Shape suffixes: N tokens, K experts a token, E experts, D model width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.config import ModelConfig
from trainer.experts import BACKENDS


class Choice(NamedTuple):
    """What one layer's router did with one microbatch, as tensors; all that the losses need."""

    mean_probs: Tensor
    """(E,) mean of the softmax over all experts, float32."""
    mean_square: Tensor
    """() mean of the squared log-sum-exp of the logits, float32."""
    counts: Tensor
    """(E,) visits that each expert got, int64."""


class MoE(nn.Module):
    """Router and experts of one layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.top_k, self.settings = config.top_k, config.router
        self.router = nn.Linear(config.d_model, config.experts, bias=False)
        if config.router.gate == "mlp":
            self.router_out = nn.Linear(config.experts, config.experts, bias=False)
        if config.router.noise:
            self.noise = nn.Linear(config.d_model, config.experts, bias=False)
        if config.router.bias_rate > 0:
            self.register_buffer("choice_bias", torch.zeros(config.experts))
        self.w13 = nn.Parameter(torch.empty(config.experts, 2 * config.d_ff, config.d_model))
        self.w2 = nn.Parameter(torch.empty(config.experts, config.d_model, config.d_ff))
        self.shared = None if config.shared_d_ff is None else SwiGLU(config, config.shared_d_ff)
        self.experts = BACKENDS[config.expert_backend]

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Choice]:
        """Route each token to its experts; returns (B, T, D) and what the router did."""
        x_ND = x_BTD.flatten(0, 1)
        weights_NK, ids_NK, choice = self.route(x_ND)
        y_ND = self.experts(x_ND, ids_NK, weights_NK, self.w13, self.w2)
        y_BTD = y_ND.view_as(x_BTD)
        return (y_BTD if self.shared is None else y_BTD + self.shared(x_BTD)), choice

    def route(self, x_ND: Tensor) -> tuple[Tensor, Tensor, Choice]:
        """Choose each token's K experts: weights (N, K) float32, ids (N, K) int64, statistics."""
        logits_NE = self._logits(x_ND)
        probs_NE = logits_NE.softmax(-1)
        bias = getattr(self, "choice_bias", None)
        ids_NK = (probs_NE if bias is None else probs_NE + bias).topk(self.top_k, dim=-1).indices
        experts_E = torch.arange(logits_NE.shape[1], device=x_ND.device)
        counts_E = (ids_NK.flatten()[:, None] == experts_E).sum(0)
        square = logits_NE.logsumexp(-1).square().mean()
        choice = Choice(probs_NE.mean(0), square, counts_E)
        return self._weights(probs_NE, logits_NE, ids_NK), ids_NK, choice

    def _logits(self, x_ND: Tensor) -> Tensor:
        logits_NE = linear_float32(x_ND, self.router.weight)
        if self.settings.gate == "mlp":
            logits_NE = linear_float32(logits_NE.tanh(), self.router_out.weight)
        if self.settings.noise and self.training:
            spread_NE = F.softplus(linear_float32(x_ND, self.noise.weight)) + 0.01
            logits_NE = logits_NE + torch.randn_like(logits_NE) * spread_NE
        return logits_NE

    def _weights(self, probs_NE: Tensor, logits_NE: Tensor, ids_NK: Tensor) -> Tensor:
        if self.settings.normalize == "softmax":
            weights_NK = choose(logits_NE, ids_NK).softmax(-1)
        else:
            weights_NK = choose(probs_NE, ids_NK)
            if self.settings.normalize == "topk":
                weights_NK = weights_NK / weights_NK.sum(-1, keepdim=True)
        return weights_NK if self.settings.scale == 1 else weights_NK * self.settings.scale


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x) (Shazeer 2020), of every token."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.w13 = nn.Linear(config.d_model, 2 * width, bias=False)
        self.w2 = nn.Linear(width, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (B, T, D)."""
        gate, up = self.w13(x_BTD).chunk(2, dim=-1)
        y_BTD: Tensor = self.w2(F.silu(gate) * up)
        return y_BTD


def linear_float32(x_ND: Tensor, weight_ED: Tensor) -> Tensor:
    """Product with a small matrix, exact in float32 for bfloat16 inputs too. Returns (N, E).

    bfloat16 products are exact in float32, so tensor cores that add in float32 lose nothing.
    """
    if x_ND.is_cuda and x_ND.dtype == weight_ED.dtype == torch.bfloat16:
        logits_NE: Tensor = _wide_product(x_ND, weight_ED)
        return logits_NE
    return F.linear(x_ND.float(), weight_ED.float())


def choose(values_NE: Tensor, ids_NK: Tensor) -> Tensor:
    """Gather values[n, ids[n, :]]; gradients go back without scattering. Returns (N, K)."""
    chosen_NK: Tensor = _Choose.apply(values_NE, ids_NK)
    return chosen_NK


class _Choose(torch.autograd.Function):
    """A gather whose backward is a sum over K of comparisons: fused, no atomics."""

    @staticmethod
    def forward(ctx: Any, values_NE: Tensor, ids_NK: Tensor) -> Tensor:
        ctx.save_for_backward(ids_NK)
        ctx.width = values_NE.shape[1]
        return values_NE.gather(1, ids_NK)

    @staticmethod
    def backward(ctx: Any, grad_NK: Tensor) -> tuple[Tensor, None]:
        (ids_NK,) = ctx.saved_tensors
        experts_E = torch.arange(ctx.width, device=ids_NK.device)
        hit_NKE = ids_NK[..., None] == experts_E
        return (grad_NK[..., None] * hit_NKE).sum(1), None


@torch.library.custom_op("dolmix::wide_product", mutates_args=())
def _wide_product(x_ND: Tensor, weight_ED: Tensor) -> Tensor:
    return torch.mm(x_ND, weight_ED.t(), out_dtype=torch.float32)


@_wide_product.register_fake
def _(x_ND: Tensor, weight_ED: Tensor) -> Tensor:
    return x_ND.new_empty((x_ND.shape[0], weight_ED.shape[0]), dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad_NE: Tensor) -> tuple[Tensor, Tensor]:
    x_ND, weight_ED = ctx.saved_tensors
    grad = grad_NE.to(x_ND.dtype)
    return grad @ weight_ED, grad.t() @ x_ND


_register: Callable[..., None] = _wide_product.register_autograd
_register(_gradients, setup_context=_save)

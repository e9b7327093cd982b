"""Output matrix and cross-entropy together, a chunk of tokens at a time.

The logits of a chunk are made, turned into losses and, in the same place, into their own gradient;
so the whole (N, V) never exists twice, nothing is computed again in backward, and the products run
once each. Losses are float32, from logits in the type that the model computes in.

Shape suffixes: N tokens, D model width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from trainer import plain

IGNORED = -100
"""Label of a token that costs nothing."""


def linear_cross_entropy(
    x_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of x @ weight.T in nats: its sum, to differentiate, and each token's (N,).

    labels (N,) int64, `IGNORED` costs 0; chunk: tokens whose logits exist at a time. Float32.
    """
    total, losses_N = _LinearCrossEntropy.apply(x_ND, weight_VD, labels_N, chunk)
    return total, losses_N


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients are made in forward, where the logits are; backward multiplies them."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_x_ND = torch.empty_like(x_ND) if wanted else None
        grad_weight_VD = None
        losses = []
        for start in range(0, x_ND.shape[0], chunk):
            x_CD, labels_C = x_ND[start : start + chunk], labels_N[start : start + chunk]
            logits_CV = x_CD @ weight_VD.t()
            losses.append(plain.fastest(x_ND).cross_entropy_(logits_CV, labels_C, IGNORED))
            if grad_x_ND is None:
                continue
            torch.mm(logits_CV, weight_VD, out=grad_x_ND[start : start + chunk])
            if grad_weight_VD is None:
                grad_weight_VD = logits_CV.t() @ x_CD
            else:
                grad_weight_VD.addmm_(logits_CV.t(), x_CD)
        losses_N = torch.cat(losses)
        if wanted:
            ctx.save_for_backward(grad_x_ND, grad_weight_VD)
        ctx.mark_non_differentiable(losses_N)
        return losses_N.sum(), losses_N

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor, None, None]:
        grad_x_ND, grad_weight_VD = ctx.saved_tensors
        return _scaled(grad_x_ND, grad), _scaled(grad_weight_VD, grad), None, None


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    return (gradient * factor).to(gradient.dtype)

"""Cross-entropy and the two router losses, in the scalings that OLMoE trained with.

L mixture-of-experts layers, T tokens of one microbatch of one rank, k experts a token, E experts;
per layer l the visits c_{l,i} of expert i, the mean router probability p_{l,i} and each token's
log-sum-exp of router logits:

load balance  E / (L T k) · Σ_l Σ_i c_{l,i} p_{l,i}     1 when all experts are used alike
router z      Σ_l Σ_t logsumexp² / (L T k)              divided by k, unlike the OLMoE paper's text
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.moe import Routing

IGNORED = -100
"""Label of a token that costs nothing."""


class RouterLosses(NamedTuple):
    """Unweighted scalars, float32; zero without mixture-of-experts layers."""

    load_balance: Tensor
    router_z: Tensor


def cross_entropy(logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
    """Mean cross-entropy of each instance in nats, (B,) float32.

    Labels that are `IGNORED` add 0 to the sum; the divisor stays T.
    """
    losses = F.cross_entropy(
        logits_BTV.flatten(0, 1).float(),
        labels_BT.flatten(),
        reduction="none",
        ignore_index=IGNORED,
    )
    return losses.view_as(labels_BT).mean(1)


def router_losses(routings: Sequence[Routing], top_k: int) -> RouterLosses:
    """Load-balancing and z-loss over the layers of one microbatch."""
    if not routings:
        return RouterLosses(torch.zeros(()), torch.zeros(()))
    num_tokens, num_experts = routings[0].probs.shape
    visits = len(routings) * num_tokens * top_k
    balance = [(r.counts * r.probs.mean(0)).sum() for r in routings]
    squares = [r.logsumexp.square().sum() for r in routings]
    return RouterLosses(
        torch.stack(balance).sum() * num_experts / visits, torch.stack(squares).sum() / visits
    )

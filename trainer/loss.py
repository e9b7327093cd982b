"""The two router losses, in the conventions of those who trained with them.

L mixture-of-experts layers, T tokens of one microbatch of one rank, k experts a token, E experts;
per layer l the visits c_{l,i} of expert i, the mean router probability p_{l,i} and each token's
log-sum-exp of router logits:

olmoe   load balance  E / (L T k) · Σ_l Σ_i c_{l,i} p_{l,i}     1 when all experts are used alike
        router z      Σ_l Σ_t logsumexp² / (L T k)     divided by k, unlike the OLMoE paper's text
hf      load balance  E · Σ_i (Σ_l c_{l,i} / L T) (Σ_l p_{l,i} / L)     layers pooled; k when alike
        router z      Σ_l Σ_t logsumexp² / (L T)      Hugging Face has none; the scaling of the text
global  load balance  as olmoe, with visits and tokens of all ranks and of the step's microbatches
                      so far in place of c and T, so that only the whole batch must be balanced
        router z      as hf
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.config import LossConfig
from trainer.model import Routing


class RouterLosses(NamedTuple):
    """Unweighted scalars, float32; zero without mixture-of-experts layers."""

    load_balance: Tensor
    """In the convention that is trained with."""
    router_z: Tensor
    olmoe: Tensor
    """Load balance in OLMoE's convention."""
    hf: Tensor
    """Load balance in Hugging Face's convention."""


def router_losses(
    routings: Sequence[Routing],
    top_k: int,
    convention: str = "olmoe",
    *,
    visits_LE: Tensor | None = None,
) -> RouterLosses:
    """Load-balancing and z-loss over the layers of one microbatch.

    visits_LE: for `global`, visits of all ranks and microbatches so far, this one included.
    """
    if not routings:
        return RouterLosses(*(torch.zeros(()) for _ in RouterLosses._fields))
    probs_LE = torch.stack([r.mean_probs for r in routings])
    counts_LE = stacked_counts(routings)
    num_experts = counts_LE.shape[1]
    z = torch.stack([r.mean_square for r in routings]).mean()
    olmoe = num_experts * (_shares(counts_LE) * probs_LE).sum(1).mean()
    hf = num_experts * top_k * (_shares(counts_LE).mean(0) * probs_LE.mean(0)).sum()
    trained = hf if convention == "hf" else olmoe
    if convention == "global" and visits_LE is not None:
        trained = num_experts * (_shares(visits_LE) * probs_LE).sum(1).mean()
    return RouterLosses(trained, z / top_k if convention == "olmoe" else z, olmoe, hf)


def stacked_counts(routings: Sequence[Routing]) -> Tensor:
    """Visits of every layer's experts in one microbatch, (L, E) int64."""
    return torch.stack([r.counts for r in routings])


def explain(loss: LossConfig, top_k: int) -> str:
    """One line: which losses a run adds, and in which scaling."""
    even = top_k if loss.convention == "hf" else 1
    by_k = f", divided by top_k {top_k}" if loss.convention == "olmoe" else ""
    return (
        f"router losses: convention {loss.convention}; load balance x {loss.load_balance:g} "
        f"({even} when even); z x {loss.router_z:g} (mean of squared log-sum-exp{by_k})"
    )


def _shares(counts_LE: Tensor) -> Tensor:
    """Each expert's share of a layer's visits, (L, E) float32: c / (T k)."""
    return counts_LE / counts_LE.sum(1, keepdim=True)

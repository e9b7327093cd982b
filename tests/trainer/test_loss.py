"""Losses against closed forms and against sums written out."""

import math

import pytest
import torch

from trainer.loss import cross_entropy, router_losses
from trainer.moe import Routing


def routing(logits: torch.Tensor, top_k: int) -> Routing:
    """Route tokens (N, E) by their logits."""
    probs = logits.softmax(-1)
    counts = torch.bincount(probs.topk(top_k).indices.flatten(), minlength=logits.shape[1])
    return Routing(probs, logits.logsumexp(-1), counts)


def test_even_router_has_balance_loss_one() -> None:
    """Uniform probabilities and even visits give 1 for any k and E; z is (log E)² / k."""
    probs = torch.full((12, 6), 1 / 6)
    even = Routing(probs, torch.full((12,), math.log(6)), torch.full((6,), 12 * 2 // 6))
    balance, z = router_losses([even, even, even], top_k=2)
    assert balance.item() == pytest.approx(1, rel=1e-6)
    assert z.item() == pytest.approx(math.log(6) ** 2 / 2, rel=1e-6)


def test_collapsed_router_has_balance_loss_of_experts_over_k() -> None:
    """All tokens on the same k experts, each with probability 1/k, give E / k."""
    probs = torch.zeros((10, 8))
    probs[:, :2] = 0.5
    counts = torch.tensor([10, 10, 0, 0, 0, 0, 0, 0])
    balance, _ = router_losses([Routing(probs, torch.zeros(10), counts)], top_k=2)
    assert balance.item() == pytest.approx(8 / 2, rel=1e-6)


def test_router_losses_equal_the_written_out_sums() -> None:
    """E / (L T k) ΣΣ c p and Σ logsumexp² / (L T k), summed over layers, tokens, experts."""
    generator = torch.Generator().manual_seed(1)
    top_k, layers = 2, [torch.randn((7, 5), generator=generator) for _ in range(3)]
    balance, z = router_losses([routing(logits, top_k) for logits in layers], top_k)
    visits = len(layers) * 7 * top_k
    expected_balance = expected_z = 0.0
    for logits in layers:
        rows = [[math.exp(v) for v in row] for row in logits.tolist()]
        shares = [[v / sum(row) for v in row] for row in rows]
        expected_z += sum(math.log(sum(row)) ** 2 for row in rows) / visits
        for expert in range(5):
            count = sum(sorted(row)[-top_k] <= row[expert] for row in shares)
            expected_balance += 5 / visits * count * sum(row[expert] for row in shares) / 7
    assert balance.item() == pytest.approx(expected_balance, rel=1e-5)
    assert z.item() == pytest.approx(expected_z, rel=1e-5)


def test_large_logits_keep_z_finite() -> None:
    """Logits of 1,000, whose exponentials overflow, give a finite z-loss."""
    _, z = router_losses([routing(torch.full((3, 4), 1000.0), 2)], 2)
    assert z.item() == pytest.approx((1000 + math.log(4)) ** 2 / 2, rel=1e-6)


def test_no_experts_no_router_losses() -> None:
    """A model of dense layers has router losses of zero."""
    assert [v.item() for v in router_losses([], 2)] == [0, 0]


def test_cross_entropy_is_the_mean_of_each_instance() -> None:
    """Even logits cost log V; a certain wrong token costs its margin, in its row alone."""
    logits = torch.zeros((2, 4, 9))
    logits[1, 2, 3] = 90.0
    labels = torch.zeros((2, 4), dtype=torch.long)
    losses = cross_entropy(logits, labels)
    assert losses[0].item() == pytest.approx(math.log(9), rel=1e-6)
    assert losses[1].item() == pytest.approx((3 * math.log(9) + 90) / 4, rel=1e-6)

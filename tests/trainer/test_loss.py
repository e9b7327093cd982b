"""Losses against closed forms, against sums written out, and against the published functions."""

import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainer import plain
from trainer.config import LossConfig
from trainer.cross_entropy import IGNORED, linear_cross_entropy
from trainer.loss import explain, router_losses
from trainer.model import Routing


def routing(logits: Tensor, top_k: int) -> Routing:
    """Route tokens (N, E) by their logits."""
    probs = logits.softmax(-1)
    counts = torch.bincount(probs.topk(top_k).indices.flatten(), minlength=logits.shape[1])
    return Routing(probs.mean(0), logits.logsumexp(-1).square().mean(), counts)


def even(tokens: int, experts: int, top_k: int) -> Routing:
    """Route with equal probabilities and equal visits."""
    visits = torch.full((experts,), tokens * top_k // experts)
    square = torch.tensor(math.log(experts) ** 2)
    return Routing(torch.full((experts,), 1 / experts), square, visits)


@pytest.mark.parametrize(
    ("convention", "balance", "z"), [("olmoe", 1, 0.5), ("hf", 2, 1), ("global", 1, 1)]
)
def test_even_router(convention: str, balance: float, z: float) -> None:
    """Uniform probabilities and even visits give 1, or k as HF counts; z is (log E)², or / k."""
    layers = [even(12, 6, 2)] * 3
    visits = torch.stack([r.counts for r in layers]) * 5
    losses = router_losses(layers, 2, convention, visits_LE=visits)
    assert losses.load_balance.item() == pytest.approx(balance, rel=1e-6)
    assert losses.router_z.item() == pytest.approx(z * math.log(6) ** 2, rel=1e-6)
    assert (losses.olmoe.item(), losses.hf.item()) == pytest.approx((1, 2), rel=1e-6)


def test_collapsed_router_has_balance_loss_of_experts_over_k() -> None:
    """All tokens on the same k experts, each with probability 1/k, give E / k."""
    probs = torch.zeros(8)
    probs[:2] = 0.5
    counts = torch.tensor([10, 10, 0, 0, 0, 0, 0, 0])
    losses = router_losses([Routing(probs, torch.tensor(0.0), counts)], top_k=2)
    assert losses.load_balance.item() == pytest.approx(8 / 2, rel=1e-6)


def drawn(layers: int = 3, tokens: int = 7, experts: int = 5, seed: int = 1) -> list[Tensor]:
    """Draw router logits of some layers, (tokens, experts) each."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((tokens, experts), generator=generator) for _ in range(layers)]


def test_router_losses_equal_the_written_out_sums() -> None:
    """E / (L T k) ΣΣ c p and Σ logsumexp² / (L T k), summed over layers, tokens, experts."""
    top_k, layers = 2, drawn()
    losses = router_losses([routing(logits, top_k) for logits in layers], top_k)
    visits = len(layers) * 7 * top_k
    expected_balance = expected_z = 0.0
    for logits in layers:
        rows = [[math.exp(v) for v in row] for row in logits.tolist()]
        shares = [[v / sum(row) for v in row] for row in rows]
        expected_z += sum(math.log(sum(row)) ** 2 for row in rows) / visits
        for expert in range(5):
            count = sum(sorted(row)[-top_k] <= row[expert] for row in shares)
            expected_balance += 5 / visits * count * sum(row[expert] for row in shares) / 7
    assert losses.load_balance.item() == pytest.approx(expected_balance, rel=1e-5)
    assert losses.router_z.item() == pytest.approx(expected_z, rel=1e-5)


def test_hf_convention_equals_the_written_out_pooling() -> None:
    """E Σ_i (Σ_j f_ji) P_i with layers and tokens in one pool, f_ji by choice j."""
    top_k, layers = 2, drawn()
    pooled = torch.cat(layers).softmax(-1)
    chosen = torch.nn.functional.one_hot(pooled.topk(top_k).indices, 5).float()
    expected = 5 * (chosen.mean(0) * pooled.mean(0)).sum()
    found = router_losses([routing(x, top_k) for x in layers], top_k, "hf").load_balance
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_hf_convention_equals_transformers() -> None:
    """The same number as transformers' load_balancing_loss_func."""
    module = pytest.importorskip(
        "transformers.models.olmoe.modeling_olmoe", reason="transformers is not installed"
    )
    layers = drawn(seed=4)
    expected = module.load_balancing_loss_func(tuple(layers), 5, 2)
    found = router_losses([routing(x, 2) for x in layers], 2, "hf").load_balance
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_global_convention_judges_the_whole_batch() -> None:
    """Two lopsided microbatches that are even together cost as an even one, unlike alone."""
    probs = torch.full((4,), 0.25)
    one, two = (torch.tensor(c) for c in ([8, 8, 0, 0], [0, 0, 8, 8]))
    skewed = torch.tensor([0.4, 0.4, 0.1, 0.1])
    layer = [Routing(skewed, torch.tensor(0.0), one)]
    alone = router_losses(layer, 2, "global", visits_LE=one[None])
    together = router_losses(layer, 2, "global", visits_LE=(one + two)[None])
    assert alone.load_balance.item() == pytest.approx(1.6, rel=1e-6)
    assert together.load_balance.item() == pytest.approx(4 * (0.25 * skewed).sum().item(), rel=1e-6)
    assert probs.sum() == 1


def test_large_logits_keep_z_finite() -> None:
    """Logits of 1,000, whose exponentials overflow, give a finite z-loss."""
    losses = router_losses([routing(torch.full((3, 4), 1000.0), 2)], 2)
    assert losses.router_z.item() == pytest.approx((1000 + math.log(4)) ** 2 / 2, rel=1e-6)


def test_no_experts_no_router_losses() -> None:
    """A model of dense layers has router losses of zero."""
    assert [v.item() for v in router_losses([], 2)] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("convention", "part"), [("olmoe", "divided by top_k 8"), ("hf", "(8 when")]
)
def test_conventions_are_said(convention: str, part: str) -> None:
    """The line that a run starts with names the convention and its scaling."""
    line = explain(LossConfig.model_validate({"convention": convention}), 8)
    assert f"convention {convention};" in line
    assert part in line


@settings(deadline=None, max_examples=25)
@given(
    tokens=st.integers(1, 9),
    chunk=st.integers(1, 10),
    ignored=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_chunked_cross_entropy_equals_torch(
    tokens: int, chunk: int, ignored: int, seed: int
) -> None:
    """Losses and both gradients are torch's for any chunk, ignored labels included."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((tokens, 6), generator=generator).requires_grad_()
    weight = torch.randn((11, 6), generator=generator).requires_grad_()
    labels = torch.randint(0, 11, (tokens,), generator=generator)
    labels[:ignored] = IGNORED
    expected = torch.nn.functional.cross_entropy(
        x @ weight.t(), labels, reduction="none", ignore_index=IGNORED
    )
    wanted = torch.autograd.grad(expected.sum() * 0.3, (x, weight))
    total, losses = linear_cross_entropy(x, weight, labels, chunk)
    torch.testing.assert_close(losses, expected.detach(), atol=1e-5, rtol=1e-5)
    assert total.item() == pytest.approx(expected.sum().item(), abs=1e-4)
    for a, b in zip(torch.autograd.grad(total * 0.3, (x, weight)), wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


class _NewTensors(TorchDispatchMode):
    """Keeps results as large as a tensor, by where they lie, so that no place is used twice."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known
        self.found = {known.untyped_storage().data_ptr(): known}

    def __torch_dispatch__(self, call: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        """Call, and look at the result."""
        found = call(*given, **(named or {}))
        if isinstance(found, Tensor) and found.numel() == self.known.numel():
            self.found[found.untyped_storage().data_ptr()] = found
        return found


@pytest.mark.parametrize(("dtype", "count"), [(torch.float32, 0), (torch.bfloat16, 1)], ids=str)
def test_gradients_take_the_place_of_logits(dtype: torch.dtype, count: int) -> None:
    """On the CPU too: float32 logits need no second tensor of their size, others one in float32."""
    logits = torch.randn((6, 11), generator=torch.Generator().manual_seed(0)).to(dtype)
    with _NewTensors(logits) as seen:
        plain.cross_entropy_(logits, torch.tensor([3, 0, 10, IGNORED, 1, 1]), IGNORED)
    assert len(seen.found) - 1 == count


def test_cross_entropy_of_known_logits() -> None:
    """Even logits cost log V; a certain wrong token costs its margin."""
    weight = torch.zeros((9, 2))
    weight[3, 1] = 90.0
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    _, losses = linear_cross_entropy(x, weight, torch.tensor([5, 5]), 1)
    assert losses.tolist() == pytest.approx([math.log(9), 90], rel=1e-6)

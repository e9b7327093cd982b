"""The router: every gate and every normalisation against plain sums; balancing by bias."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import softplus

from trainer.checkpoint import complete
from trainer.config import ModelConfig, TrainConfig
from trainer.moe import MoE
from trainer.weights import open_weights

TINY: dict[str, Any] = {
    "vocab": 40, "d_model": 8, "layers": 1, "heads": 1, "experts": 5, "top_k": 2, "d_ff": 8,
}  # fmt: skip


def build(**changes: Any) -> MoE:
    """Build one layer with random weights."""
    layer = MoE(ModelConfig(**(TINY | changes)))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return layer


X = torch.randn((6, 8), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("normalize", ["none", "topk", "softmax"])
@pytest.mark.parametrize("gate", ["linear", "mlp"])
def test_weights_follow_their_definition(gate: str, normalize: str) -> None:
    """Token by token: logits of the gate, the two largest, their weights, times the scale."""
    layer = build(router={"gate": gate, "normalize": normalize, "scale": 2.5})
    weights, ids, _ = layer.route(X)
    for n, x in enumerate(X):
        logits = layer.router.weight @ x
        if gate == "mlp":
            logits = layer.router_out.weight @ logits.tanh()
        probs = (logits - logits.max()).exp()
        probs = probs / probs.sum()
        best = sorted(range(5), key=lambda e: -probs[e].item())[:2]
        assert ids[n].tolist() == best
        expected = probs[best]
        if normalize == "topk":
            expected = expected / expected.sum()
        if normalize == "softmax":
            expected = logits[best].exp() / logits[best].exp().sum()
        torch.testing.assert_close(weights[n], 2.5 * expected)


def test_gradients_of_the_router_are_those_of_plain_indexing() -> None:
    """The written-out backward of choosing equals autograd's through gather."""
    layer = build()
    weights, ids, _ = layer.route(X)
    (weights * torch.linspace(-1, 1, 12).view(6, 2)).sum().backward()
    found = layer.router.weight.grad
    layer.router.weight.grad = None
    plain = (X @ layer.router.weight.t()).softmax(-1).gather(1, ids)
    (plain * torch.linspace(-1, 1, 12).view(6, 2)).sum().backward()
    torch.testing.assert_close(found, layer.router.weight.grad)


def test_noise_is_for_training_only() -> None:
    """With noise on, training draws around the logits by softplus + 0.01; evaluation does not."""
    layer = build(router={"noise": True})
    spread = softplus(X @ layer.noise.weight.t()) + 0.01
    quiet = layer.eval()._logits(X)
    layer.train()
    torch.manual_seed(1)
    drawn = torch.stack([layer._logits(X) for _ in range(4000)]).detach()
    torch.testing.assert_close(quiet, X @ layer.router.weight.t())
    torch.testing.assert_close(drawn.std(0) / spread, torch.ones(6, 5), atol=0.06, rtol=0)


def test_the_bias_chooses_but_does_not_weigh() -> None:
    """A bias moves visits to its expert, whose weight stays its own probability."""
    layer = build(router={"bias_rate": 0.001})
    before, _, _ = layer.route(X)
    layer.choice_bias[4] = 10
    weights, ids, choice = layer.route(X)
    probs = (X @ layer.router.weight.t()).softmax(-1)
    assert (ids[:, 0] == 4).all()
    assert choice.counts[4] == 6
    torch.testing.assert_close(weights, probs.gather(1, ids))
    assert not torch.equal(weights, before)


def test_the_shared_expert_adds_to_the_routed_ones() -> None:
    """A layer with a shared expert is the layer without it plus a SwiGLU of every token."""
    layer = build(shared_d_ff=16)
    assert layer.shared is not None
    whole, _ = layer(X[None])
    shared, layer.shared = layer.shared, None
    routed, _ = layer(X[None])
    torch.testing.assert_close(whole, routed + shared(X[None]))


def test_bias_balances_over_training(
    configure: Callable[..., TrainConfig], train: Callable[..., bool], small_model: dict[str, Any]
) -> None:
    """After n steps each bias is a sum of n steps of the rate; a resumed run has the same ones."""
    model = small_model | {"router": {"bias_rate": 0.25}}
    train(configure("whole", model=model, max_steps=5))
    train(configure("halves", model=model, max_steps=2))
    train(configure("halves", model=model, max_steps=5))
    found = []
    for name in ("whole", "halves"):
        path = complete(configure(name).output / "checkpoints")[-1]
        weights = open_weights(path)
        bias = torch.empty(4)
        from trainer.tensor_files import load

        load(path, {"model.blocks.1.mlp.choice_bias": bias}, alone=True)
        found.append(bias)
        assert weights.model.router.bias_rate == 0.25
    assert torch.equal(*found)
    assert (found[0] / 0.25 == (found[0] / 0.25).round()).all()
    assert found[0].abs().max() > 0
    assert found[0].abs().max() <= 5 * 0.25

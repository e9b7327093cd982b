"""The model: equal to its restatement and to Hugging Face's, of the published size."""

from typing import Any

import pytest
import torch
from naive_olmoe import logits as restated_logits
from torch import Tensor

from dolmix.config import load
from trainer.config import ModelConfig, TrainConfig
from trainer.model import Model, count_parameters, initial_value

SMALL: dict[str, Any] = {
    "vocab": 40,
    "d_model": 24,
    "layers": 2,
    "heads": 4,
    "experts": 6,
    "top_k": 2,
    "d_ff": 16,
}


def build(**changes: Any) -> Model:
    """Build a model with large weights, so that every nonlinearity is at work."""
    config = ModelConfig(**(SMALL | changes))
    model = Model(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = initial_value(name, parameter.shape, seed=3, std=0.3)
            noise = initial_value(
                name + " noise", torch.Size((1, *parameter.shape)), seed=3, std=0.2
            )
            parameter.copy_(value + noise[0])
    return model


def tokens(count: int, seed: int = 0) -> Tensor:
    """Draw token ids, (2, count)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SMALL["vocab"], (2, count), generator=generator)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kv_heads": 2},
        {"qk_norm": False, "tie_embeddings": True},
        {"dense_layers": (0,), "dense_d_ff": 14},
        {"top_k": 6},
        {"expert_backend": "loop"},
    ],
    ids=str,
)
def test_logits_equal_the_restatement(changes: dict[str, Any]) -> None:
    """Float32 logits are within 1e-5 of the float64 restatement, for every shape setting."""
    model = build(**changes)
    config = model.config.model_dump() | {"kv_heads": model.config.num_kv_heads}
    weights = {name: p.detach().double() for name, p in model.named_parameters()}
    inputs = tokens(7)
    found, _ = model(inputs)
    for row, ids in zip(found, inputs.tolist(), strict=True):
        expected = restated_logits(ids, weights, config)
        torch.testing.assert_close(row.double(), expected, atol=1e-5, rtol=1e-5)


def test_logits_equal_hugging_face() -> None:
    """Float32 logits are within 1e-5 of transformers' OlmoeForCausalLM with the same weights."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = build()
    c = model.config
    theirs = transformers.OlmoeForCausalLM(
        transformers.OlmoeConfig(
            vocab_size=c.vocab,
            hidden_size=c.d_model,
            intermediate_size=c.d_ff,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            num_key_value_heads=c.num_kv_heads,
            num_experts=c.experts,
            num_experts_per_tok=c.top_k,
            norm_topk_prob=False,
            rms_norm_eps=c.norm_eps,
            tie_word_embeddings=False,
            attn_implementation="eager",
        )
    ).eval()
    ours = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(ours[our_name(name)])
        inputs = tokens(16)
        expected = theirs(inputs).logits
    torch.testing.assert_close(model(inputs)[0], expected, atol=1e-5, rtol=1e-5)


def our_name(name: str) -> str:
    """Translate a parameter name of transformers 5, which stacks experts in memory."""
    renamed = name.removeprefix("model.")
    for theirs, ours in (
        ("layers.", "blocks."),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "mlp_norm"),
        ("self_attn.", "attention."),
        ("_proj.weight", ".weight"),
        ("mlp.gate.weight", "mlp.router.weight"),
        ("mlp.experts.gate_up_proj", "mlp.w13"),
        ("mlp.experts.down_proj", "mlp.w2"),
        ("embed_tokens", "embed"),
    ):
        renamed = renamed.replace(theirs, ours)
    return renamed


def test_a_token_sees_no_later_token() -> None:
    """Changing a token leaves the logits of all earlier positions as they were."""
    model, inputs = build(), tokens(9)
    before, _ = model(inputs)
    changed = inputs.clone()
    changed[:, 6] = (changed[:, 6] + 1) % SMALL["vocab"]
    after, _ = model(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_published_size() -> None:
    """configs/train/olmoe-1b-7b.yaml loads and has the published numbers of parameters."""
    config = load(TrainConfig, "configs/train/olmoe-1b-7b.yaml")
    assert count_parameters(config.model) == (6_919_161_856, 1_282_017_280)


def test_size_counts_dense_layers_and_tied_embeddings() -> None:
    """The counts agree with a real model; active leaves out the experts a token does not visit."""
    model = build(dense_layers=(1,), tie_embeddings=True, kv_heads=2)
    total, active = count_parameters(model.config)
    assert total == sum(p.numel() for p in model.parameters())
    assert total - active == (6 - 2) * 3 * 24 * 16


def test_initial_weights_come_from_seed_and_name() -> None:
    """A parameter depends on its name and the seed alone; matrices stay within three deviations."""
    shape = torch.Size((300, 200))
    first = initial_value("blocks.0.mlp.w2", shape, seed=1, std=0.02)
    assert torch.equal(first, initial_value("blocks.0.mlp.w2", shape, seed=1, std=0.02))
    assert not torch.equal(first, initial_value("blocks.1.mlp.w2", shape, seed=1, std=0.02))
    assert not torch.equal(first, initial_value("blocks.0.mlp.w2", shape, seed=2, std=0.02))
    assert first.abs().max() <= 0.06
    # A normal cut at three deviations has a standard deviation of 0.98658 of the uncut one.
    assert first.std().item() == pytest.approx(0.02 * 0.98658, rel=0.01)
    assert torch.equal(
        initial_value("norm.weight", torch.Size((5,)), seed=1, std=0.02), torch.ones(5)
    )

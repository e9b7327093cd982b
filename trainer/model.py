"""OLMoE at any size, from tokens to logits.

The arithmetic is that of Hugging Face's `OlmoeForCausalLM`. In float32 the logits are equal within
rounding. Only names differ: experts are stacked, `w13` (E, 2F, D) holds gate above up, `w2` (E, D,
F) is down. The initial weights follow from the seed and each parameter's name alone.

Shape suffixes: B instances, T positions, D model width, V vocabulary.
"""

from hashlib import blake2b

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.attention import Attention, rope_table
from trainer.config import ModelConfig
from trainer.moe import MoE, Routing
from trainer.norm import RMSNorm


class Model(nn.Module):
    """Embedding, blocks, final norm, output matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.lm_head = (
            None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab, bias=False)
        )

    def forward(self, tokens_BT: Tensor) -> tuple[Tensor, list[Routing]]:
        """Compute logits of each next token, (B, T, V), and the routing of layers with experts."""
        c = self.config
        rope_2TC = rope_table(tokens_BT.shape[1], c.d_head, c.rope_theta, tokens_BT.device)
        x_BTD = self.embed(tokens_BT)
        routings = []
        for block in self.blocks:
            x_BTD, routing = block(x_BTD, rope_2TC)
            if routing is not None:
                routings.append(routing)
        out = self.embed if self.lm_head is None else self.lm_head
        return F.linear(self.norm(x_BTD), out.weight), routings


class Block(nn.Module):
    """Attention, then experts or a dense layer, each on a normed input and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        dense = layer in config.dense_layers
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = Dense(config) if dense else MoE(config)

    def forward(self, x_BTD: Tensor, rope_2TC: Tensor) -> tuple[Tensor, Routing | None]:
        """Return (B, T, D), and the routing unless the layer is dense."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rope_2TC)
        y_BTD, routing = self.mlp(self.mlp_norm(x_BTD))
        return x_BTD + y_BTD, routing


class Dense(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate x) * up x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.num_dense_d_ff
        self.w13 = nn.Linear(config.d_model, 2 * width, bias=False)
        self.w2 = nn.Linear(width, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, None]:
        """Return (B, T, D) and no routing."""
        gate, up = self.w13(x_BTD).chunk(2, dim=-1)
        return self.w2(F.silu(gate) * up), None


def initial_value(name: str, shape: torch.Size, *, seed: int, std: float) -> Tensor:
    """Draw one whole parameter, float32 on the CPU, from the seed and its name alone.

    Norm weights (one axis) are 1; matrices are normal, cut at three standard deviations.
    """
    if len(shape) == 1:
        return torch.ones(shape)
    digest = blake2b(f"{seed}\x1f{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    value = torch.empty(shape)
    nn.init.trunc_normal_(value, std=std, a=-3 * std, b=3 * std, generator=generator)
    return value


def count_parameters(config: ModelConfig) -> tuple[int, int]:
    """Parameters in all, and those that one token uses; needs no memory."""
    with torch.device("meta"):
        model = Model(config)
    total = sum(p.numel() for p in model.parameters())
    expert = 3 * config.d_model * config.d_ff
    return total, total - len(config.moe_layers) * (config.experts - config.top_k) * expert

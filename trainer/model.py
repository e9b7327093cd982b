"""OLMoE or Llama at any size, from tokens to logits or straight to losses.

The arithmetic is that of Hugging Face's `OlmoeForCausalLM` and `LlamaForCausalLM`. In float32 the
logits are equal within rounding. Only names differ: experts are stacked, `w13` (E, 2F, D) holds
gate above up, `w2` (E, D, F) is down. The initial weights follow from the seed and each parameter's
name alone.

Shape suffixes: B instances, T positions, N = B T of them, P chosen ones, D model width, V
vocabulary, E experts.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from trainer.attention import Attention, Documents, fastest_attention, rope_table
from trainer.config import ModelConfig
from trainer.cross_entropy import linear_cross_entropy
from trainer.moe import Choice, MoE, SwiGLU
from trainer.norm import RMSNorm


@dataclass(frozen=True)
class Routing:
    """What one layer's router did with one microbatch (see `Choice`).

    Not a tuple on purpose: FSDP2 hooks every tensor that it finds in a block's output, and
    gradients of the router losses reach all blocks at once, which would gather the whole model at
    the start of backward.
    """

    mean_probs: Tensor
    """(E,) mean of the softmax over all experts, float32."""
    mean_square: Tensor
    """() mean of the squared log-sum-exp of the logits, float32."""
    counts: Tensor
    """(E,) visits that each expert got, int64."""


class Losses(NamedTuple):
    """Cross-entropy of one microbatch, in nats, float32."""

    total: Tensor
    """() sum over its tokens, to differentiate."""
    by_token: Tensor
    """As the labels, 0 where one is `IGNORED`; without gradient."""
    routings: list[Routing]
    """One for each layer that has experts."""


class Model(nn.Module):
    """Embedding, blocks, final norm, output matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute_blocks = False
        self.embed = nn.Embedding(config.vocab, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.lm_head = None
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.vocab, bias=False)

    def forward(
        self,
        tokens_BT: Tensor,
        labels: Tensor | None = None,
        *,
        places_P: Tensor | None = None,
        documents: Documents | None = None,
        chunk: int = 4096,
    ) -> tuple[Tensor, list[Routing]] | Losses:
        """Logits (B, T, V) and routings, or with labels (B, T) the losses.

        places: (P,) positions in the flat B * T tokens; the labels are then (P,), of these alone,
        and no other logits are made. chunk: tokens whose logits exist at a time when losses are
        asked for.
        """
        with fastest_attention():
            x_BTD, routings = self.hidden(tokens_BT, documents)
        weight_VD = (self.embed if self.lm_head is None else self.lm_head).weight
        if labels is None:
            return F.linear(x_BTD, weight_VD), routings
        x_ND = x_BTD.flatten(0, 1) if places_P is None else x_BTD.flatten(0, 1)[places_P]
        total, losses = linear_cross_entropy(x_ND, weight_VD, labels.flatten(), chunk)
        return Losses(total, losses.view_as(labels), routings)

    def hidden(
        self, tokens_BT: Tensor, documents: Documents | None = None
    ) -> tuple[Tensor, list[Routing]]:
        """Normed output of the last block (B, T, D), and the routings."""
        config = self.config
        rope_2TC = rope_table(
            tokens_BT.shape[1], config.d_head, config.rope_theta, tokens_BT.device
        )
        x_BTD, routings = self.embed(tokens_BT), []
        for block in self.blocks:
            if self.recompute_blocks and self.training:
                x_BTD, routing = checkpoint(block, x_BTD, rope_2TC, documents, use_reentrant=False)
            else:
                x_BTD, routing = block(x_BTD, rope_2TC, documents)
            if routing is not None:
                routings.append(routing)
        return self.norm(x_BTD), routings


class Block(nn.Module):
    """Attention, then experts or a dense layer, each on a normed input and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        dense = layer in config.dense_layers
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = SwiGLU(config, config.num_dense_d_ff) if dense else MoE(config)
        self.compute = self._compute

    def forward(
        self, x_BTD: Tensor, rope_2TC: Tensor, documents: Documents | None = None
    ) -> tuple[Tensor, Routing | None]:
        """Return (B, T, D), and the routing unless the layer is dense."""
        x_BTD, choice = self.compute(x_BTD, rope_2TC, documents)
        return x_BTD, None if choice is None else Routing(*choice)

    def compile(self) -> None:  # type: ignore[override]
        """Compile what the block computes; hooks on the block stay outside."""
        self.compute = torch.compile(self._compute, dynamic=False)

    def _compute(
        self, x_BTD: Tensor, rope_2TC: Tensor, documents: Documents | None
    ) -> tuple[Tensor, Choice | None]:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rope_2TC, documents)
        normed_BTD = self.mlp_norm(x_BTD)
        if isinstance(self.mlp, SwiGLU):
            return x_BTD + self.mlp(normed_BTD), None
        y_BTD, choice = self.mlp(normed_BTD)
        return x_BTD + y_BTD, choice


def initial_value(name: str, shape: torch.Size, *, seed: int, std: float) -> Tensor:
    """Draw one whole parameter, float32 on the CPU, from the seed and its name alone.

    Norm weights (one axis) are 1, the router's noise starts at 0; matrices are normal, cut at three
    standard deviations.
    """
    if len(shape) == 1:
        return torch.ones(shape)
    if name.endswith("mlp.noise.weight"):
        return torch.zeros(shape)
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


def flops_per_token(config: ModelConfig, length: int) -> float:
    """Floating-point operations of one training token, forward and backward, without recomputation.

    6 for each weight that multiplies it (input embedding and norms multiply nothing), and
    12 · width · length / 2 a layer for causal attention, of which half is masked.
    """
    _, active = count_parameters(config)
    idle = 0 if config.tie_embeddings else config.vocab * config.d_model
    norms = (2 * config.layers + 1) * config.d_model
    if config.qk_norm:
        norms += config.layers * (config.heads + config.num_kv_heads) * config.d_head
    attention = 6 * config.layers * config.heads * config.d_head * length
    return 6.0 * (active - idle - norms) + attention

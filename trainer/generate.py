"""Text from a model, a token at a time, with a cache of keys and values.

Shape suffixes: B texts, T new positions, S positions so far and new, D model width, H query heads,
G key and value heads, C width of a head, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.attention import rope_table
from trainer.model import Block, Model
from trainer.moe import SwiGLU


@dataclass
class Cache:
    """Keys and values of every layer, (B, G, S, C) each; empty at first."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Positions that are in the cache."""
        return self.layers[0][0].shape[2] if self.layers else 0


@torch.no_grad()
def extend(model: Model, tokens_BT: Tensor, cache: Cache) -> Tensor:
    """Take T more tokens of each text; returns their logits (B, T, V) and grows the cache."""
    config, start = model.config, cache.length
    whole = rope_table(
        start + tokens_BT.shape[1], config.d_head, config.rope_theta, tokens_BT.device
    )
    x_BTD, layers = model.embed(tokens_BT), []
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        before = cache.layers[number] if cache.layers else None
        x_BTD, after = _extend_block(block, x_BTD, whole[:, start:], before)
        layers.append(after)
    cache.layers = layers
    out = model.embed if model.lm_head is None else model.lm_head
    return F.linear(model.norm(x_BTD), out.weight)


def _extend_block(
    block: Block, x_BTD: Tensor, rope_2TC: Tensor, before: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    q_BHTC, k_BGSC, v_BGSC = block.attention.project(block.attention_norm(x_BTD), rope_2TC)
    if before is not None:
        k_BGSC = torch.cat([before[0], k_BGSC], dim=2)
        v_BGSC = torch.cat([before[1], v_BGSC], dim=2)
    new, every = q_BHTC.shape[2], k_BGSC.shape[2]
    allowed_TS = torch.ones((new, every), dtype=torch.bool, device=x_BTD.device)
    y_BHTC = F.scaled_dot_product_attention(
        q_BHTC, k_BGSC, v_BGSC, attn_mask=allowed_TS.tril(every - new),
        enable_gqa=q_BHTC.shape[1] != k_BGSC.shape[1],
    )  # fmt: skip
    x_BTD = x_BTD + block.attention.o(y_BHTC.transpose(1, 2).flatten(2))
    normed_BTD = block.mlp_norm(x_BTD)
    y_BTD = block.mlp(normed_BTD) if isinstance(block.mlp, SwiGLU) else block.mlp(normed_BTD)[0]
    return x_BTD + y_BTD, (k_BGSC, v_BGSC)


def generate(
    model: Model,
    prompt: list[int],
    *,
    count: int,
    eos: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[int]:
    """Yield up to `count` tokens that follow the prompt; the eos that ends them is not yielded.

    temperature 0 takes the likeliest token; above, tokens are drawn from the softmax of the logits
    over the temperature, the same for the same seed.
    """
    cache, device = Cache(), model.embed.weight.device
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.tensor([prompt], device=device)
    for _ in range(count):
        logits_V = extend(model, tokens, cache)[0, -1].float().cpu()
        if temperature == 0:
            token = int(logits_V.argmax())
        else:
            probs_V = (logits_V / temperature).softmax(-1)
            token = int(torch.multinomial(probs_V, 1, generator=generator))
        if token == eos:
            return
        yield token
        tokens = torch.tensor([[token]], device=device)

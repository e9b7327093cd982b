"""Causal self-attention with rotary positions, as in Hugging Face's `OlmoeForCausalLM`.

Shape suffixes: B instances, T positions, D model width, H query heads, G key and value heads, C
width of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.config import ModelConfig
from trainer.norm import RMSNorm


class Attention(nn.Module):
    """Multi-head or grouped-query attention, causal within an instance."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.d_head = config.d_head
        width_q = config.heads * config.d_head
        width_kv = config.num_kv_heads * config.d_head
        self.q = nn.Linear(config.d_model, width_q, bias=False)
        self.k = nn.Linear(config.d_model, width_kv, bias=False)
        self.v = nn.Linear(config.d_model, width_kv, bias=False)
        self.o = nn.Linear(width_q, config.d_model, bias=False)
        # Over the full width, before heads are cut: unlike the per-head norm of later models.
        self.q_norm = RMSNorm(width_q, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(width_kv, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(self, x_BTD: Tensor, rope_2TC: Tensor) -> Tensor:
        """Mix positions; returns (B, T, D). `rope_2TC` comes from `rope_table`."""
        q_BHTC = self._heads(self.q_norm(self.q(x_BTD)))
        k_BGTC = self._heads(self.k_norm(self.k(x_BTD)))
        v_BGTC = self._heads(self.v(x_BTD))
        q_BHTC, k_BGTC = rotate(q_BHTC, rope_2TC), rotate(k_BGTC, rope_2TC)
        grouped = q_BHTC.shape[1] != k_BGTC.shape[1]
        y_BHTC = F.scaled_dot_product_attention(
            q_BHTC, k_BGTC, v_BGTC, is_causal=True, enable_gqa=grouped
        )
        return self.o(y_BHTC.transpose(1, 2).flatten(2))

    def _heads(self, x_BTE: Tensor) -> Tensor:
        return x_BTE.unflatten(-1, (-1, self.d_head)).transpose(1, 2)


def rope_table(length: int, d_head: int, theta: float, device: torch.device) -> Tensor:
    """Cosines and sines of the rotary angles t * theta^(-2c/C), (2, T, C) float32.

    The two halves of a head share their angles (half-split layout; Su et al. 2021 pair neighbours
    instead).
    """
    exponents = torch.arange(0, d_head, 2, device=device, dtype=torch.float32) / d_head
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles_TC = torch.outer(positions, theta**-exponents).repeat(1, 2)
    return torch.stack([angles_TC.cos(), angles_TC.sin()])


def rotate(x_BHTC: Tensor, rope_2TC: Tensor) -> Tensor:
    """Rotate pairs (c, c + C/2) by their position's angle, in float32; keeps the type of x."""
    x = x_BHTC.float()
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x * rope_2TC[0] + turned * rope_2TC[1]).to(x_BHTC.dtype)

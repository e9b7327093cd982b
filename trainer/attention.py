"""Causal self-attention with rotary positions, as in Hugging Face's `OlmoeForCausalLM`.

Attention sees the whole instance by default, as OLMoE trained, or only the token's own document
(`Documents`): packed documents then compute what each would alone.

Shape suffixes: B instances, T positions, D model width, H query heads, G key and value heads, C
width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.config import ModelConfig
from trainer.norm import RMSNorm


@dataclass(frozen=True)
class Documents:
    """Where documents start in a microbatch of B instances of T tokens, all on its device."""

    ids_BT: Tensor  # noqa: N815 - the letters are the shape
    """(B, T) int32, a number of each token's document within its instance, never falling."""
    starts: Tensor
    """(S,) int32 positions in the flat B * T tokens where documents start, padded with B * T (once
    at least), so that its length needs nobody to wait for the device."""


class Attention(nn.Module):
    """Multi-head or grouped-query attention, causal within an instance or a document."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.d_head, self.clip = config.d_head, config.clip_qkv
        width_q = config.heads * config.d_head
        width_kv = config.num_kv_heads * config.d_head
        self.widths = (width_q, width_kv, width_kv)
        self.q = nn.Linear(config.d_model, width_q, bias=False)
        self.k = nn.Linear(config.d_model, width_kv, bias=False)
        self.v = nn.Linear(config.d_model, width_kv, bias=False)
        self.o = nn.Linear(width_q, config.d_model, bias=False)
        # Over the full width, before heads are cut: unlike the per-head norm of later models.
        self.q_norm = RMSNorm(width_q, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(width_kv, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self, x_BTD: Tensor, rope_2TC: Tensor, documents: Documents | None = None
    ) -> Tensor:
        """Mix positions; returns (B, T, D). `rope_2TC` comes from `rope_table`."""
        q_BHTC, k_BGTC, v_BGTC = self.project(x_BTD, rope_2TC)
        if documents is None:
            y_BHTC = attend(q_BHTC, k_BGTC, v_BGTC)
        else:
            y_BHTC = attend_documents(q_BHTC, k_BGTC, v_BGTC, documents)
        y_BTD: Tensor = self.o(y_BHTC.transpose(1, 2).flatten(2))
        return y_BTD

    def project(self, x_BTD: Tensor, rope_2TC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give queries, keys and values by head, normed, clipped and turned: (B, H or G, T, C)."""
        weight = torch.cat([self.q.weight, self.k.weight, self.v.weight])
        q, k, v = F.linear(x_BTD, weight).split(self.widths, dim=-1)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.clip is not None:
            q, k, v = (part.clamp(-self.clip, self.clip) for part in (q, k, v))
        q, k, v = (self._heads(part) for part in (q, k, v))
        return rotate(q, rope_2TC), rotate(k, rope_2TC), v

    def _heads(self, x_BTE: Tensor) -> Tensor:
        return x_BTE.unflatten(-1, (-1, self.d_head)).transpose(1, 2)


def attend(q_BHTC: Tensor, k_BGTC: Tensor, v_BGTC: Tensor) -> Tensor:
    """Causal attention within each instance; returns (B, H, T, C)."""
    grouped = q_BHTC.shape[1] != k_BGTC.shape[1]
    return F.scaled_dot_product_attention(
        q_BHTC, k_BGTC, v_BGTC, is_causal=True, enable_gqa=grouped
    )


def attend_documents(
    q_BHTC: Tensor, k_BGTC: Tensor, v_BGTC: Tensor, documents: Documents
) -> Tensor:
    """Causal attention within each document; returns (B, H, T, C)."""
    grouped = q_BHTC.shape[1] != k_BGTC.shape[1]
    if q_BHTC.is_cuda and q_BHTC.dtype != torch.float32:
        return _attend_packed(q_BHTC, k_BGTC, v_BGTC, documents)
    length, ids = q_BHTC.shape[2], documents.ids_BT
    earlier = torch.ones((length, length), dtype=torch.bool, device=ids.device).tril()
    allowed = (ids[:, None, :, None] == ids[:, None, None, :]) & earlier
    return F.scaled_dot_product_attention(
        q_BHTC, k_BGTC, v_BGTC, attn_mask=allowed, enable_gqa=grouped
    )


def _attend_packed(q_BHTC: Tensor, k_BGTC: Tensor, v_BGTC: Tensor, documents: Documents) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    heads, length = q_BHTC.shape[1], q_BHTC.shape[2]
    repeats = heads // k_BGTC.shape[1]
    q, k, v = (
        part.transpose(1, 2).flatten(0, 1)
        for part in (
            q_BHTC,
            k_BGTC.repeat_interleave(repeats, 1) if repeats > 1 else k_BGTC,
            v_BGTC.repeat_interleave(repeats, 1) if repeats > 1 else v_BGTC,
        )
    )
    y = varlen_attn(
        q, k, v, documents.starts, documents.starts, length, length, window_size=(-1, 0)
    )
    return y.unflatten(0, (-1, length)).transpose(1, 2)


@contextmanager
def fastest_attention() -> Iterator[None]:
    """Prefer cuDNN's attention where it is, then flash, then what always works."""
    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    with sdpa_kernel(order, set_priority=True):
        yield


def rope_table(length: int, d_head: int, theta: float, device: torch.device) -> Tensor:
    """Cosines and sines of the rotary angles t * theta^(-2c/C), (2, T, C/2) float32.

    The two halves of a head share their angles (half-split layout; Su et al. 2021 pair neighbours
    instead).
    """
    exponents = torch.arange(0, d_head, 2, device=device, dtype=torch.float32) / d_head
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles_TC = torch.outer(positions, theta**-exponents)
    return torch.stack([angles_TC.cos(), angles_TC.sin()])


def rotate(x_BHTC: Tensor, rope_2TC: Tensor) -> Tensor:
    """Rotate pairs (c, c + C/2) by their position's angle, in float32; keeps the type of x."""
    first, second = x_BHTC.float().chunk(2, dim=-1)
    cos, sin = rope_2TC.unbind()
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.to(x_BHTC.dtype)

"""OLMoE restated in plain steps, token by token and expert by expert: the model's oracle.

Written from the published definition alone; shares no code with `trainer`. It computes in the type
of the weights given.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalise one vector."""
    return x / torch.sqrt((x * x).sum() / len(x) + eps) * weight


def turned(head: Tensor, position: int, theta: float) -> Tensor:
    """Rotate one head's vector; element c turns with element c + C/2."""
    half = len(head) // 2
    out = head.clone()
    for c in range(half):
        angle = position * theta ** (-2 * c / len(head))
        cos, sin = math.cos(angle), math.sin(angle)
        out[c] = head[c] * cos - head[c + half] * sin
        out[c + half] = head[c + half] * cos + head[c] * sin
    return out


def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Apply one expert to one vector."""
    g = gate @ x
    return down @ (g / (1 + torch.exp(-g)) * (up @ x))


def logits(tokens: list[int], weights: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
    """Logits (T, V) of one instance."""
    eps, theta = config["norm_eps"], config["rope_theta"]
    stream = [weights["embed.weight"][t] for t in tokens]
    for layer in range(int(config["layers"])):
        own = {
            name.removeprefix(f"blocks.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"blocks.{layer}.")
        }
        normed = [rms(x, own["attention_norm.weight"], eps) for x in stream]
        mixed = attend(normed, own, config, theta)
        stream = [x + y for x, y in zip(stream, mixed, strict=True)]
        normed = [rms(x, own["mlp_norm.weight"], eps) for x in stream]
        stream = [
            x + feed(y, own, int(config["top_k"])) for x, y in zip(stream, normed, strict=True)
        ]
    out = weights.get("lm_head.weight", weights["embed.weight"])
    return torch.stack([out @ rms(x, weights["norm.weight"], eps) for x in stream])


def attend(
    normed: list[Tensor], own: Mapping[str, Tensor], config: Mapping[str, float], theta: float
) -> list[Tensor]:
    """Causal attention of one layer, one query head after another."""
    eps, heads, groups = config["norm_eps"], int(config["heads"]), int(config["kv_heads"])
    queries, keys, values = [], [], []
    for position, x in enumerate(normed):
        q, k = own["attention.q.weight"] @ x, own["attention.k.weight"] @ x
        if "attention.q_norm.weight" in own:
            q = rms(q, own["attention.q_norm.weight"], eps)
            k = rms(k, own["attention.k_norm.weight"], eps)
        queries.append([turned(h, position, theta) for h in q.reshape(heads, -1)])
        keys.append([turned(h, position, theta) for h in k.reshape(groups, -1)])
        values.append((own["attention.v.weight"] @ x).reshape(groups, -1))
    mixed = []
    for position in range(len(normed)):
        parts = []
        for head in range(heads):
            group = head * groups // heads
            q = queries[position][head]
            scores = torch.stack([q @ keys[s][group] for s in range(position + 1)])
            shares = torch.exp(scores / math.sqrt(len(q)))
            shares = shares / shares.sum()
            parts.append(sum(shares[s] * values[s][group] for s in range(position + 1)))
        mixed.append(own["attention.o.weight"] @ torch.cat(parts))
    return mixed


def feed(x: Tensor, own: Mapping[str, Tensor], top_k: int) -> Tensor:
    """Experts of one layer on one vector: the likeliest, weighted by their plain softmax."""
    if "mlp.router.weight" not in own:
        gate, up = own["mlp.w13.weight"].chunk(2)
        return swiglu(x, gate, up, own["mlp.w2.weight"])
    scores = torch.exp(own["mlp.router.weight"] @ x)
    shares = scores / scores.sum()
    out = torch.zeros_like(x)
    for expert in sorted(range(len(shares)), key=lambda e: -float(shares[e]))[:top_k]:
        gate, up = own["mlp.w13"][expert].chunk(2)
        out = out + shares[expert] * swiglu(x, gate, up, own["mlp.w2"][expert])
    return out

"""Names, shapes and settings of Hugging Face's models beside ours.

`OlmoeForCausalLM` (every layer a mixture of experts, QK norm) and `LlamaForCausalLM` (every layer
dense, no QK norm) can hold a model exactly; others cannot and are refused with the setting that
stands in the way. On disk every expert has tensors of its own, with us they are stacked, gate above
up.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dolmix.config import parse
from dolmix.errors import UsageError
from trainer.config import ModelConfig


@dataclass(frozen=True)
class Piece:
    """One tensor of theirs as a part of one of ours."""

    theirs: str
    ours: str
    shape: tuple[int, ...]
    expert: int | None = None
    """Index along our first axis."""
    rows: tuple[int, int] | None = None
    """Half-open range of rows of our matrix, after `expert`."""


def pieces(config: ModelConfig) -> Iterator[Piece]:
    """Every tensor of their format, in file order: embedding, layers, norm, output matrix."""
    width, vocab = config.d_model, config.vocab
    yield Piece("model.embed_tokens.weight", "embed.weight", (vocab, width))
    for layer in range(config.layers):
        yield from _layer(config, layer)
    yield Piece("model.norm.weight", "norm.weight", (width,))
    if not config.tie_embeddings:
        yield Piece("lm_head.weight", "lm_head.weight", (vocab, width))


def _layer(config: ModelConfig, layer: int) -> Iterator[Piece]:
    theirs, ours, width = f"model.layers.{layer}", f"blocks.{layer}", config.d_model
    query, key = config.heads * config.d_head, config.num_kv_heads * config.d_head
    yield Piece(f"{theirs}.input_layernorm.weight", f"{ours}.attention_norm.weight", (width,))
    yield Piece(f"{theirs}.post_attention_layernorm.weight", f"{ours}.mlp_norm.weight", (width,))
    for name, rows in (("q", query), ("k", key), ("v", key)):
        where = f"{theirs}.self_attn.{name}_proj.weight"
        yield Piece(where, f"{ours}.attention.{name}.weight", (rows, width))
    yield Piece(f"{theirs}.self_attn.o_proj.weight", f"{ours}.attention.o.weight", (width, query))
    for name, rows in (("q", query), ("k", key)) if config.qk_norm else ():
        where = f"{theirs}.self_attn.{name}_norm.weight"
        yield Piece(where, f"{ours}.attention.{name}_norm.weight", (rows,))
    if layer in config.dense_layers:
        yield from _swiglu(f"{theirs}.mlp", f"{ours}.mlp", config.num_dense_d_ff, width, ".weight")
        return
    router = (config.experts, width)
    yield Piece(f"{theirs}.mlp.gate.weight", f"{ours}.mlp.router.weight", router)
    for expert in range(config.experts):
        where = f"{theirs}.mlp.experts.{expert}"
        yield from _swiglu(where, f"{ours}.mlp", config.d_ff, width, "", expert)


def _swiglu(
    theirs: str, ours: str, inner: int, width: int, suffix: str, expert: int | None = None
) -> Iterator[Piece]:
    up = (inner, 2 * inner)
    stacked, down = f"{ours}.w13{suffix}", f"{ours}.w2{suffix}"
    yield Piece(f"{theirs}.gate_proj.weight", stacked, (inner, width), expert, (0, inner))
    yield Piece(f"{theirs}.up_proj.weight", stacked, (inner, width), expert, up)
    yield Piece(f"{theirs}.down_proj.weight", down, (width, inner), expert)


def to_theirs(
    config: ModelConfig, *, length: int, eos: int | None, pad: int | None, dtype: str
) -> dict[str, Any]:
    """Give their config.json. Raises UsageError for a model that they cannot express."""
    moe = bool(config.moe_layers)
    if obstacle := _obstacle(config):
        raise UsageError(
            f"model.{obstacle}: neither OlmoeForCausalLM nor LlamaForCausalLM has that, so it "
            "cannot be exported exactly."
        )
    theirs: dict[str, Any] = {
        "architectures": ["OlmoeForCausalLM" if moe else "LlamaForCausalLM"],
        "model_type": "olmoe" if moe else "llama",
        "vocab_size": config.vocab,
        "hidden_size": config.d_model,
        # Their default of 2048 is twice the published model's width.
        "intermediate_size": config.d_ff if moe else config.num_dense_d_ff,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.num_kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": length,
        "initializer_range": config.init_std,
        "rms_norm_eps": config.norm_eps,
        # Version 4 reads the first, version 5 the second.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "torch_dtype": dtype,
    }
    if moe:
        theirs |= {
            "clip_qkv": config.clip_qkv,
            "num_experts": config.experts,
            "num_experts_per_tok": config.top_k,
            "norm_topk_prob": config.router.normalize == "topk",
            "router_aux_loss_coef": 0.01,
        }
    return theirs


def _obstacle(config: ModelConfig) -> str:
    """Name the first setting that their formats lack; nothing if there is none."""
    router = config.router
    mixed = bool(config.moe_layers) and bool(config.dense_layers)
    obstacles = {
        f"dense_layers {list(config.dense_layers)} beside layers with experts": mixed,
        f"qk_norm {config.qk_norm}": config.qk_norm != bool(config.moe_layers),
        f"clip_qkv {config.clip_qkv}": config.clip_qkv is not None and not config.moe_layers,
        f"shared_d_ff {config.shared_d_ff}": config.shared_d_ff is not None,
        f"router.gate {router.gate}": router.gate != "linear",
        f"router.noise {router.noise}": router.noise,
        f"router.scale {router.scale}": router.scale != 1,
        f"router.normalize {router.normalize}": router.normalize == "softmax",
        f"router.bias_rate {router.bias_rate}": router.bias_rate > 0,
    }
    return next((name for name, there in obstacles.items() if there), "")


def from_theirs(theirs: Mapping[str, Any], origin: str) -> ModelConfig:
    """Our settings of a config.json. Raises UsageError for what this trainer does not compute."""
    kind = (theirs.get("architectures") or ["none"])[0]
    if kind not in {"OlmoeForCausalLM", "LlamaForCausalLM"}:
        raise UsageError(
            f"{origin}: architecture {kind}; OlmoeForCausalLM and LlamaForCausalLM can be read."
        )
    _refuse_unknown(theirs, origin)
    moe = kind == "OlmoeForCausalLM"
    rope = theirs.get("rope_parameters") or {}
    known: dict[str, Any] = {
        "vocab": theirs["vocab_size"],
        "d_model": theirs["hidden_size"],
        "layers": theirs["num_hidden_layers"],
        "heads": theirs["num_attention_heads"],
        "kv_heads": theirs.get("num_key_value_heads"),
        "d_ff": theirs["intermediate_size"],
        "qk_norm": moe,
        "tie_embeddings": theirs.get("tie_word_embeddings", False),
        "norm_eps": theirs.get("rms_norm_eps", 1e-5 if moe else 1e-6),
        "rope_theta": rope.get("rope_theta") or theirs.get("rope_theta") or 10_000.0,
        "init_std": theirs.get("initializer_range", 0.02),
    }
    if moe:
        normalize = "topk" if theirs.get("norm_topk_prob") else "none"
        known |= {
            "experts": theirs.get("num_experts", 64),
            "top_k": theirs.get("num_experts_per_tok", 8),
            "clip_qkv": theirs.get("clip_qkv"),
            "router": {"normalize": normalize},
        }
        if known["d_model"] % 8 or known["d_ff"] % 8:
            known["expert_backend"] = "loop"
    else:
        known["dense_layers"] = list(range(known["layers"]))
        known["dense_d_ff"] = known["d_ff"]
    return parse(ModelConfig, known, origin=origin)


def _refuse_unknown(theirs: Mapping[str, Any], origin: str) -> None:
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    width = theirs["hidden_size"] // theirs["num_attention_heads"]
    found = {
        "hidden_act": theirs.get("hidden_act", "silu") != "silu",
        "attention_bias": bool(theirs.get("attention_bias")),
        "mlp_bias": bool(theirs.get("mlp_bias")),
        "head_dim": (theirs.get("head_dim") or width) != width,
        "rope_parameters": rope.get("rope_type", rope.get("type", "default")) != "default",
    }
    if names := [name for name, there in found.items() if there]:
        values = ", ".join(f"{name} {theirs.get(name)}" for name in names)
        raise UsageError(f"{origin}: {values}: this trainer does not compute that.")


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json. Raises UsageError where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        raise UsageError(f"{folder} has no config.json: give the folder of a saved model.")
    settings: dict[str, Any] = json.loads(path.read_bytes())
    return settings

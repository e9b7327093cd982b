"""Memory of one process, estimated from the configuration alone; no device, no tensor is needed.

P parameters, shared by S ranks (the ranks of a replica), of which each layer has P_b; s, c, r bytes
of a number in state, compute and reduce type; T tokens of a microbatch, n microbatches a step; D
model width, Q and G widths of all query and all key heads, F expert width, K experts a token, E
experts, V vocabulary, L layers.

weights     s P / S                             moments     2 s P / S
gathered    c P where `comm: step`, else c of embedding, output matrix and last norm; 0 unsharded
gradients   n > 1: what earlier microbatches left: r P (`step`) or s P / S; n = 1: 0 as backward
            begins, s P / S as it ends
activations T times, for each layer what backward needs of it:
            attention c (4D + Q + 2(Q + 2G)) + 4 heads: what enters both norms and the products
            after them, q, k, v as projected and as attention takes them, output, log-sum-exp
            experts c K (D + 2F) + 4K, without D under `recompute: experts` (backend triton), with
            another F for the other backends; + 8E + 20K router
            a dense or shared SwiGLU of width F': 3 c F'
            `recompute: blocks`: c D a layer, and one layer's whole
            head 3 c D T, and c V D for the output matrix's gradient
            of one layer's backward c K (D + 4F) T on the way
buffers     c P_b times 3 (a layer gathered, the next, one on its way); 0 unsharded
logits      c V min(chunk, T), twice where T is more than a chunk (one chunk's are made while those
            before are there), at another time than the backward of layers

Where blocks are not compiled more is kept, such as float32 copies: see `eager_bytes`. The peak is
the largest of what is there as backward begins, as it ends, and while the logits exist. It is what
torch allocates: driver, libraries and fragmentation take 1 to 3 GiB more. It is within 2.5 % of
all 15 peaks that were measured, which tests/trainer/test_dry_run.py holds against it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from trainer.config import ModelConfig, TrainConfig
from trainer.model import Model, count_parameters

BYTES = {"float32": 4, "bfloat16": 2}
Recompute = Literal["none", "experts", "blocks"]


@dataclass(frozen=True)
class Plan:
    """Where a run is meant to happen."""

    processes: int
    tokens: int
    """Tokens of a microbatch of one process."""
    microbatches: int
    """Of one process in the largest step."""
    on_gpu: bool = True


@dataclass(frozen=True)
class Parameters:
    """Counts of parameters."""

    total: int
    active: int
    """Used by one token: all but the experts that it does not visit."""
    embedding: int
    """Input embedding; the output matrix too where they are tied."""
    output: int
    """Output matrix; 0 where tied."""
    root: int
    """Outside of the blocks: embedding, output matrix, last norm."""
    largest_block: int


def count(config: ModelConfig) -> Parameters:
    """Count on the meta device."""
    with torch.device("meta"):
        model = Model(config)
    total, active = count_parameters(config)
    blocks = [sum(p.numel() for p in block.parameters()) for block in model.blocks]
    return Parameters(
        total=total,
        active=active,
        embedding=config.vocab * config.d_model,
        output=0 if config.tie_embeddings else config.vocab * config.d_model,
        root=total - sum(blocks),
        largest_block=max(blocks),
    )


def memory(config: TrainConfig, plan: Plan) -> dict[str, Any]:
    """Bytes of one process by what they are for, and their peak, as the module says.

    `activations` are those of `parallel.recompute`; `activations_by_recompute` those of all levels.
    """
    counted, parallel = count(config.model), config.parallel
    state, reduce = BYTES[config.precision.state], BYTES[config.precision.reduce]
    compute = compute_bytes(config, plan)
    ranks = plan.processes // parallel.replicas
    sharded = plan.processes > 1 or compute != state or not plan.on_gpu
    share = counted.total / ranks
    once = parallel.comm == "step"
    gathered = compute * (counted.total if once else counted.root) if sharded else 0
    ended = state * share
    left = 0.0
    if plan.microbatches > 1:
        left = reduce * counted.total if sharded and once else ended
    levels: tuple[Recompute, ...] = ("none", "experts", "blocks")
    activations = {level: activation_bytes(config, plan, level) for level in levels}
    backward = plan.tokens * _backward_bytes(config.model, compute)
    buffers = 3 * compute * counted.largest_block if sharded else 0
    output_gradient = compute * counted.embedding
    chunks = 2 if plan.tokens > parallel.loss_chunk else 1
    logits = chunks * compute * config.model.vocab * min(parallel.loss_chunk, plan.tokens)
    kept = activations[parallel.recompute]
    base = 3 * state * share + gathered + left
    peaks = (
        base + kept + output_gradient + max(backward + buffers, logits),
        base - left + max(left, ended) + buffers + backward,
    )
    found = {
        "weights": state * share,
        "moments": 2 * state * share,
        "gathered": gathered,
        "gradients": max(left, ended),
        "activations": kept,
        "backward_of_a_layer": backward,
        "output_gradient": output_gradient,
        "logits": logits,
        "buffers": buffers,
        "peak": max(peaks),
    }
    return {name: round(value) for name, value in found.items()} | {
        "activations_by_recompute": activations
    }


def compute_bytes(config: TrainConfig, plan: Plan) -> int:
    """Bytes of a number in the compute type."""
    return BYTES[config.precision.compute or ("bfloat16" if plan.on_gpu else "float32")]


def activation_bytes(config: TrainConfig, plan: Plan, recompute: Recompute) -> int:
    """Bytes that forward keeps of one microbatch, all layers and the head."""
    model, width = config.model, compute_bytes(config, plan)
    compiled = plan.on_gpu if config.parallel.compile is None else config.parallel.compile
    layers = [
        layer_bytes(model, width, moe=n in model.moe_layers, compiled=compiled, recompute=recompute)
        for n in range(model.layers)
    ]
    if recompute == "blocks":
        layers = [width * model.d_model * model.layers, max(layers)]
    return plan.tokens * (sum(layers) + 3 * width * model.d_model)


def layer_bytes(
    model: ModelConfig, width: int, *, moe: bool, compiled: bool, recompute: Recompute = "none"
) -> int:
    """Bytes a token that backward needs of one layer; width: bytes of a number."""
    d, q = model.d_model, model.heads * model.d_head
    kv = model.num_kv_heads * model.d_head
    attention = width * (4 * d + q + 2 * (q + 2 * kv)) + 4 * model.heads
    found = attention + (0 if compiled else eager_bytes(model, width, moe=moe))
    if not moe:
        return found + 3 * width * model.num_dense_d_ff
    top_k, inner = model.top_k, model.d_ff
    kept_inputs = 0 if recompute == "experts" and model.expert_backend == "triton" else d
    wide = 2 * inner if model.expert_backend == "triton" else 3 * inner
    shared = 3 * width * (model.shared_d_ff or 0)
    router = 8 * model.experts + 20 * top_k
    return found + width * top_k * (kept_inputs + wide) + 4 * top_k + shared + router


def eager_bytes(model: ModelConfig, width: int, *, moe: bool) -> int:
    """Bytes a token that are kept besides where nothing is compiled.

    Norms keep the normed value and, of bfloat16, a float32 copy; a SwiGLU its silu, that of
    `grouped_mm` three values in float32; `loop` each expert's output. Values of attention are not
    copied.
    """
    q, kv = model.heads * model.d_head, model.num_kv_heads * model.d_head
    copied = 4 if width < BYTES["float32"] else 0
    normed = 2 * model.d_model + (q + kv if model.qk_norm else 0)
    found = normed * (width + copied) - width * kv
    if not moe:
        return found + width * model.num_dense_d_ff
    visits = {
        "grouped_mm": 3 * 4 * model.d_ff,
        "loop": width * (model.d_model + model.d_ff),
        "triton": 0,
    }
    return found + model.top_k * visits[model.expert_backend]


def _backward_bytes(model: ModelConfig, width: int) -> int:
    """Bytes a token that the backward of one layer needs on the way."""
    if model.moe_layers:
        return width * model.top_k * (model.d_model + 4 * model.d_ff)
    return 3 * width * model.num_dense_d_ff

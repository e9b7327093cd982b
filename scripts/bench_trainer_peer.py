"""Hugging Face's OLMoE, timed as `bench_trainer.py` times the trainer's own loop."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from bench_trainer_work import LENGTH, OLMOE, figures, lock_of


def time_peer(job: dict[str, Any], out: Path) -> dict[str, Any]:
    """Time Hugging Face's model: same shape, tokens, clipping and router loss.

    One GPU: bfloat16 weights and state, as ours; several: FSDP2 by layer with float32 weights,
    state and reduction, as ours.
    """
    import torch
    import transformers

    from dolmix.order import Batches
    from trainer.config import ModelConfig

    rank, gpus, rows = int(os.environ.get("LOCAL_RANK", "0")), job["gpus"], job["rows"]
    torch.cuda.set_device(rank)
    torch.manual_seed(0)
    model = peer_model(gpus, recompute=job.get("recompute", True))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=4e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    marks = []
    with Batches(lock_of(out, rows * gpus)) as batches:
        for step in range(1, 4 + job.get("steps", 10)):
            marks.append(torch.cuda.Event(enable_timing=True))
            marks[-1].record()
            tokens = torch.from_numpy(batches.tokens(step, rank, gpus).astype(np.int64)).cuda()
            model(input_ids=tokens[:, :-1], labels=tokens[:, :-1]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    torch.cuda.synchronize()
    times = [a.elapsed_time(b) / 1e3 for a, b in pairwise(marks)][3:]
    shape = ModelConfig(**OLMOE)  # type: ignore[arg-type]
    found = figures(times, rows * LENGTH, shape)
    return found | {"transformers": transformers.__version__, "gpus": gpus}


def peer_model(gpus: int, *, recompute: bool) -> Any:
    """Build Hugging Face's model with random weights, sharded if there are several GPUs."""
    import torch
    import torch.distributed as dist
    import transformers
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    config = transformers.OlmoeConfig(
        vocab_size=50304, hidden_size=2048, intermediate_size=1024, num_hidden_layers=16,
        num_attention_heads=16, num_experts=64, num_experts_per_tok=8, norm_topk_prob=False,
        router_aux_loss_coef=0.01, output_router_logits=True, use_cache=False,
        max_position_embeddings=LENGTH,
    )  # fmt: skip
    config._experts_implementation = "grouped_mm"  # noqa: SLF001
    if gpus == 1:
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("cuda"):
            model = transformers.OlmoeForCausalLM(config)
    else:
        dist.init_process_group("nccl")
        with torch.device("meta"):
            model = transformers.OlmoeForCausalLM(config)
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for layer in model.model.layers:
            fully_shard(layer, mp_policy=policy)
        fully_shard(model, mp_policy=policy)
        model.to_empty(device="cuda")
        model.model.rotary_emb = type(model.model.rotary_emb)(config).cuda()
        with torch.no_grad():
            for parameter in model.parameters():
                local = parameter.to_local()
                _ = local.normal_(std=0.02) if local.dim() > 1 else local.fill_(1)
    model.train()
    if recompute:
        model.gradient_checkpointing_enable()
    return model

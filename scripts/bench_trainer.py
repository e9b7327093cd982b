"""How fast the trainer trains, beside Hugging Face's model on the same GPU in the same run.

    python scripts/bench_trainer.py --text FILE... --tokenizer tokenizer.json [--gpus 4]

Builds a store of real text (once), checks every expert backend against the loop oracle, then times
the trainer's own loop: real tokens from the store, real router, clipping and optimiser included,
median of the steps after warm-up, each variant in processes of its own. Tokens per second are of
one GPU; the share is of 989 TFLOP/s (H100 and H200, dense bfloat16) at 7.88 GFLOP a token: 6 for
each active weight that multiplies, causal attention counted half, nothing for what is computed
again. The last lines are the table; `OUT/bench.json` has every number.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SEAM_ERROR = 0.01
PEAK_FLOPS = 989e12
LENGTH = 4096
STEPS, WARMUP = 32, 8
OLMOE = {
    "vocab": 50304, "d_model": 2048, "layers": 16, "heads": 16, "experts": 64, "top_k": 8,
    "d_ff": 1024, "expert_backend": "triton",
}  # fmt: skip

FLOAT32 = {"precision": {"state": "float32"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "16 x 4096, experts recomputed": {"rows": 16, "parallel": {"recompute": "experts"}},
    "12 x 4096": {"rows": 12},
    "8 x 4096": {"rows": 8},
    "4 x 4096": {"rows": 4},
    "8 x 4096, grouped_mm": {"rows": 8, "model": {"expert_backend": "grouped_mm"}},
    "8 x 4096, experts recomputed": {"rows": 8, "parallel": {"recompute": "experts"}},
    "6 x 4096, experts recomputed": {"rows": 6, "parallel": {"recompute": "experts"}},
    "4 x 4096, experts recomputed": {"rows": 4, "parallel": {"recompute": "experts"}},
    "8 x 4096, torch AdamW": {"rows": 8, "own_kernel": False},
    "8 x 4096, not compiled": {"rows": 8, "parallel": {"compile": False}},
    "8 x 4096, documents apart": {"rows": 8, "documents": "apart"},
    "4 microbatches of 8 x 4096": {"rows": 32, "microbatch": 8, "steps": 10, "warmup": 3},
}
SHARDED: dict[str, dict[str, Any]] = {
    "float32, 4 x 4096": FLOAT32 | {"rows": 4},
    "float32, 8 x 4096": FLOAT32 | {"rows": 8},
    "float32, 8 x 4096, bf16 reduce": {
        "rows": 8, "precision": {"state": "float32", "reduce": "bfloat16"}
    },
    "float32, 8 microbatches of 8, comm micro": FLOAT32
    | {"rows": 64, "microbatch": 8, "steps": 6, "warmup": 2},
    "float32, 8 microbatches of 4, comm step": FLOAT32
    | {"rows": 32, "microbatch": 4, "parallel": {"comm": "step"}, "steps": 10, "warmup": 2},
    "float32, 8 x 4096, kept gathered, experts recomputed": FLOAT32
    | {"rows": 8, "parallel": {"comm": "step", "recompute": "experts"}},
    "float32, 8 microbatches of 8, comm step, experts recomputed": FLOAT32
    | {"rows": 64, "microbatch": 8, "parallel": {"comm": "step", "recompute": "experts"},
       "steps": 6, "warmup": 2},
    "float32, 8 layers, 8 x 4096": FLOAT32 | {"rows": 8, "model": {"layers": 8}},
}  # fmt: skip
"""Runs on several GPUs; the last also on one, to see what sharing costs."""


def main() -> None:
    """Run everything, or with --child one process's part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/bench_trainer"))
    parser.add_argument("--only", nargs="*", help="names of variants; all when not given")
    parser.add_argument("--gpus", type=int, default=1, help="of several: the sharded variants")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--profile", help="variant to take a table of kernels of")
    parser.add_argument("--extra", default="{}", help="more variants, JSON")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        result = run_child(json.loads(options.child), options.out)
        if os.environ.get("RANK", "0") == "0":
            print("RESULT " + json.dumps(result), flush=True)
        return
    if not (options.out / "text@1").is_dir():
        build_store(options.out, options.text, options.tokenizer)
    variants = VARIANTS | json.loads(options.extra)
    if options.gpus > 1:
        name, job = [*SHARDED.items()][-1]
        variants = {
            f"{n}, {options.gpus} GPUs": j | {"gpus": options.gpus} for n, j in SHARDED.items()
        }
        variants[f"{name}, 1 GPU"] = job
    for job in variants.values():
        lock_of(options.out, job["rows"] * job.get("gpus", 1))
    jobs = [] if options.no_check else [{"kind": "check"}]
    jobs += [
        {"kind": "ours", "name": name, "steps": options.steps} | variants[name]
        for name in (variants if options.only is None else options.only)
    ]
    if options.profile:
        jobs.append({"kind": "ours", "name": "profile " + options.profile, "profile": True,
                     "steps": 3} | variants[options.profile])  # fmt: skip
    gpus = options.gpus
    if not options.no_peer:
        name = "Hugging Face, 4 x 4096, recomputed" + (f", {gpus} GPUs" if gpus > 1 else "")
        jobs.append({"kind": "peer", "name": name, "rows": 4, "gpus": gpus})
    results = [spawn(job, options.out) for job in jobs]
    report(options.out, results)
    if options.json:
        options.json.write_text(json.dumps(table_rows(results), indent=1) + "\n")


def spawn(job: dict[str, Any], out: Path) -> dict[str, Any]:
    """Run one job in a process of its own; what fails is a line of the table too."""
    started = time.perf_counter()
    environment = os.environ | {
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, __file__, "--out", str(out), "--child", json.dumps(job)]
    if job.get("gpus", 1) > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        command[1:1] = [*launcher, f"--nproc-per-node={job['gpus']}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
    result = json.loads(lines[-1][7:]) if lines else {"error": done.stderr[-1500:]}
    result = {"name": job.get("name", job["kind"])} | result
    result["wall_s"] = round(time.perf_counter() - started, 1)
    print(json.dumps({k: v for k, v in result.items() if k != "profile"}), flush=True)
    if "profile" in result:
        print(result["profile"], flush=True)
    return result


def run_child(job: dict[str, Any], out: Path) -> dict[str, Any]:
    """Do what the job says in this process."""
    kinds = {"check": check, "ours": time_ours, "peer": time_peer}
    return kinds[job["kind"]](job, out)


class Finished(Exception):  # noqa: N818 - it ends the loop, it is no error
    """Enough steps are done."""


def time_ours(job: dict[str, Any], out: Path) -> dict[str, Any]:
    """Time the trainer's own loop."""
    import torch

    from dolmix.config import parse
    from trainer.config import TrainConfig
    from trainer.data import Data
    from trainer.loop import Training
    from trainer.parallel import join_world

    rows, steps, warmup = job["rows"], job["steps"], job.get("warmup", WARMUP)
    config = parse(
        TrainConfig,
        {
            "lock": str(lock_of(out, rows * job.get("gpus", 1))),
            "output": str(out / "never written"),
            "microbatch": job.get("microbatch", rows),
            "model": OLMOE | job.get("model", {}),
            "precision": {"state": "bfloat16"} | job.get("precision", {}),
            "parallel": job.get("parallel", {}),
            "documents": job.get("documents", "together"),
            "optimizer": {"lr": 4e-4},
        },
        origin="bench",
    )
    marks: list[Any] = []
    waits: list[float] = []
    with join_world(config) as world, Data(config, rank=world.rank, world=world.size) as data:
        training = Training(config, data, world, draw=draw_on_device)
        training.optimizer.own_kernel = job.get("own_kernel", True)
        torch.cuda.empty_cache()
        training._batches = timed(training._batches, waits)  # type: ignore[method-assign] # noqa: SLF001
        profiler = torch.profiler.profile() if job.get("profile") else None

        def mark() -> bool:
            marks.append(torch.cuda.Event(enable_timing=True))
            marks[-1].record()
            if profiler is not None and len(marks) == warmup:
                torch.cuda.synchronize()
                profiler.start()
            if len(marks) > warmup + steps:
                raise Finished
            return False

        try:
            training.run(mark)
        except Finished:
            torch.cuda.synchronize()
        if profiler is not None:
            profiler.stop()
        losses = [facts["ce"] for facts in read_losses(training, world.size)]
    times = [a.elapsed_time(b) / 1e3 for a, b in pairwise(marks)][warmup:]
    result = figures(times, rows * LENGTH, config.model) | {
        "gpus": job.get("gpus", 1),
        "wait_frac": round(statistics.median(waits[warmup:]) / statistics.median(times), 5),
        "ce": losses[-1:],
    }
    if profiler is not None:
        result["profile"] = kernel_table(profiler, steps + 1)
    return result


def read_losses(training: Any, world: int) -> list[dict[str, Any]]:
    """Losses that the run has not written yet."""
    waiting = training.metrics._waiting  # noqa: SLF001
    return [training.layout.unpack(sums[2:].cpu(), world) for _, sums in waiting]


def timed(batches: Any, waits: list[float]) -> Any:
    """Wrap the loop's source of batches; note how long the host waits for each."""

    def wrapped(first: int) -> Iterator[Any]:
        source = batches(first)
        while True:
            began = time.perf_counter()
            item = next(source, None)
            waits.append(time.perf_counter() - began)
            if item is None:
                return
            yield item

    return wrapped


def kernel_table(profiler: Any, steps: int) -> str:
    """Device time by kernel, milliseconds a step."""
    rows = [
        (e.self_device_time_total / 1e3 / steps, e.count / steps, e.key)
        for e in profiler.key_averages()
        if e.self_device_time_total > 0 and e.device_type.name == "CUDA"
    ]
    rows.sort(reverse=True)
    lines = [f"{'ms/step':>9} {'calls':>7}  kernel   (all {sum(r[0] for r in rows):.1f} ms)"]
    lines += [f"{ms:9.2f} {calls:7.1f}  {name[:110]}" for ms, calls, name in rows[:45]]
    return "\n".join(lines)


def figures(times: list[float], tokens: int, model: Any) -> dict[str, Any]:
    """Median step, tokens of one GPU per second, share of the peak, memory, device."""
    import torch

    from trainer.model import flops_per_token

    step = statistics.median(times)
    flops = flops_per_token(model, LENGTH)
    return {
        "steps": len(times),
        "step_ms": round(step * 1e3, 1),
        "spread_ms": [round(min(times) * 1e3, 1), round(max(times) * 1e3, 1)],
        "tokens_per_s": round(tokens / step),
        "share": round(tokens / step * flops / PEAK_FLOPS, 4),
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 1),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


def draw_on_device(name: str, shape: Any, *, seed: int, std: float) -> Any:
    """Draw an initial value on the GPU: seconds instead of minutes; the distribution is not cut."""
    import torch

    if len(shape) == 1:
        return torch.ones(shape, device="cuda")
    generator = torch.Generator("cuda").manual_seed(seed + len(name))
    return torch.empty(shape, device="cuda").normal_(std=std, generator=generator)


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
    model = peer_model(gpus)
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


def peer_model(gpus: int) -> Any:
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
    model.gradient_checkpointing_enable()
    return model


def check(job: dict[str, Any], out: Path) -> dict[str, Any]:
    """Compare every backend on the GPU in bfloat16 with the loop in float32, forward and backward.

    Errors are norms of differences over norms. bfloat16 operands give between 1e-3 and 2e-2.
    """
    del job, out
    import torch

    from trainer.config import ModelConfig
    from trainer.experts import BACKENDS
    from trainer.model import Model

    torch.manual_seed(0)
    shape = OLMOE | {"layers": 2, "d_model": 512, "heads": 4, "d_ff": 256, "vocab": 5003}
    tokens = torch.randint(0, 5003, (3, 1025), device="cuda")
    base = Model(ModelConfig(**(shape | {"expert_backend": "loop"}))).cuda()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in base.parameters():
            p.copy_((torch.randn_like(p) * 0.04 + (p.dim() == 1)).bfloat16())
    expected, choice = gradients(base, tokens)
    worst = {}
    for backend in BACKENDS:
        for compiled in (False, True) if backend != "loop" else (False,):
            model = Model(ModelConfig(**(shape | {"expert_backend": backend})))  # type: ignore[arg-type]
            model.load_state_dict(base.state_dict())
            model = model.cuda().bfloat16()
            for block in model.blocks if compiled else ():
                block.compile()
            found, chosen = gradients(model, tokens)
            errors = {k: relative(found[k], expected[k]) for k in expected}
            worst[f"{backend} {'compiled' if compiled else 'eager'}"] = {
                "worst": max(errors, key=lambda k: errors[k]),
                "error": round(max(errors.values()), 5),
                "loss": round(relative(found["loss"], expected["loss"]), 7),
                "other choices": int((chosen - choice).abs().sum()) // 2,
            }
    worst["seam"] = {n: seam_error(f) for n, f in BACKENDS.items()}  # type: ignore[assignment]
    refuse_wrong(worst)
    return {"check": worst}


def refuse_wrong(errors: dict[str, Any]) -> None:
    """Raise where a backend is further from float32 than bfloat16 explains: than the loop is."""
    oracle = errors["loop eager"]["error"]
    for name, found in errors.items():
        values = found.values() if name == "seam" else [found["error"]]
        limit = SEAM_ERROR if name == "seam" else 1.5 * oracle
        if max(values) > limit:
            raise ValueError(f"{name}: error {max(values)} is over {limit:.4f}: {found}")


def seam_error(backend: Any) -> float:
    """Worst error of output and gradients of the seam alone, bfloat16 against float32 loop."""
    import torch

    from trainer.experts import experts_loop

    torch.manual_seed(1)
    ids = torch.stack([torch.randperm(15, device="cuda")[:4] for _ in range(1000)])  # 16th is idle
    plain = [
        torch.randn(1000, 256, device="cuda"), torch.rand(1000, 4, device="cuda"),
        torch.randn(16, 256, 256, device="cuda") / 16,
        torch.randn(16, 256, 128, device="cuda") / 12,
    ]  # fmt: skip
    results = []
    for function, kind in ((experts_loop, torch.float32), (backend, torch.bfloat16)):
        x, weights, w13, w2 = (t.bfloat16().to(kind).requires_grad_() for t in plain)
        y = function(x, ids, weights, w13, w2)
        y.backward(torch.linspace(-1, 1, y.numel(), device="cuda").view_as(y).bfloat16().to(kind))
        results.append([y, *(t.grad for t in (x, weights, w13, w2))])
    return round(max(relative(b, a) for a, b in zip(*results, strict=True)), 5)


def gradients(model: Any, tokens: Any) -> tuple[dict[str, Any], Any]:
    """Loss and gradients by name, and visits."""
    import torch

    losses = model(tokens[:, :-1], tokens[:, 1:], chunk=1024)
    (losses.total / tokens[:, 1:].numel()).backward()
    found = {n: p.grad for n, p in model.named_parameters()}
    counts = torch.stack([r.counts for r in losses.routings])
    return found | {"loss": losses.total.detach()[None]}, counts


def relative(found: Any, expected: Any) -> float:
    """Norm of the difference over the norm."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def build_store(out: Path, texts: list[Path], tokenizer: Path, limit: int = 6_000_000) -> None:
    """Commit a store of the texts of JSONL files, up to a number of tokens."""
    import pyarrow as pa
    from tokenizers import Tokenizer

    from dolmix.shards import StoreWriter
    from dolmix.tokenizer import TokenizerPin

    opened = gzip.decompress(tokenizer.read_bytes()) if tokenizer.suffix == ".gz" else None
    encoder = Tokenizer.from_str((opened or tokenizer.read_bytes()).decode())
    eos = encoder.token_to_id("<|endoftext|>")
    tokens, lengths, ids = [], [], []
    share = limit // max(1, len(texts))
    for path in texts:
        found = 0
        for number, text in enumerate(read_texts(path)):
            row = [*encoder.encode(text, add_special_tokens=False).ids, eos]
            tokens += row
            lengths.append(len(row))
            ids.append(f"{path.stem}-{number}")
            found += len(row)
            if found > share:
                break
    pin = TokenizerPin(
        digest="0" * 64, largest_id=encoder.get_vocab_size() - 1, eos="<|endoftext|>", eos_id=eos,
        unk_id=None, specials={"<|endoftext|>": eos},
    )  # fmt: skip
    documents = pa.table({
        "id": ids, "url": pa.nulls(len(ids), pa.string()), "path": ["text"] * len(ids),
        "record": list(range(len(ids))),
    })  # fmt: skip
    with StoreWriter(
        out / "text@1", source="text", version=1, tokenizer=pin, special_in_text="plain", parents=[]
    ) as writer:
        writer.append(np.asarray(tokens, np.uint16), np.asarray(lengths), documents, len(tokens))
        writer.commit()


def read_texts(path: Path) -> Iterator[str]:
    """Texts of a JSONL file, plain, gzip or zstandard."""
    if path.suffix == ".zst":
        import io

        import zstandard

        with path.open("rb") as raw:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw)):
                yield json.loads(line)["text"]
        return
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            yield json.loads(line)["text"]


def lock_of(out: Path, rows: int) -> Path:
    """Resolve a mix of the store alone to steps of `rows` instances."""
    import yaml

    from dolmix.mix import load_mix, resolve

    path = out / f"mix-{rows}.lock.json"
    if not path.exists():
        steps = 60
        mix = {
            "name": "bench", "seed": 1, "sequence_length": LENGTH, "block": 64, "batch_size": rows,
            "sources": {"text": {"store": str(out / "text@1"), "max_epochs": 100}},
            "stages": [
                {"name": "main", "tokens": steps * rows * LENGTH, "weights": {"text": 1.0}}
            ],
        }  # fmt: skip
        text = yaml.safe_dump(mix)
        (out / f"mix-{rows}.yaml").write_text(text)
        resolve(load_mix(out / f"mix-{rows}.yaml"), text, out).write(path)
    return path


def table_rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn what was measured into rows of name, value, unit, and the peer of the same run."""
    done = [r for r in results if "tokens_per_s" in r]
    peer = next((r for r in done if r["name"].startswith("Hugging")), None)
    rows = []
    for r in done:
        beside = None if peer is None or r is peer else peer
        speed = None if beside is None else beside["tokens_per_s"]
        rows.append({
            "name": f"{r['name']}, {r['device']}",
            "value": r["tokens_per_s"],
            "unit": "tokens/s/GPU",
            "peer": None if beside is None else beside["name"],
            "peer_value": speed,
            "ratio": None if speed is None else r["tokens_per_s"] / speed,
        })  # fmt: skip
    return rows


def report(out: Path, results: list[dict[str, Any]]) -> None:
    """Print the table; write everything to OUT/bench.json."""
    (out / "bench.json").write_text(json.dumps(results, indent=1))
    print(f"\n| {'variant':38} | tokens/s/GPU | share | step ms | GiB | device |")
    print("| --- | --- | --- | --- | --- | --- |")
    for r in results:
        if "tokens_per_s" in r:
            print(
                f"| {r['name']:38} | {r['tokens_per_s']:,} | {100 * r['share']:.1f} % | "
                f"{r['step_ms']} | {r['gib']} | {r['device']} |"
            )
        elif "error" in r:
            print(f"| {r['name']:38} | {r['error'].strip().splitlines()[-1][:150]} |")
    peers = [r for r in results if r["name"].startswith("Hugging") and "tokens_per_s" in r]
    ours = [r for r in results if "tokens_per_s" in r and r not in peers]
    if peers and ours:
        best = max(ours, key=lambda r: r["tokens_per_s"])
        print(f"{best['name']}: {best['tokens_per_s'] / peers[0]['tokens_per_s']:.2f} x the peer")


if __name__ == "__main__":
    main()

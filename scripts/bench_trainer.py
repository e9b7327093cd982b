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

from bench_trainer_checks import check
from bench_trainer_peer import time_peer
from bench_trainer_work import LENGTH, OLMOE, ROOT, build_store, figures, lock_of

STEPS, WARMUP = 32, 8
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
    "float32, 8 x 4096, kept gathered": FLOAT32 | {"rows": 8, "parallel": {"comm": "step"}},
    "float32, 8 microbatches of 8, comm step": FLOAT32
    | {"rows": 64, "microbatch": 8, "parallel": {"comm": "step"}, "steps": 6, "warmup": 2},
    "float32, 8 layers, 8 x 4096": FLOAT32
    | {"rows": 8, "model": {"layers": 8}, "parallel": {"comm": "step"}},
    "float32, 8 x 4096, two replicas": FLOAT32 | {"rows": 8, "parallel": {"replicas": 2}},
    "float32, 8 x 4096": FLOAT32 | {"rows": 8},
    "float32, 4 x 4096": FLOAT32 | {"rows": 4},
    "float32, 8 x 4096, bf16 reduce": {
        "rows": 8, "precision": {"state": "float32", "reduce": "bfloat16"}
    },
    "float32, 8 microbatches of 8, comm micro": FLOAT32
    | {"rows": 64, "microbatch": 8, "steps": 6, "warmup": 2},
    "float32, 8 x 4096, kept gathered, experts recomputed": FLOAT32
    | {"rows": 8, "parallel": {"comm": "step", "recompute": "experts"}},
    "float32, 8 microbatches of 8, comm step, experts recomputed": FLOAT32
    | {"rows": 64, "microbatch": 8, "parallel": {"comm": "step", "recompute": "experts"},
       "steps": 6, "warmup": 2},
}  # fmt: skip
"""Runs on several GPUs."""
ALONE: dict[str, dict[str, Any]] = {
    "float32, 8 layers, 8 x 4096, 1 GPU": FLOAT32 | {"rows": 8, "model": {"layers": 8}},
}
"""Measured beside them on one, to see what sharing costs."""
PEERS: dict[str, dict[str, Any]] = {
    "Hugging Face, 4 x 4096, recomputed": {"kind": "peer", "rows": 4},
    "Hugging Face, 4 x 4096": {"kind": "peer", "rows": 4, "recompute": False},
}


def main() -> None:
    """Run everything, or with --child one process's part."""
    options = parsed()
    if options.child:
        result = run_child(json.loads(options.child), options.out)
        if os.environ.get("RANK", "0") == "0":
            print("RESULT " + json.dumps(result), flush=True)
        return
    if not (options.out / "text@1").is_dir():
        build_store(options.out, options.text, options.tokenizer)
    jobs = chosen_jobs(options)
    for job in jobs:
        if "rows" in job:
            lock_of(options.out, job["rows"] * job.get("gpus", 1))
    if options.prepare:
        return
    began = time.perf_counter()
    results = [
        spawn(job, options.out, limit_s=options.limit)
        for job in jobs
        if time.perf_counter() - began < options.budget
    ]
    report(options.out / options.report, results)
    if options.json:
        options.json.write_text(json.dumps(table_rows(results), indent=1) + "\n")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/bench_trainer"))
    parser.add_argument("--only", nargs="*", help="variants to run, in this order; else all")
    parser.add_argument("--gpus", type=int, default=1, help="of several: the sharded variants")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--budget", type=float, default=1e9, help="seconds; none starts later")
    parser.add_argument("--limit", type=float, default=600, help="seconds of one variant at most")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--prepare", action="store_true", help="make store and locks, no more")
    parser.add_argument("--profile", help="variant to take a table of kernels of")
    parser.add_argument("--extra", default="{}", help="more variants, JSON")
    parser.add_argument("--report", default="bench.json", help="name of the numbers' file in OUT")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen_jobs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Choose what to run: the checks, variants of one GPU or of several, the peer."""
    gpus = options.gpus
    ours = {name: {"kind": "ours", "steps": options.steps} | job for name, job in VARIANTS.items()}
    if gpus > 1:
        ours = {
            f"{name}, {gpus} GPUs": {"kind": "ours", "steps": options.steps, "gpus": gpus} | job
            for name, job in SHARDED.items()
        } | {n: {"kind": "ours", "steps": options.steps} | job for n, job in ALONE.items()}
    for name, job in json.loads(options.extra).items():
        ours[name] = {"kind": "ours", "steps": options.steps, "gpus": gpus} | job
    peers = {
        name + (f", {gpus} GPUs" if gpus > 1 else ""): job | {"gpus": gpus}
        for name, job in PEERS.items()
    }
    every = ours | ({} if options.no_peer else peers)
    names = [*every] if options.only is None else options.only
    jobs = [] if options.no_check else [{"kind": "check", "name": "check"}]
    jobs += [{"name": name} | every[name] for name in names]
    if options.profile:
        profiled = {"name": "profile " + options.profile, "profile": True, "steps": 3}
        jobs.append(every[options.profile] | profiled)
    return jobs


def spawn(job: dict[str, Any], out: Path, *, limit_s: float) -> dict[str, Any]:
    """Run one job in processes of its own; what fails is a line of the table too."""
    started = time.perf_counter()
    environment = os.environ | {
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, __file__, "--out", str(out), "--child", json.dumps(job)]
    if job.get("gpus", 1) > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        command[1:1] = [*launcher, f"--nproc-per-node={job['gpus']}"]
    child = subprocess.Popen(
        command, env=environment | job.get("env", {}), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        printed, errors = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        child.terminate()  # torchrun then ends its processes, which are no children of this one
        printed, errors = child.communicate()
        errors += f"\nno result within {limit_s:.0f} s"
    lines = [x for x in printed.splitlines() if x.startswith("RESULT ")]
    result = json.loads(lines[-1][7:]) if lines else {"error": errors[-6000:]}
    result = {"name": job["name"]} | result
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
            "log_every": 1000,
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
        losses = [round(facts["loss"], 5) for facts in read_losses(training, world.size)]
    times = [a.elapsed_time(b) / 1e3 for a, b in pairwise(marks)][warmup:]
    result = figures(times, rows * LENGTH, config.model) | {
        "gpus": job.get("gpus", 1),
        "wait_frac": round(statistics.median(waits[warmup:]) / statistics.median(times), 5),
        "losses_from_step_2": losses,
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


def draw_on_device(name: str, shape: Any, *, seed: int, std: float) -> Any:
    """Draw an initial value on the GPU: seconds instead of minutes; the distribution is not cut."""
    import torch

    if len(shape) == 1:
        return torch.ones(shape, device="cuda")
    generator = torch.Generator("cuda").manual_seed(seed + len(name))
    return torch.empty(shape, device="cuda").normal_(std=std, generator=generator)


def table_rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn what was measured into rows of name, value, unit, and the peer of the same run."""
    done = [r for r in results if "tokens_per_s" in r]
    peers = [r for r in done if r["name"].startswith("Hugging")]
    peer = max(peers, key=lambda r: r["tokens_per_s"], default=None)
    rows = []
    for r in done:
        beside = None if peer is None or r in peers else peer
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


def report(path: Path, results: list[dict[str, Any]]) -> None:
    """Print the table; write every number to a file."""
    path.write_text(json.dumps(results, indent=1))
    print(f"\n| {'variant':38} | tokens/s/GPU | share | step ms | GiB | device |")
    print("| --- | --- | --- | --- | --- | --- |")
    for r in results:
        if "tokens_per_s" in r:
            print(
                f"| {r['name']:38} | {r['tokens_per_s']:,} | {100 * r['share']:.1f} % | "
                f"{r['step_ms']} | {r['gib']} | {r['device']} |"
            )
        elif "error" in r:
            told = [line for line in r["error"].splitlines() if "rror" in line]
            print(f"| {r['name']:38} | {told[-1][:150] if told else 'failed'} |")
    peers = [r for r in results if r["name"].startswith("Hugging") and "tokens_per_s" in r]
    ours = [r for r in results if "tokens_per_s" in r and r not in peers]
    if peers and ours:
        best, peer = (max(some, key=lambda r: r["tokens_per_s"]) for some in (ours, peers))
        ratio = best["tokens_per_s"] / peer["tokens_per_s"]
        print(f"{best['name']}: {ratio:.2f} x {peer['name']}")


if __name__ == "__main__":
    main()

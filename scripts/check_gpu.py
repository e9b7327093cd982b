"""What CPU tests cannot show of the trainer, shown on GPUs; each line says what was found.

    python scripts/check_gpu.py OUT [--gpus 2] [--only NAME...]

OUT holds `mix-8.lock.json`, which `scripts/bench_trainer.py --prepare --out OUT` makes. Checks: the
AdamW kernel leaves an update out bit for bit; a run that is resumed ends in the same bits as one
that never stopped; another number of GPUs gets the same batches; a stopped rank is named; SIGTERM
writes a checkpoint and ends with 130.
Exit code 1 if any fails.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

STEPS = 8
TIMEOUT_S = 25
INTERRUPTED = 130
KERNEL_ERROR = 1e-5
WORLD_ERROR = 1e-3
MODEL = {
    "vocab": 50304, "d_model": 256, "layers": 3, "heads": 4, "experts": 16, "top_k": 4, "d_ff": 128,
    "expert_backend": "triton",
}  # fmt: skip


def main() -> int:
    """Run the checks and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    checks: dict[str, Callable[[Path, int], str]] = {
        "left-out": update_left_out, "resume": resume_is_exact, "worlds": worlds_agree,
        "hang": stopped_rank_is_named, "sigterm": sigterm_saves,
    }  # fmt: skip
    failed = 0
    for name in options.only or checks:
        began = time.perf_counter()
        try:
            found = checks[name](options.out, options.gpus)
        except Exception as error:  # noqa: BLE001 - the other checks still run
            failed, found = failed + 1, f"FAILED {type(error).__name__}: {str(error)[-3000:]}"
        print(f"{name}: {found}  ({time.perf_counter() - began:.0f} s)", flush=True)
    return int(failed > 0)


def update_left_out(out: Path, gpus: int) -> str:
    """Compare the kernel with torch's AdamW over updates of which two are left out."""
    del out, gpus
    import torch
    from torch import nn

    from trainer.config import OptimizerConfig
    from trainer.optim import AdamW

    torch.manual_seed(0)
    shapes = [(513, 257), (4096,), (3, 64, 128)]
    starts = [torch.randn(shape, device="cuda") for shape in shapes]
    both = []
    for own in (True, False):
        parameters = [nn.Parameter(start.clone()) for start in starts]
        both.append((parameters, AdamW(parameters, OptimizerConfig(lr=1e-2))))
        both[-1][1].own_kernel = own
    worst, wrong = 0.0, {2: float("nan"), 4: float("inf")}
    for step in range(6):
        grads = [torch.randn_like(start) for start in starts]
        if step in wrong:
            grads[1][::7] = wrong[step]
        for parameters, optimizer in both:
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad.clone()
            before = [t.clone() for t in _state(parameters, optimizer)] if step else []
            _, skipped = optimizer.update(1e-2, lambda norm: ~norm.isfinite())
            if bool(skipped) != (step in wrong):
                raise ValueError(f"update {step}: left out {bool(skipped)}")
            after = _state(parameters, optimizer)
            if bool(skipped) and not all(map(torch.equal, before, after)):
                raise ValueError(f"update {step} was left out, but weights or moments changed")
        pairs = zip(*(_state(*one) for one in both), strict=True)
        worst = max([worst, *(float((a - b).abs().max()) for a, b in pairs)])
    if worst > KERNEL_ERROR:
        raise ValueError(f"kernel and torch differ by {worst}")
    return f"2 of 6 updates left out bit for bit; kernel and torch's AdamW differ by {worst:.1e}"


def _state(parameters: Sequence[Any], optimizer: Any) -> list[Any]:
    states = [optimizer.state_of(p) for p in parameters]
    moments = [s[name] for s in states for name in ("exp_avg", "exp_avg_sq")]
    return [*(p.detach() for p in parameters), *moments]


def resume_is_exact(out: Path, gpus: int) -> str:
    """Train at once and in two parts, deterministically; compare metrics and tensors."""
    whole, parts = fresh(out, f"whole-{gpus}"), fresh(out, f"parts-{gpus}")
    train(out, whole, gpus)
    train(out, parts, gpus, "max_steps=4")
    train(out, parts, gpus)
    if lines(whole) != lines(parts):
        pairs = zip(lines(whole), lines(parts), strict=True)
        first = next((a, b) for a, b in pairs if a != b)
        raise ValueError(f"metrics differ first at {first}")
    if tensors(whole) != tensors(parts):
        raise ValueError("metrics are equal, tensors are not")
    return f"{gpus} GPUs: {STEPS} steps at once and 4 + 4 are equal bit for bit"


def worlds_agree(out: Path, gpus: int) -> str:
    """Take turns between one GPU and several; compare with the run that never changed."""
    if gpus == 1:
        return "needs --gpus 2 or more"
    alone, turns = fresh(out, "alone"), fresh(out, "turns")
    train(out, alone, 1)
    for world, until in ((1, 3), (gpus, 6), (1, 8)):
        train(out, turns, world, f"max_steps={until}")
    pairs = [*zip(lines(alone), lines(turns), strict=True)]
    if any(a["chain"] != b["chain"] for a, b in pairs):
        raise ValueError("the batches differ")
    worst = max(abs(a["ce"] - b["ce"]) / a["ce"] for a, b in pairs)
    if worst > WORLD_ERROR:
        raise ValueError(f"losses differ by {worst}")
    return f"1, {gpus} and 1 GPU in turn: same batches, losses within {worst:.1e}"


def stopped_rank_is_named(out: Path, gpus: int) -> str:
    """Stop a rank in the middle; the other must say so and all must end."""
    if gpus == 1:
        return "needs --gpus 2 or more"
    output = fresh(out, "hang")
    settings = (f"faults.timeout_s={TIMEOUT_S}", "log_every=1", "max_steps=60")
    run = begin(out, output, gpus, *settings, "parallel.compile=false")
    sign = output / "watch" / "rank-1.json"
    wait_for(lambda: len(lines(output)) >= STEPS // 2 and sign.exists(), run)
    os.kill(json.loads(sign.read_text())["pid"], signal.SIGSTOP)
    began = time.perf_counter()
    _, said = run.communicate(timeout=90)
    if "the run hangs: rank 1" not in said:
        raise ValueError(f"exit code {run.returncode}, said: {said[-2000:]}")
    told = next(line for line in said.splitlines() if "the run hangs" in line)
    return f"ended with {run.returncode} after {time.perf_counter() - began:.0f} s: {told}"


def sigterm_saves(out: Path, gpus: int) -> str:
    """Ask a run to stop through `dolmix train`; it must leave a checkpoint and 130."""
    output = fresh(out, "sigterm")
    command = ["-m", "dolmix", "train", str(config(out)), f"processes={gpus}", f"output={output}"]
    run = start([*command, "log_every=1", "max_steps=60", "parallel.compile=false"])
    wait_for(lambda: len(lines(output)) >= STEPS // 2, run)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=90)
    kept = [path.name for path in (output / "checkpoints").glob("step-*")]
    if run.returncode != INTERRUPTED or not kept:
        raise ValueError(f"exit code {run.returncode}, checkpoints {kept}, said: {said[-2000:]}")
    return f"{gpus} GPUs: exit code 130, checkpoint {kept[0]}, {len(lines(output))} steps"


def config(out: Path) -> Path:
    """Write the configuration that the runs share."""
    import yaml

    path = out / "check.yaml"
    settings = {
        "lock": str(out / "mix-8.lock.json"), "output": str(out / "none"), "microbatch": 2,
        "max_steps": STEPS, "deterministic": True, "log_every": 4, "model": MODEL,
        "optimizer": {"lr": 1e-3}, "checkpoint": {"every_steps": 3},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(settings))
    return path


def start(command: list[str]) -> "subprocess.Popen[str]":
    """Start Python with a command."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin(out: Path, output: Path, world: int, *settings: str) -> "subprocess.Popen[str]":
    """Start a run on so many GPUs."""
    command = ["-m", "trainer", str(config(out)), f"output={output}", *settings]
    if world > 1:
        spread = [f"--nproc-per-node={world}", "--standalone", *command]
        command = ["-m", "torch.distributed.run", *spread]
    return start(command)


def train(out: Path, output: Path, world: int, *settings: str) -> None:
    """Run to the end. Raises ValueError if it does not get there."""
    run = begin(out, output, world, *settings)
    _, said = run.communicate(timeout=300)
    if run.returncode:
        raise ValueError(f"{world} GPUs, exit code {run.returncode}: {said[-2500:]}")


def wait_for(
    reached: Callable[[], bool], run: "subprocess.Popen[str]", limit_s: float = 90
) -> None:
    """Wait until something holds. Raises ValueError if the run ends before, or never gets there."""
    end = time.perf_counter() + limit_s
    while not reached():
        if run.poll() is not None or time.perf_counter() > end:
            run.kill()
            raise ValueError(f"never got there: {run.communicate()[1][-2500:]}")
        time.sleep(0.05)


def fresh(out: Path, name: str) -> Path:
    """Name an output folder that does not exist yet."""
    path = out / f"check-{name}"
    shutil.rmtree(path, ignore_errors=True)
    return path


def lines(output: Path) -> list[dict[str, Any]]:
    """Read a run's metrics, without what depends on the clock."""
    path = output / "metrics.jsonl"
    kept = ("step", "loss", "ce", "lbl", "z", "source_loss", "grad_norm", "skipped", "lr", "chain")
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: line.get(key) for key in kept} for line in found]


def tensors(output: Path) -> list[bytes]:
    """Bytes of the last checkpoint's tensor files."""
    last = max((output / "checkpoints").glob("step-*"))
    return [path.read_bytes() for path in sorted(last.glob("*.distcp"))]


if __name__ == "__main__":
    sys.exit(main())

"""Expert backends on a GPU against the loop oracle; run by `bench_trainer.py` before it times."""

from pathlib import Path
from typing import Any

from bench_trainer_work import OLMOE

SEAM_ERROR = 0.01
"""Largest error of the seam alone in bfloat16, which leaves about 0.004."""


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
    worst["seam"] = {
        f"{name}, {tokens} tokens": seam_error(function, tokens)  # type: ignore[dict-item]
        for name, function in BACKENDS.items()
        for tokens in (1, 1000)
    }
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


def seam_error(backend: Any, tokens: int) -> float:
    """Worst error of output and gradients of the seam alone, bfloat16 against float32 loop.

    With one token, twelve of sixteen experts are idle; with more, one is.
    """
    import torch

    from trainer.experts import experts_loop

    torch.manual_seed(1)
    ids = torch.stack([torch.randperm(15, device="cuda")[:4] for _ in range(tokens)])
    plain = [
        torch.randn(tokens, 256, device="cuda"), torch.rand(tokens, 4, device="cuda"),
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

"""AdamW as OLMoE trained: one group, decay on every parameter, clipping by the norm of all.

The clipping factor and whether an update is left out stay on the device. On CUDA one kernel reads
each gradient once, scales it and updates weight and moments; elsewhere torch's own AdamW does.
Bias correction counts steps, those left out too: it follows from the step alone, as the rate does.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from trainer import plain
from trainer.config import OptimizerConfig


class AdamW(torch.optim.AdamW):
    """torch's AdamW, with the state it keeps, and one call for clipping and update."""

    def __init__(self, parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> None:
        super().__init__(
            parameters,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.clip = config.clip
        self.own_kernel = plain.HAS_TRITON
        """Whether CUDA parameters are updated by this trainer's kernel."""

    def update(
        self, lr: float, judge: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Clip, update at a learning rate, drop the gradients; return their norm, on the device.

        judge: says from the norm whether to leave the update out, () bool on the device; that is
        returned too. Weights and moments then stay as they are, bit for bit.
        """
        parameters = [p for group in self.param_groups for p in group["params"]]
        having = [p for p in parameters if p.grad is not None]
        norm = _norm([p.grad for p in having if p.grad is not None])
        whole = _whole(norm)
        skip = torch.zeros((), dtype=torch.bool, device=whole.device)
        if judge is not None:
            skip = judge(whole)
        if having[0].is_cuda and self.own_kernel:
            self._update_by_kernel(having, lr, whole, skip)
        else:
            clip_grads_with_norm_(having, self.clip or math.inf, norm, foreach=True)
            self._update_by_torch(having, lr, skip)
        self.zero_grad()
        return whole, skip

    @torch.no_grad()
    def _update_by_torch(self, parameters: list[nn.Parameter], lr: float, skip: Tensor) -> None:
        set_lr(self, lr)
        self.found_inf = skip.float()  # torch's word for: leave this one out
        self.step()
        steps = [self.state[p]["step"] for p in parameters]
        torch._foreach_add_(steps, [self.found_inf] * len(steps))

    @torch.no_grad()
    def _update_by_kernel(
        self, parameters: list[nn.Parameter], lr: float, norm: Tensor, skip: Tensor
    ) -> None:
        from trainer import kernels

        factor = norm.new_ones(1, dtype=torch.float32)
        if self.clip is not None:
            factor = (self.clip / (norm.float() + 1e-6)).clamp(max=1.0).view(1)
        scalars = torch.cat(
            [factor, self._scalars(parameters[0], lr).to(factor.device, non_blocking=True)]
        )
        scalars = torch.where(skip, _left_out(scalars), scalars)
        for p in parameters:
            state = self.state_of(p)
            assert p.grad is not None
            kernels.adamw_(
                _local(p), _local(p.grad), _local(state["exp_avg"]), _local(state["exp_avg_sq"]),
                scalars,
            )  # fmt: skip

    def _scalars(self, parameter: nn.Parameter, lr: float) -> Tensor:
        """Count one update for all; (6,) numbers of it, on their way to the device."""
        for group in self.param_groups:
            for p in group["params"]:
                self.state_of(p)["step"] += 1
        group = self.param_groups[0]
        (beta1, beta2), step = group["betas"], int(self.state[parameter]["step"])
        numbers = [
            1 - lr * group["weight_decay"], beta1, beta2, group["eps"],
            lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step),
        ]  # fmt: skip
        return torch.tensor(numbers, dtype=torch.float32).pin_memory()

    def state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """State of one parameter, made if need be: step and both moments."""
        state = self.state[parameter]
        if "exp_avg" not in state:
            own = parameter.is_cuda and self.own_kernel
            state["step"] = torch.zeros((), device="cpu" if own else parameter.device)
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.zeros_like(parameter, requires_grad=False)
        found: dict[str, Tensor] = state
        return found


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _left_out(scalars_7: Tensor) -> Tensor:
    """Scalars of the kernel that leave weights and moments as they are, whatever the gradient."""
    same = scalars_7.clone()
    same[0:1], same[1:4], same[5:6] = 0.0, 1.0, 0.0
    return same


def _norm(grads: list[Tensor]) -> Tensor:
    """Norm of all gradients together; float32 where they are bfloat16 too."""
    if isinstance(grads[0], DTensor) or grads[0].dtype == torch.float32:
        return get_total_norm(grads, foreach=True)
    norms = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in grads]
    return torch.linalg.vector_norm(torch.stack(norms))


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(norm: Tensor) -> Tensor:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm

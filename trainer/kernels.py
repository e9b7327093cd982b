"""Triton kernels around the grouped products of a mixture of experts, and for the cross-entropy.

Each moves its rows through device memory once and adds in a fixed order: no atomics, so equal
inputs give equal bits. Statistics and sums are float32 whatever the storage type. Every function
has its definition in plain torch beside it, in `trainer.plain`; tests compare the two.

Shape suffixes: N tokens, K experts a token, M = N * K visits sorted by expert, D model width, F
expert width, V vocabulary.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 1024
"""Most columns that one program holds at a time."""


def spread(x_ND: Tensor, place_NK: Tensor) -> Tensor:
    """Copy row n to rows place[n, :]; each input row is read once. Returns (N * K, D)."""
    count, top_k = place_NK.shape
    out_MD = x_ND.new_empty(count * top_k, x_ND.shape[1])
    _spread[(count,)](
        x_ND, place_NK, out_MD, x_ND.shape[1], TOP_K=top_k, BLOCK=_block(x_ND.shape[1]), num_warps=4
    )
    return out_MD


def collect(y_MD: Tensor, place_NK: Tensor) -> Tensor:
    """Add rows place[n, :] in the order of k, in float32. Returns (N, D)."""
    count, top_k = place_NK.shape
    out_ND = y_MD.new_empty(count, y_MD.shape[1])
    _collect[(count,)](
        y_MD, place_NK, out_ND, y_MD.shape[1], TOP_K=top_k, BLOCK=_block(y_MD.shape[1]), num_warps=4
    )
    return out_ND


def swiglu(h_MG: Tensor, weight_M: Tensor) -> Tensor:
    """Compute weight * silu(gate) * up, h = [gate | up] (M, 2F). Returns (M, F)."""
    rows, width = h_MG.shape[0], h_MG.shape[1] // 2
    out_MF = h_MG.new_empty(rows, width)
    _swiglu[(rows,)](h_MG, weight_M, out_MF, width, BLOCK=_block(width), num_warps=4)
    return out_MF


def swiglu_backward(
    grad_MF: Tensor, h_MG: Tensor, weight_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `swiglu`, and its output again: (M, 2F), (M,) float32, (M, F)."""
    rows, width = grad_MF.shape
    grad_h_MG, out_MF = torch.empty_like(h_MG), torch.empty_like(grad_MF)
    grad_weight_M = torch.empty_like(weight_M)
    _swiglu_backward[(rows,)](
        grad_MF, h_MG, weight_M, grad_h_MG, grad_weight_M, out_MF, width, BLOCK=_block(width),
        num_warps=4,
    )  # fmt: skip
    return grad_h_MG, grad_weight_M, out_MF


def cross_entropy_(logits_NV: Tensor, labels_N: Tensor, ignored: int) -> Tensor:
    """Losses (N,) float32; overwrites the logits with their gradient, softmax - onehot."""
    rows, width = logits_NV.shape
    losses_N = torch.empty(rows, dtype=torch.float32, device=logits_NV.device)
    _cross_entropy[(rows,)](
        logits_NV, labels_N, losses_N, width, ignored, BLOCK=min(4096, _power(width)), num_warps=8
    )
    return losses_N


def adamw_(
    parameter: Tensor, grad: Tensor, first: Tensor, second: Tensor, scalars_7: Tensor
) -> None:
    """Update one parameter and its moments in place; all contiguous, the gradient scaled first.

    scalars_7 (7,) float32 on the device: gradient factor, 1 - lr * decay, beta1, beta2, eps,
    lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t). A gradient whose factor is 0 is not read.
    """
    count = parameter.numel()
    _adamw[(triton.cdiv(count, 4096),)](
        parameter, grad, first, second, scalars_7, count, BLOCK=4096, num_warps=8
    )


def _power(width: int) -> int:
    return int(triton.next_power_of_2(width))


def _block(width: int) -> int:
    return min(COLUMNS, _power(width))


@triton.jit
def _spread(
    x: tl.tensor,
    place: tl.tensor,
    out: tl.tensor,
    WIDTH: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    for start in range(0, WIDTH, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < WIDTH
        value = tl.load(x + row * WIDTH + columns, mask=inside)
        for k in tl.static_range(TOP_K):
            target = tl.load(place + row * TOP_K + k).to(tl.int64)
            tl.store(out + target * WIDTH + columns, value, mask=inside)


@triton.jit
def _collect(
    y: tl.tensor,
    place: tl.tensor,
    out: tl.tensor,
    WIDTH: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    for start in range(0, WIDTH, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < WIDTH
        total = tl.zeros([BLOCK], tl.float32)
        for k in tl.static_range(TOP_K):
            source = tl.load(place + row * TOP_K + k).to(tl.int64)
            total += tl.load(y + source * WIDTH + columns, mask=inside).to(tl.float32)
        tl.store(out + row * WIDTH + columns, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu(
    h: tl.tensor, weight: tl.tensor, out: tl.tensor, WIDTH: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    w = tl.load(weight + row)
    for start in range(0, WIDTH, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < WIDTH
        gate = tl.load(h + row * 2 * WIDTH + columns, mask=inside).to(tl.float32)
        up = tl.load(h + row * 2 * WIDTH + WIDTH + columns, mask=inside).to(tl.float32)
        value = w * gate * tl.sigmoid(gate) * up
        tl.store(out + row * WIDTH + columns, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu_backward(
    grad: tl.tensor, h: tl.tensor, weight: tl.tensor, grad_h: tl.tensor, grad_weight: tl.tensor,
    out: tl.tensor, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    w = tl.load(weight + row)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, WIDTH, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < WIDTH
        gate = tl.load(h + row * 2 * WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(h + row * 2 * WIDTH + WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(grad + row * WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
        share = tl.sigmoid(gate)
        silu = gate * share
        total += g * silu * up
        to_gate = g * w * up * share * (1 + gate * (1 - share))
        to_up = g * w * silu
        kind = grad_h.dtype.element_ty
        tl.store(grad_h + row * 2 * WIDTH + columns, to_gate.to(kind), mask=inside)
        tl.store(grad_h + row * 2 * WIDTH + WIDTH + columns, to_up.to(kind), mask=inside)
        value = w * silu * up
        tl.store(out + row * WIDTH + columns, value.to(out.dtype.element_ty), mask=inside)
    tl.store(grad_weight + row, tl.sum(total))


@triton.jit
def _cross_entropy(
    logits: tl.tensor,
    labels: tl.tensor,
    losses: tl.tensor,
    WIDTH: tl.constexpr,
    ignored: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + row)
    start_of_row = logits + row * WIDTH
    peaks = tl.full([BLOCK], float("-inf"), tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, WIDTH, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(start_of_row + columns, mask=columns < WIDTH, other=float("-inf"))
        x = x.to(tl.float32)
        higher = tl.maximum(peaks, x)
        # A column that has had no finite value yet has peak -inf: -inf - -inf is no number.
        base = tl.where(higher == float("-inf"), 0.0, higher)
        sums = sums * tl.exp(peaks - base) + tl.exp(x - base)
        peaks = higher
    peak = tl.max(peaks)
    total = tl.sum(sums * tl.exp(peaks - peak))
    log_total = peak + tl.log(total)
    kept = label != ignored
    target = tl.load(start_of_row + label, mask=kept, other=0.0).to(tl.float32)
    tl.store(losses + row, tl.where(kept, log_total - target, 0.0))
    tl.debug_barrier()  # the label's logit is read before anyone overwrites it
    for start in range(0, WIDTH, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < WIDTH
        x = tl.load(start_of_row + columns, mask=inside, other=float("-inf")).to(tl.float32)
        share = tl.exp(x - log_total) - tl.where(columns == label, 1.0, 0.0)
        value = tl.where(kept, share, 0.0).to(logits.dtype.element_ty)
        tl.store(start_of_row + columns, value, mask=inside)


@triton.jit
def _adamw(
    parameter: tl.tensor, grad: tl.tensor, first: tl.tensor, second: tl.tensor,
    scalars: tl.tensor, count: tl.tensor, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    factor, keep = tl.load(scalars), tl.load(scalars + 1)
    beta1, beta2, eps = tl.load(scalars + 2), tl.load(scalars + 3), tl.load(scalars + 4)
    rate, root = tl.load(scalars + 5), tl.load(scalars + 6)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    p = tl.load(parameter + at, mask=inside).to(tl.float32)
    g = tl.load(grad + at, mask=inside & (factor != 0.0), other=0.0).to(tl.float32) * factor
    m = tl.load(first + at, mask=inside).to(tl.float32)
    v = tl.load(second + at, mask=inside).to(tl.float32)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    p = p * keep - rate * m / (tl.sqrt(v) * root + eps)
    tl.store(parameter + at, p.to(parameter.dtype.element_ty), mask=inside)
    tl.store(first + at, m.to(first.dtype.element_ty), mask=inside)
    tl.store(second + at, v.to(second.dtype.element_ty), mask=inside)

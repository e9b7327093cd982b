"""The experts' seam: backends agree, forward and backward, whatever the router chooses."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from trainer import plain
from trainer.experts import (
    Experts,
    _Collect,
    _Permute,
    _Spread,
    experts_grouped_mm,
    experts_loop,
    experts_triton,
    places,
)

GROUPED = pytest.mark.parametrize("backend", [experts_grouped_mm, experts_triton])


def draw(
    num_tokens: int, top_k: int, num_experts: int, seed: int, *, used: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Draw inputs of the seam; only the first `used` experts are ever chosen."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).requires_grad_()

    ids = torch.stack(
        [torch.randperm(used, generator=generator)[:top_k] for _ in range(num_tokens)]
    )
    weights = torch.rand((num_tokens, top_k), generator=generator).requires_grad_()
    w13, w2 = normal(num_experts, 16, 8), normal(num_experts, 8, 8)
    return normal(num_tokens, 8), ids, weights, w13, w2


def run(backend: Experts, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Output and the gradients of x, weights, w13 and w2 for a fixed cotangent."""
    wanted = [t for t in inputs if t.requires_grad]
    y = backend(*inputs)
    cotangent = torch.linspace(-1, 1, y.numel()).view_as(y)
    return [y, *torch.autograd.grad((y * cotangent).sum(), wanted)]


@GROUPED
@settings(deadline=None, max_examples=20)
@given(
    num_tokens=st.integers(1, 9),
    num_experts=st.integers(1, 7),
    top_k=st.integers(1, 3),
    unused=st.integers(0, 4),
    seed=st.integers(0, 999),
)
def test_backends_equal_the_loop(
    backend: Experts, num_tokens: int, num_experts: int, top_k: int, unused: int, seed: int
) -> None:
    """Outputs and all gradients agree, with idle experts and with a single token."""
    top_k = min(top_k, num_experts)
    used = max(top_k, num_experts - unused)
    inputs = draw(num_tokens, top_k, num_experts, seed, used=used)
    for ours, oracle in zip(run(backend, inputs), run(experts_loop, inputs), strict=True):
        torch.testing.assert_close(ours, oracle, atol=1e-5, rtol=1e-5)


def test_inputs_copied_again_give_equal_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether backward finds the sorted inputs kept or copies them again changes no bit."""
    inputs = draw(20, 3, 6, 5, used=6)
    kept = run(experts_triton, inputs)
    monkeypatch.setattr("trainer.experts.keep_inputs", False)
    assert all(torch.equal(a, b) for a, b in zip(kept, run(experts_triton, inputs), strict=True))


def test_gradients_match_finite_differences() -> None:
    """The hand-written backward of moving rows is the derivative of the forward."""
    place, _ = places(torch.tensor([[2, 0], [1, 2], [0, 2]]), 3)
    tokens, visits = (torch.rand(n, 4, dtype=torch.float64).requires_grad_() for n in (3, 6))
    order = plain.order_of(place)
    assert torch.autograd.gradcheck(_Spread.apply, (tokens, place))
    assert torch.autograd.gradcheck(_Permute.apply, (visits, order, place.flatten()))
    # Sums are float32, so differences of 1e-3 are what shows.
    assert torch.autograd.gradcheck(_Collect.apply, (visits, place), eps=1e-2, atol=1e-3, rtol=1e-3)


@GROUPED
def test_equal_inputs_give_equal_bits(backend: Experts) -> None:
    """Two runs of forward and backward agree bit for bit."""
    inputs = draw(64, 3, 6, 5, used=6)
    first, second = run(backend, inputs), run(backend, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("ids", [[[2, 0], [2, 1], [3, 2]], [[3], [3], [3]], [[0]]])
def test_places_are_those_of_a_stable_sort(ids: list[list[int]]) -> None:
    """Visits stand by expert, then by token; ends are the running counts of visits."""
    place, ends = places(torch.tensor(ids), 4)
    flat = [expert for row in ids for expert in row]
    assert ends.dtype == place.dtype == torch.int32
    assert ends.tolist() == [sum(i <= e for i in flat) for e in range(4)]
    order = sorted(range(len(flat)), key=lambda n: (flat[n], n))
    assert plain.order_of(place).tolist() == order
    assert place.flatten()[order].tolist() == list(range(len(flat)))

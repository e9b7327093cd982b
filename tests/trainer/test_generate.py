"""Generating with a cache equals computing everything again."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.__main__ import main
from trainer.config import ModelConfig
from trainer.generate import Cache, extend, generate
from trainer.model import Model, initial_value

TINY: dict[str, Any] = {
    "vocab": 40, "d_model": 24, "layers": 2, "heads": 4, "experts": 6, "top_k": 2, "d_ff": 16,
}  # fmt: skip


def build(**changes: Any) -> Model:
    """Build a model with large weights."""
    model = Model(ModelConfig(**(TINY | changes)))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(initial_value(name, p.shape, seed=4, std=0.3))
    return model.eval()


@pytest.mark.parametrize(
    "changes", [{}, {"kv_heads": 2, "tie_embeddings": True}, {"dense_layers": (0,)}], ids=str
)
def test_a_cache_changes_no_logits(changes: dict[str, Any]) -> None:
    """Fed in pieces of 3, 1 and 4 tokens, the logits are those of all 8 at once."""
    model = build(**changes)
    tokens = torch.randint(0, 40, (2, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, _ = model(tokens)
    cache = Cache()
    found = [extend(model, part, cache) for part in tokens.split([3, 1, 4], dim=1)]
    assert cache.length == 8
    torch.testing.assert_close(torch.cat(found, 1), expected, atol=1e-5, rtol=1e-5)


def test_greedy_takes_the_likeliest_and_stops_at_eos() -> None:
    """Each token is the argmax after those before it; the eos ends them and is not given."""
    model, text = build(), [3, 1, 4]
    found = list(generate(model, text, count=6))
    for token in found:
        with torch.no_grad():
            logits, _ = model(torch.tensor([text]))
        assert token == logits[0, -1].argmax().item()
        text = [*text, token]
    eos = found[3]
    assert list(generate(model, [3, 1, 4], count=6, eos=eos)) == found[: found.index(eos)]


def test_drawing_follows_the_seed() -> None:
    """At a temperature, equal seeds give equal texts, and other seeds another one."""
    model = build()
    texts = [
        tuple(generate(model, [3], count=12, temperature=1.0, seed=seed)) for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.corpus
def test_a_real_model_tells_a_story(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """stories260K goes on with the words that its transformers form gives, on the command line."""
    folder = shared / "models" / "stories260k_hf"
    assert main(["generate", str(folder), "Once upon a time", "--count", "12"]) == 0
    assert capsys.readouterr().out.startswith("Once upon a time, there was a")

"""What a run says while it runs."""

from pathlib import Path

import pytest
import torch

from trainer.metrics import Layout, Metrics, StepFacts


def test_time_left_follows_the_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """100 of 1,000 tokens in 10 s leave 90 s, though only 1 of 3 steps is to come: batches grow."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    caplog.set_level("INFO")
    layout = Layout(("a",), layers=0, experts=4, load_balance=0.0, router_z=0.0)
    one = torch.ones(1)
    metrics = Metrics(tmp_path / "metrics.jsonl", layout, num_steps=3, num_tokens=1000)
    metrics.start(0, 0)
    clock[0] = 10.0
    sums = layout.pack(torch.zeros(1), torch.zeros(1, dtype=torch.bool), one, torch.ones(1, 4), [])
    metrics.add(StepFacts(2, 100, 0.1, None), sums, one[0], one[0] > 1)
    metrics.fetch(1)
    metrics.close()
    assert "step 2/3" in caplog.text
    assert "0:01:30 left" in caplog.text

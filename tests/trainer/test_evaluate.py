"""`python -m trainer evaluate`: what it prints, and what it refuses."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dolmix.errors import ConfigError, UsageError
from dolmix.tokenizer import Tokenizer
from trainer.__main__ import main
from trainer.checkpoint import complete
from trainer.config import TrainConfig
from trainer.evaluate import table

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]


def test_the_table_has_a_line_for_each_store_and_task(evaluated: Configure) -> None:
    """Stores first; what is unknown is a dash."""
    found = {"loss/web": math.log(8.0), "loss/code": 1.0, "bpb/code": 0.5}
    found |= dict.fromkeys((f"{m}/arc" for m in ("acc", "acc_norm", "acc_bytes", "acc_token")), 0.5)
    found |= {"acc_stderr/arc": 0.125, "chance/arc": 0.25, "answer_bpb/arc": 1.0}
    found |= {"questions/arc": 1234, "questions/one": 3, "answer_bpb/one": 2.5}
    lines = [line.split() for line in table(found).splitlines()]
    assert lines[1] == ["web", "2.0794", "8.00", "-"]
    assert lines[2] == ["code", "1.0000", "2.72", "0.5000"]
    assert lines[5][:6] == ["arc", "1,234", "0.250", "0.500", "±", "0.125"]
    assert lines[6] == ["one", "3", "-", "-", "-", "-", "-", "2.5000"]


def test_a_command_without_anything_to_measure_is_explained(
    evaluated: Configure, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No evaluation in the checkpoint's run and no file; a file without a length for a folder."""
    nothing = {"every_steps": None, "stores": {}, "tasks": {}}
    config = evaluated(max_steps=1, evaluation=nothing)
    assert train(config)
    path = complete(config.output / "checkpoints")[-1]
    assert main(["evaluate", str(path)]) == UsageError.exit_code
    assert "names nothing to measure" in capsys.readouterr().err
    assert main(["import", str(path), str(tmp_path / "imported")]) == 0
    file = tmp_path / "evaluate.yaml"
    file.write_text("evaluation: {}\n")
    arguments = ["evaluate", str(tmp_path / "imported"), "--config", str(file)]
    assert main(arguments) == ConfigError.exit_code
    assert "sequence_length" in capsys.readouterr().err


def test_another_tokenizer_than_the_checkpoints_is_refused(
    evaluated: Configure,
    train: Train,
    tmp_path: Path,
    lock: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """For tasks without stores, and of stores without tasks: both digests are named.

    A checkpoint of an earlier version does not know its tokenizer: it is measured, with a warning.
    """
    config = evaluated(max_steps=1)
    assert train(config)
    path, known = complete(config.output / "checkpoints")[-1], config.evaluation.tokenizer.path
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(known.read_text()), indent=3))
    tasks = ["evaluate", str(path), "evaluation.stores={}", f"evaluation.tokenizer.path={other}"]
    held_out = f"evaluation.stores={{code: {lock.parent / 'code@1'}}}"
    digest = Tokenizer(config.evaluation.tokenizer).pin().digest
    for arguments, problem in (
        (tasks, f"evaluation.tokenizer: {other} has digest "),
        (
            ["evaluate", str(path), held_out],
            f"evaluation.stores.code: its tokenizer has digest {'0' * 64}",
        ),
    ):
        assert main(arguments) == ConfigError.exit_code
        said = capsys.readouterr().err
        assert problem in said
        assert f"{path} was trained with {digest}" in said
    assert "does not say" not in caplog.text
    meta = json.loads((path / "meta.json").read_text())
    del meta["tokenizer"]
    (path / "meta.json").write_text(json.dumps(meta | {"format": "dolmix-checkpoint-2"}))
    assert main(tasks) == 0
    assert "does not say which tokenizer" in caplog.text

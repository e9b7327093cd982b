"""Evaluation while training and by command: right numbers, the same ones, and no trace left."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import naive_choices
import numpy as np
import pytest
import torch
from question_files import QUESTIONS, answers, read_lines, write_questions
from zygote import Zygote

from dolmix.errors import ConfigError, DataError
from dolmix.mix import Ledger, read_lock
from dolmix.order import verify_log
from dolmix.tokenizer import Tokenizer, TokenizerConfig
from trainer.__main__ import main
from trainer.checkpoint import complete
from trainer.choices import log_likelihoods, scores
from trainer.config import TrainConfig
from trainer.cross_entropy import IGNORED, linear_cross_entropy
from trainer.data import Data
from trainer.evals import evaluate, is_evaluated, measuring
from trainer.evaluate import table
from trainer.loop import Training
from trainer.parallel import join_world
from trainer.questions import encode, read_questions
from trainer.weights import load_model, open_weights

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]
CLOCK = {"tokens_per_s", "tokens_per_s_gpu", "mfu", "memory_gib", "eval_s"}


def rows(config: TrainConfig) -> list[dict[str, Any]]:
    """Read a run's metrics without what depends on the clock."""
    found = read_lines(config.output / "metrics.jsonl")
    return [{key: row[key] for key in row.keys() - CLOCK} for row in found]


def evaluations(config: TrainConfig) -> dict[int, dict[str, float]]:
    """Read what a run was evaluated to, by step."""
    return {row["step"]: row["eval"] for row in rows(config) if "eval" in row}


def tensors(config: TrainConfig) -> list[bytes]:
    """Bytes of the latest checkpoint's tensor files."""
    files = sorted(complete(config.output / "checkpoints")[-1].glob("*.distcp"))
    return [file.read_bytes() for file in files]


def test_evaluation_is_due_every_so_many_steps_and_at_the_end(evaluated: Configure) -> None:
    """Multiples and the last step; never without `every_steps`, or with nothing to measure."""
    config = evaluated().evaluation
    assert [step for step in range(1, 13) if is_evaluated(config, step, 12)] == [5, 10, 12]
    never = config.model_copy(update={"every_steps": None})
    nothing = config.model_copy(update={"stores": {}, "tasks": {}})
    assert not any(is_evaluated(c, step, 12) for c in (never, nothing) for step in range(1, 13))


def test_a_uniform_model_by_hand(evaluated: Configure) -> None:
    """With all weights 0 every token costs ln 64 nats, 6 bits: losses, bytes, ties, standard error.

    A store's bits a byte count all its tokens, EOS included, and the bytes of all its texts. Equal
    answers go to the first; shorter ones win by any length.
    """
    config = evaluated()
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        model = Training(config, data, world).model
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        told: list[str] = []
        found = evaluate(model, data.held_out, data.tasks, config, world, on_progress=told.append)
        # So that a rank that hangs is noticed: before every microbatch.
        assert told[:8] == ["code"] * 4 + ["web"] * 4
        assert set(told[8:]) == {"made", "one"}
        for source in ("code", "web"):
            totals = data.held_out[source].store.manifest.totals
            assert totals.bytes == 777
            assert found[f"loss/{source}"] == pytest.approx(math.log(64), rel=1e-6)
            bits = 6 * totals.tokens / 777
            assert found[f"bpb/{source}"] == pytest.approx(bits, rel=1e-6)
    # Per token all tie: the first is right in question 0 alone.
    assert found["acc_token/made"] == 0.2
    assert found["acc_token_stderr/made"] == pytest.approx(math.sqrt(0.2 * 0.8 / 4))
    assert found["chance/made"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 3 + 1 / 2 + 1 / 4) / 5)
    assert (found["questions/made"], found["questions/one"]) == (5, 3)
    # " c", " a", " t" have 2, 1 and 2 tokens of 6 bits, and a byte each without the space.
    assert found["answer_bpb/one"] == pytest.approx((12 + 6 + 12) / 3)
    assert {key for key in found if key.endswith("/one")} == {"answer_bpb/one", "questions/one"}


def test_a_store_without_bytes_has_no_bits_a_byte(
    evaluated: Configure, stores: Callable[..., Path], tmp_path: Path, letters: Tokenizer
) -> None:
    """What an import of token files cannot know is left out, not made up."""
    path = stores(tmp_path, "imported", 9 * 12, 3, pin=letters.pin(), num_bytes=0)
    config = evaluated(evaluation={"stores": {"imported": str(path)}, "tasks": {}})
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        model = Training(config, data, world).model
        assert [*evaluate(model, data.held_out, {}, config, world)] == ["loss/imported"]


@pytest.mark.parametrize("microbatch", [1, 3])
def test_choices_equal_their_plain_twin(evaluated: Configure, microbatch: int) -> None:
    """Likelihoods and scores are those of one answer after another, without padding or batches."""
    config = evaluated(microbatch=microbatch)
    questions: dict[str, list[Any]] = {}
    for line in QUESTIONS:
        questions.setdefault(json.dumps(line["doc_id"]), []).append(line)
    tokenizer = Tokenizer(config.evaluation.tokenizer)._loaded.backend
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        model = Training(config, data, world).model
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3)  # so that answers differ
        with measuring(model):
            found = log_likelihoods(model, data.tasks["made"], config, world)
        told, likelihoods = [], []
        for lines in questions.values():
            parts = [line["request"] for line in lines]
            ids = [
                naive_choices.encode(tokenizer, p["context"], p["continuation"], 12) for p in parts
            ]
            values = [naive_choices.log_likelihood(model, *pair) for pair in ids]
            likelihoods += values
            told.append(
                [
                    (value, part["continuation"], count)
                    for value, part, (_, count) in zip(values, parts, ids, strict=True)
                ]
            )
        np.testing.assert_allclose(found, likelihoods, rtol=1e-5)
        golds = [lines[0]["label"] for lines in questions.values()]
        expected = naive_choices.scores(told, golds)
        assert scores(data.tasks["made"], found) == pytest.approx(expected, rel=1e-5)


def test_logits_are_made_for_answers_alone(
    evaluated: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output matrix meets each position that predicts an answer's token, and few others.

    Each batch is filled up to a multiple of 8, as row counts are that threads cut alike.
    """
    labels: list[torch.Tensor] = []

    def note(*given: Any) -> Any:
        labels.append(given[2])
        return linear_cross_entropy(*given)

    monkeypatch.setattr("trainer.model.linear_cross_entropy", note)
    config = evaluated(microbatch=3)
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        task, model = data.tasks["made"], Training(config, data, world).model
        with measuring(model):
            log_likelihoods(model, task, config, world)
    answered = [tokens[-n:] for tokens, n in zip(task.tokens, task.lengths, strict=True)]
    found = [label for label in torch.cat(labels).tolist() if label != IGNORED]
    assert sorted(found) == sorted(np.concatenate(answered).tolist())
    assert [len(some) for some in labels] == [
        -(-int((some != IGNORED).sum()) // 8) * 8 for some in labels
    ]


def test_evaluation_compiles_nothing(
    evaluated: Configure, small_model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where training compiles its blocks, questions of all lengths run as written."""
    graphs: list[Any] = []

    def note(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=note))
    dense = small_model | {"dense_layers": [0, 1]}
    config = evaluated(model=dense, parallel={"compile": True})
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        model = Training(config, data, world).model
        evaluate(model, data.held_out, data.tasks, config, world)
        assert not graphs
        with torch.no_grad():
            model(torch.ones((2, 12), dtype=torch.int64))
        assert graphs


@pytest.mark.parametrize("documents", ["together", "apart"])
def test_evaluation_leaves_no_trace(
    evaluated: Configure,
    train: Train,
    small_model: dict[str, Any],
    documents: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With evaluation, a run has the same rows and weights bit for bit, random numbers included."""
    model = small_model | {"router": {"noise": True}}
    with_it = evaluated("with", model=model, documents=documents)
    without = evaluated(
        "without", model=model, documents=documents, evaluation={"every_steps": None}
    )
    assert train(with_it)
    assert "nothing is measured" not in caplog.text
    assert train(without)
    assert "nothing is measured while training" in caplog.text
    assert [*evaluations(with_it)] == [5, 10, 12]
    assert [row for row in rows(with_it) if "eval" not in row] == rows(without)
    assert tensors(with_it) == tensors(without)
    proof = verify_log(read_lock(with_it.lock), with_it.output)
    assert (proof.ok, proof.chains) == (True, 12)


def test_a_run_that_learns_is_measured_so(evaluated: Configure, train: Train) -> None:
    """Losses on held-out stores of the same kind fall, and bits a byte by the same share."""
    config = evaluated(optimizer={"lr": 2e-2})
    assert train(config)
    first, last = evaluations(config)[5], evaluations(config)[12]
    assert last["loss/web"] < first["loss/web"] - 0.1
    falls = [last[f"{measure}/web"] / first[f"{measure}/web"] for measure in ("loss", "bpb")]
    assert falls[0] == pytest.approx(falls[1])


def test_an_interrupted_run_is_evaluated_as_a_whole_one(evaluated: Configure, train: Train) -> None:
    """Stopped between evaluations, and killed after one: the same rows, each once, bit for bit."""
    whole = evaluated("whole")
    parts = evaluated("parts", checkpoint={"every_steps": 4, "keep": {"recent": 9}})
    assert train(whole)
    assert not train(parts, stop_before=8)
    assert train(parts)
    for path in complete(parts.output / "checkpoints")[1:]:
        path.rename(parts.output / path.name)
    assert train(parts)  # from step 4, as if killed with the rows of all later steps written
    assert rows(whole) == rows(parts)
    assert tensors(whole) == tensors(parts)


def test_dynamic_weights_and_evaluation_measure_once(
    evaluated: Configure, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both are due, the recorded losses are those of the evaluation row, measured once."""
    references = {"code": 3.9, "web": 4.3}
    config = evaluated(dynamic={"every_steps": 5, "references": references})
    monkeypatch.setattr("trainer.loop.source_losses", pytest.fail)
    assert train(config)
    found = evaluations(config)
    records = Ledger.read(config.output / "ledger.jsonl", read_lock(config.lock).order).records
    assert [record.inputs["step"] for record in records] == [5, 10]
    for record in records:
        losses = {name: float(text) for name, text in record.inputs["losses"].items()}
        row = found[record.inputs["step"]]
        assert losses == {name: row[f"loss/{name}"] for name in losses}


def test_tasks_that_dynamic_does_not_measure_are_told(
    evaluated: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """`dynamic` without `every_steps` measures stores alone: tasks are named, none is silence."""
    dynamic = {"every_steps": 5, "references": {"code": 3.9, "web": 4.3}}
    for asked, warnings in (
        ({"every_steps": None}, 1),
        ({"every_steps": 5}, 0),
        ({"every_steps": None, "tasks": {}}, 0),
    ):
        caplog.clear()
        Data(evaluated(evaluation=asked, dynamic=dynamic), rank=0, world=1).close()
        assert len(caplog.records) == warnings
        assert all("not the tasks made, one" in r.getMessage() for r in caplog.records)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command see no GPU: runs here are trained on the CPU, where equality is promised."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """Run the command in this process and parse its line."""
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    row: dict[str, Any] = json.loads(capsys.readouterr().out)
    return row


def test_the_command_gives_what_training_gave(
    evaluated: Configure,
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    small_model: dict[str, Any],
) -> None:
    """On a checkpoint, alone or with its run's file; imported, with a file; exported to HF.

    Overrides change what is measured. A router's biases are read too.
    """
    model = small_model | {"router": {"bias_rate": 0.5}}
    config = evaluated(model=model)
    assert train(config)
    last = evaluations(config)[12]
    path = complete(config.output / "checkpoints")[-1]
    found = run(capsys, path)
    assert (found["step"], found["tokens"]) == (12, 12 * 8 * 12)
    assert found["eval"] == last
    file = tmp_path / "train.yaml"
    file.write_text(config.model_dump_json())
    assert run(capsys, path, "--config", file)["eval"] == last
    assert main(["import", str(path), str(tmp_path / "imported")]) == 0
    given = run(capsys, tmp_path / "imported", "--config", file, "microbatch=2")
    assert given["eval"] == last
    assert "step" not in given
    fewer = run(capsys, path, "evaluation.limit=2", "evaluation.stores={}")
    assert fewer["eval"]["questions/made"] == 2
    assert not any(key.startswith("loss/") for key in fewer["eval"])
    trained = f"evaluation.stores={{code: {config.lock.parent / 'code@1'}}}"
    run(capsys, path, trained, "evaluation.tasks={}")
    assert "was trained on the store of code" in caplog.text


def test_an_exported_folder_brings_its_tokenizer_and_length(
    evaluated: Configure, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small file with the section `evaluation` is enough for a folder of Hugging Face's form."""
    config = evaluated()
    assert train(config)
    path = complete(config.output / "checkpoints")[-1]
    arguments = ["export", path, tmp_path / "hf", "--dtype", "float32", "--length", 12,
                 "--tokenizer", config.evaluation.tokenizer.path]  # fmt: skip
    assert main([*map(str, arguments)]) == 0
    asked = {"evaluation": json.loads(config.evaluation.model_dump_json())}
    asked["evaluation"]["tokenizer"] = {"path": str(tmp_path / "hf/tokenizer.json"), "eos": "<eos>"}
    file = tmp_path / "evaluate.yaml"
    file.write_text(json.dumps(asked | {"microbatch": 2}))
    found = run(capsys, tmp_path / "hf", "--config", file)
    assert found["eval"] == pytest.approx(evaluations(config)[12], rel=1e-5)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "hf"), "--config", str(file)]) == 0
    assert capsys.readouterr().out == table(found["eval"])


def test_what_cannot_be_evaluated_is_said_before_training(
    evaluated: Configure, train: Train, tmp_path: Path
) -> None:
    """Wrong files, stores and tokenizers end the run before it has an output."""
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"doc_id": 0}\n')
    with pytest.raises(DataError, match=r"broken\.jsonl, line 1: no 'request'"):
        train(evaluated(evaluation={"tasks": {"made": str(broken)}}))
    long = write_questions(tmp_path / "long.jsonl", answers(0, "q", [" " + "b" * 12], 0))
    with pytest.raises(DataError, match="has 13 tokens, and the model is given 1 to 12"):
        train(evaluated(evaluation={"tasks": {"made": str(long)}}))
    with pytest.raises(ConfigError, match=r"evaluation\.every_steps: 5, but there is nothing"):
        train(evaluated(evaluation={"stores": {}, "tasks": {}}))
    with pytest.raises(ConfigError, match=r"evaluation\.tokenizer: needed for the tasks made, one"):
        train(evaluated(evaluation={"tokenizer": None}))
    assert not (tmp_path / "out").exists()


@pytest.mark.e2e
def test_evaluation_of_several_processes_leaves_no_trace(
    evaluated: Configure, zygote: Zygote, quick_folder: Path
) -> None:
    """Two ranks whose checkpoints follow an evaluation: weights and moments as without.

    Weights that an evaluation left gathered would be saved whole, with moments of zero.
    """
    outputs = []
    for name, every in (("with", 5), ("without", None)):
        config = evaluated(name, max_steps=5, evaluation={"every_steps": every})
        outputs.append(config)
        file = quick_folder / f"{name}.yaml"
        file.write_text(config.model_dump_json())
        assert zygote.start([str(file)], processes=2, log=quick_folder / name).wait() == [0, 0]
    with_it, without = outputs
    assert [*evaluations(with_it)] == [5]
    assert [row for row in rows(with_it) if "eval" not in row] == rows(without)
    assert tensors(with_it) == tensors(without)


@pytest.mark.e2e
def test_the_number_of_processes_changes_no_evaluation(
    evaluated: Configure, train: Train, zygote: Zygote, quick_folder: Path
) -> None:
    """2 and 4 processes evaluate a checkpoint as 1 did while training, within rounding."""
    config = evaluated()
    assert train(config)
    path = complete(config.output / "checkpoints")[-1]
    for processes in (2, 4):
        log = quick_folder / f"evaluate-{processes}"
        done = zygote.start(["evaluate", str(path), "--json"], processes=processes, log=log)
        assert done.wait() == [0] * processes
        found = json.loads(done.printed())["eval"]
        assert found == pytest.approx(evaluations(config)[12], rel=1e-6)
        assert [done.printed(rank) for rank in range(1, processes)] == [""] * (processes - 1)


def test_likelihoods_are_those_of_transformers(
    shared: Path, configure: Configure, tmp_path: Path
) -> None:
    """A real model and real questions: each answer's likelihood within 1e-4 of transformers'."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = shared / "models" / "stories260k_hf"
    theirs = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    questions = read_questions(shared / "eval" / "arc_easy.rc_0shot.first200.jsonl.gz")[:12]
    tokenizer = Tokenizer(TokenizerConfig(path=folder / "tokenizer.json", eos="</s>"))
    task = encode("arc", questions, tokenizer, 512)
    with join_world(configure()) as world:
        model = load_model(open_weights(folder))
        with measuring(model):
            found = log_likelihoods(model, task, configure(), world)
    for likelihood, ids, count in zip(found, task.tokens, task.lengths, strict=True):
        with torch.no_grad():
            logits = theirs(torch.from_numpy(ids[None, :-1])).logits[0]
        logged = logits.double().log_softmax(-1)[-count:]
        expected = logged[torch.arange(count), torch.from_numpy(ids[-count:])].sum()
        assert likelihood == pytest.approx(float(expected), abs=1e-4)

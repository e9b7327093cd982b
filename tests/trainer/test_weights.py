"""To Hugging Face and back: names, shapes, bits, refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dolmix.config import load
from dolmix.errors import UsageError
from trainer.__main__ import main
from trainer.checkpoint import complete
from trainer.config import ModelConfig, TrainConfig
from trainer.convert import verify
from trainer.data import Data
from trainer.hf import pieces
from trainer.loop import Training
from trainer.model import Model, initial_value
from trainer.parallel import join_world
from trainer.weights import export, import_weights, load_model, open_weights

pytest.importorskip("safetensors", reason="safetensors is not installed")

TINY: dict[str, Any] = {
    "vocab": 40, "d_model": 24, "layers": 2, "heads": 4, "experts": 6, "top_k": 2, "d_ff": 16,
}  # fmt: skip
LLAMA = {"dense_layers": (0, 1), "dense_d_ff": 20, "qk_norm": False}
SHAPES: list[dict[str, Any]] = [
    {},
    {"kv_heads": 2, "tie_embeddings": True},
    {"clip_qkv": 0.5, "router": {"normalize": "topk"}, "rope_theta": 500.0},
    LLAMA | {"kv_heads": 1, "norm_eps": 1e-6},
]


class Random:
    """Weights of a tiny model, drawn from names."""

    def __init__(self, **changes: Any) -> None:
        self.model = ModelConfig(**(TINY | changes))
        with torch.device("meta"):
            self.shapes = {n: p.shape for n, p in Model(self.model).named_parameters()}

    def read(self, name: str) -> torch.Tensor:
        """Draw one parameter; norms differ from 1."""
        shape = torch.Size((1, *self.shapes[name]))
        noise = initial_value(name, shape, seed=3, std=0.3)[0]
        return noise + 1 if len(self.shapes[name]) == 1 else noise


def test_the_published_model_has_its_3219_tensors() -> None:
    """Names and shapes of OLMoE-1B-7B: 3,219 tensors that hold each of its parameters once."""
    config = load(TrainConfig, "configs/train/olmoe-1b-7b.yaml").model
    found = {p.theirs: p.shape for p in pieces(config)}
    assert len(found) == 3219
    assert sum(torch.Size(shape).numel() for shape in found.values()) == 6_919_161_856
    assert found["model.layers.15.mlp.experts.63.down_proj.weight"] == (2048, 1024)
    assert found["model.layers.0.mlp.gate.weight"] == (64, 2048)
    assert found["model.layers.7.self_attn.k_norm.weight"] == (2048,)


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_export_and_import_keep_every_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Exported in small files, read back and imported, each parameter is the same."""
    weights = Random(**changes)
    export(weights, tmp_path / "hf", dtype=torch.float32, length=64, shard_bytes=5000)
    assert len([*(tmp_path / "hf").glob("*.safetensors")]) > 3
    assert [*verify(tmp_path / "hf", weights)] == []
    import_weights(open_weights(tmp_path / "hf"), tmp_path / "ours", shard_bytes=9000)
    back = open_weights(tmp_path / "ours")
    for name in weights.shapes:
        assert torch.equal(back.read(name), weights.read(name)), name


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_transformers_computes_the_same_logits(tmp_path: Path, changes: dict[str, Any]) -> None:
    """What transformers loads from an export gives logits within 1e-5, in float32."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    weights = Random(**changes)
    export(weights, tmp_path / "hf", dtype=torch.float32, length=64)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "hf", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokens = torch.randint(0, 40, (2, 23), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(tokens).logits
        found, _ = load_model(weights)(tokens)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_what_transformers_saves_is_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A random model made and saved by transformers has the same logits here, within 1e-5."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    export(Random(**changes), tmp_path / "settings", dtype=torch.float32, length=64)
    settings = transformers.AutoConfig.from_pretrained(tmp_path / "settings")
    torch.manual_seed(5)
    theirs = transformers.AutoModelForCausalLM.from_config(
        settings, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1.1)
    theirs.save_pretrained(tmp_path / "saved")
    tokens = torch.randint(0, 40, (2, 23), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(tokens).logits
        found, _ = load_model(open_weights(tmp_path / "saved"))(tokens)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.corpus
def test_a_real_llama_gives_its_reference_logits(shared: Path) -> None:
    """stories260K: the last logits within 1e-5, the mean loss within 1e-6, the same next token."""
    folder = shared / "models" / "stories260k_hf"
    reference = json.loads((folder / "reference.json").read_text())
    ids = torch.tensor([reference["input_ids"]])
    with torch.no_grad():
        logits, _ = load_model(open_weights(folder))(ids)
    expected = torch.tensor(reference["last_logits_first8"])
    torch.testing.assert_close(logits[0, -1, :8], expected, atol=1e-5, rtol=1e-5)
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    assert loss.item() == pytest.approx(reference["mean_nll"], abs=1e-6)
    assert logits[0, -1].argmax().item() == reference["argmax_next"]


def test_a_checkpoint_is_exported_and_started_from(
    configure: Callable[..., TrainConfig], train: Callable[..., bool], tmp_path: Path
) -> None:
    """Trained, exported on the command line, verified, and another run starts from those bits."""
    first = configure("first", max_steps=2)
    train(first)
    path = complete(first.output / "checkpoints")[-1]
    assert main(["export", str(path), str(tmp_path / "hf"), "--dtype", "float32"]) == 0
    assert main(["verify", str(tmp_path / "hf"), str(path)]) == 0
    config = configure("second", init=str(tmp_path / "hf"))
    with join_world(config) as world, Data(config, rank=0, world=1) as data:
        model = Training(config, data, world).model
        found = {name: p.full_tensor().clone() for name, p in model.named_parameters()}
    weights = open_weights(path)
    assert all(torch.equal(value, weights.read(name)) for name, value in found.items())


def test_another_model_is_refused(configure: Callable[..., TrainConfig], tmp_path: Path) -> None:
    """`init` of another shape names a tensor and both shapes."""
    export(Random(), tmp_path / "hf", dtype=torch.float32, length=64)
    config = configure(init=str(tmp_path / "hf"))
    with (
        join_world(config) as world,
        Data(config, rank=0, world=1) as data,
        pytest.raises(UsageError, match=r"k.weight, \(24, 24\) there and \(16, 16\) in"),
    ):
        Training(config, data, world)


def test_verify_finds_what_is_wrong(tmp_path: Path) -> None:
    """A tensor that is missing, one of another shape, one that is not finite and one changed."""
    from safetensors.torch import load_file, save_file

    weights = Random()
    export(weights, tmp_path / "hf", dtype=torch.float32, length=64)
    (path,) = (tmp_path / "hf").glob("*.safetensors")
    tensors = load_file(path)
    del tensors["model.layers.0.mlp.gate.weight"]
    tensors["model.norm.weight"] = torch.ones(5)
    tensors["model.layers.1.mlp.experts.3.up_proj.weight"][0, 0] = float("nan")
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, path)
    (tmp_path / "hf" / "model.safetensors.index.json").unlink()
    path.rename(tmp_path / "hf" / "model.safetensors")
    findings = [*verify(tmp_path / "hf", weights)]
    assert len(findings) == 6
    for expected in (
        "model.layers.0.mlp.gate.weight: missing",
        "blocks.1.mlp.w13: 1 values are not finite",
        "blocks.1.mlp.w13: differs from the source",
        "lm_head.weight: differs from the source",
    ):
        assert expected in findings
    assert any("model.norm.weight is (5,), but config.json makes it (24,)" in f for f in findings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dense_layers": (0,)}, r"model.dense_layers \[0\] beside layers with experts"),
        ({"qk_norm": False}, "model.qk_norm False"),
        ({"shared_d_ff": 8}, "model.shared_d_ff 8"),
        ({"router": {"gate": "mlp"}}, "model.router.gate mlp"),
        ({"router": {"scale": 2.0}}, "model.router.scale 2.0"),
    ],
)
def test_what_they_cannot_hold_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """A model that neither class expresses is refused with the setting, and nothing is written."""
    with pytest.raises(UsageError, match=message):
        export(Random(**changes), tmp_path / "hf", dtype=torch.float32, length=64)
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architecture GPT2LMHeadModel"),
        ({"attention_bias": True}, "attention_bias True"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters"),
        ({"head_dim": 7}, "head_dim 7"),
    ],
)
def test_what_we_do_not_compute_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """A saved model with something else in its settings is refused with setting and value."""
    export(Random(), tmp_path / "hf", dtype=torch.float32, length=64)
    path = tmp_path / "hf" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UsageError, match=message):
        open_weights(tmp_path / "hf")

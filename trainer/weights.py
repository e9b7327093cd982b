"""Weights of a model wherever they lie: our checkpoint, an imported folder, Hugging Face's files.

A source gives one of our tensors at a time, so that a model larger than memory can be read,
exported or started from. `open_weights` finds out what a folder holds.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dolmix.config import parse
from dolmix.errors import UsageError
from dolmix.files.commit import new_directory, write_json
from trainer import checkpoint
from trainer.config import ModelConfig
from trainer.hf import Piece, from_theirs, pieces, read_config, to_theirs
from trainer.model import Model
from trainer.parallel import Draw
from trainer.tensor_files import load

MODEL = "model.json"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000


class Weights(Protocol):
    """One model's parameters, read by our names."""

    model: ModelConfig

    def read(self, name: str) -> Tensor:
        """Read one parameter or router bias, whole, in the type that it has there, on the CPU."""


class SafetensorsFiles:
    """Tensors by name in the safetensors files of a folder; nothing is read before it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (folder / INDEX).is_file():
            self.file_of: dict[str, str] = json.loads((folder / INDEX).read_bytes())["weight_map"]
            return
        single = folder / "model.safetensors"
        if not single.is_file():
            raise UsageError(f"{folder} has neither {single.name} nor {INDEX}.")
        with _open(single) as file:
            self.file_of = dict.fromkeys(file.keys(), single.name)

    def read(self, name: str) -> Tensor:
        """Read a tensor. Raises UsageError where the files lack it."""
        if name not in self.file_of:
            raise UsageError(f"{self.folder} has no tensor {name!r}, though its settings need it.")
        with _open(self.folder / self.file_of[name]) as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


class HuggingFaceWeights:
    """Weights of a saved `OlmoeForCausalLM` or `LlamaForCausalLM`."""

    def __init__(self, folder: Path) -> None:
        self.model = from_theirs(read_config(folder), str(folder / "config.json"))
        self.files = SafetensorsFiles(folder)
        self._parts: dict[str, list[Piece]] = {}
        for piece in pieces(self.model):
            self._parts.setdefault(piece.ours, []).append(piece)

    def read(self, name: str) -> Tensor:
        """Join the tensors that make up one of ours. Raises UsageError for another shape."""
        parts = self._parts[name]
        values = [self._checked(piece) for piece in parts]
        if len(values) == 1 and parts[0].expert is None:
            return values[0]
        if parts[0].expert is None:
            return torch.cat(values)
        each = len(values) // self.model.experts
        runs = [values[start : start + each] for start in range(0, len(values), each)]
        return torch.stack([torch.cat(run) for run in runs])

    def _checked(self, piece: Piece) -> Tensor:
        value = self.files.read(piece.theirs)
        if tuple(value.shape) != piece.shape:
            raise UsageError(
                f"{self.files.folder}: {piece.theirs} is {tuple(value.shape)}, but config.json "
                f"makes it {piece.shape}."
            )
        return value


class ImportedWeights:
    """Weights that `python -m trainer import` wrote: our names, safetensors."""

    def __init__(self, folder: Path) -> None:
        raw = json.loads((folder / MODEL).read_bytes())
        self.model = parse(ModelConfig, raw, origin=str(folder / MODEL))
        self.files = SafetensorsFiles(folder)

    def read(self, name: str) -> Tensor:
        """Read one parameter."""
        return self.files.read(name)


class CheckpointWeights:
    """Weights of a training checkpoint, its moments left alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        meta = checkpoint.read_meta(path)
        origin = f"the model in {path / checkpoint.META}"
        self.model = parse(ModelConfig, meta.config.get("model"), origin=origin)
        with torch.device("meta"):
            self._empty = Model(self.model).state_dict()
        self._state = getattr(torch, meta.config["precision"]["state"])

    def read(self, name: str) -> Tensor:
        """Read one parameter."""
        kind = torch.float32 if name.endswith("choice_bias") else self._state
        value = torch.empty(self._empty[name].shape, dtype=kind)
        load(self.path, {f"model.{name}": value}, alone=True)
        return value


def open_weights(path: Path) -> Weights:
    """Open whatever a folder holds. Raises UsageError if it is nothing that is known."""
    if (path / checkpoint.META).is_file():
        return CheckpointWeights(path)
    if (path / MODEL).is_file():
        return ImportedWeights(path)
    if (path / "config.json").is_file():
        return HuggingFaceWeights(path)
    raise UsageError(
        f"{path} holds no weights: it has none of {checkpoint.META} (a checkpoint), {MODEL} "
        "(imported) and config.json (Hugging Face)."
    )


def values_of(weights: Weights) -> Draw:
    """Give what is stored where `build_model` would draw initial values."""

    def read(name: str, shape: torch.Size, *, seed: int, std: float) -> Tensor:
        del shape, seed, std
        return weights.read(name)

    return read


def load_model(weights: Weights, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """Build the model and read all its weights."""
    with torch.device("meta"):
        model = Model(weights.model).to(dtype)
    model.to_empty(device=device)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(weights.read(name))
    return model.eval()


def export(
    weights: Weights, folder: Path, *, dtype: torch.dtype, length: int,
    tokenizer: Path | None = None, shard_bytes: int = SHARD_BYTES,
) -> int:  # fmt: skip
    """Write a folder that `transformers` loads; returns the number of tensors.

    One layer and one file are in memory at a time. eos and pad are looked up in the tokenizer.
    Raises UsageError for a model that their classes cannot express, FileExistsError if the folder
    is there.
    """
    name = str(dtype).removeprefix("torch.")
    special = _special_ids(tokenizer)
    settings = to_theirs(weights.model, length=length, dtype=name, **special)
    with new_directory(folder) as attempt:
        count = write_shards(attempt, _theirs(weights, dtype), shard_bytes)
        write_json(attempt / "config.json", settings, indent=2)
        write_json(
            attempt / "generation_config.json", {f"{k}_token_id": v for k, v in special.items()}
        )
        if tokenizer is not None:
            (attempt / "tokenizer.json").write_bytes(tokenizer.read_bytes())
            eos = _eos_text(tokenizer)
            described = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}
            write_json(attempt / "tokenizer_config.json", described, indent=2)
    return count


def import_weights(weights: Weights, folder: Path, shard_bytes: int = SHARD_BYTES) -> int:
    """Write a model under our names, to start training from; returns the number of tensors."""
    with torch.device("meta"):
        names = [*Model(weights.model).state_dict()]
    with new_directory(folder) as attempt:
        count = write_shards(attempt, ((n, weights.read(n)) for n in names), shard_bytes)
        write_json(attempt / MODEL, weights.model.model_dump(mode="json"), indent=1)
    return count


def write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int) -> int:
    """Write safetensors files of at most `shard_bytes` (or one tensor) each, and their index."""
    shards = [*_written(folder, _shards(tensors, shard_bytes))]
    total = 0
    weight_map: dict[str, str] = {}
    for number, (path, sizes) in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        path.rename(folder / name)
        weight_map |= dict.fromkeys(sizes, name)
        total += sum(sizes.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / INDEX, index, indent=1)
    return len(weight_map)


def _written(
    folder: Path, shards: Iterable[dict[str, Tensor]]
) -> Iterator[tuple[Path, dict[str, int]]]:
    from safetensors.torch import save_file

    for number, shard in enumerate(shards):
        path = folder / f"shard-{number}"
        save_file(shard, path, metadata={"format": "pt"})
        yield path, {name: tensor.nbytes for name, tensor in shard.items()}


def _shards(tensors: Iterable[tuple[str, Tensor]], limit: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + tensor.nbytes > limit:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    yield shard


def _theirs(weights: Weights, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Cut our tensors into theirs; each of ours is read once, for as long as it is needed."""
    held, value = "", torch.empty(0)
    for piece in _by_ours(pieces(weights.model)):
        if piece.ours != held:
            held, value = piece.ours, weights.read(piece.ours).to(dtype)
        part = value if piece.expert is None else value[piece.expert]
        part = part if piece.rows is None else part[slice(*piece.rows)]
        yield piece.theirs, part.contiguous().clone()


def _by_ours(found: Iterable[Piece]) -> Iterator[Piece]:
    """Order pieces so that those of one of our tensors follow each other."""
    groups: dict[str, list[Piece]] = {}
    for piece in found:
        groups.setdefault(piece.ours, []).append(piece)
    for group in groups.values():
        yield from group


def _special_ids(tokenizer: Path | None) -> dict[str, int | None]:
    if tokenizer is None:
        return {"eos": None, "pad": None}
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(tokenizer))
    return {"eos": known.token_to_id(_eos_text(tokenizer)), "pad": known.token_to_id("<|padding|>")}


def _eos_text(tokenizer: Path) -> str:
    raw: Mapping[str, Any] = json.loads(tokenizer.read_bytes())
    special = [t["content"] for t in raw.get("added_tokens", []) if t.get("special")]
    return next((t for t in ("<|endoftext|>", "</s>", "<eos>") if t in special), special[0])


def _open(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt")

"""`python -m trainer export|import|verify|...`: what needs torch, but no training.

A source is a training checkpoint, an imported folder or a folder that `transformers` saved.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from dolmix.errors import UsageError
from trainer.evaluate import evaluate_options, evaluate_source
from trainer.generate import generate
from trainer.hf import pieces, read_config
from trainer.plot import plot, plot_options
from trainer.weights import (
    HuggingFaceWeights,
    Weights,
    export,
    import_weights,
    load_model,
    open_weights,
)

UNCOMPARED = {"expert_backend", "init_std", "kv_heads", "d_ff", "dense_d_ff", "experts", "top_k"}
"""What two settings of the same model may differ in: where there are no experts dense_d_ff stands
for d_ff, and shapes are compared tensor by tensor anyway."""
TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def run(verb: str, arguments: Sequence[str]) -> int:
    """Do one verb; returns the exit code: 0, or 1 where `verify` found something."""
    parser = argparse.ArgumentParser(prog=f"python -m trainer {verb}")
    describe, act = VERBS[verb]
    describe(parser)
    return act(parser.parse_intermixed_args(arguments))


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Write a folder that transformers loads."
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of the stores")
    parser.add_argument("--dtype", choices=TYPES, default="bfloat16")
    parser.add_argument("--length", type=int, default=4096, help="longest text, in tokens")


def _export(options: argparse.Namespace) -> int:
    count = export(
        open_weights(options.source),
        options.folder,
        dtype=TYPES[options.dtype],
        length=options.length,
        tokenizer=options.tokenizer,
    )
    sys.stderr.write(f"{options.folder}: {count:,} tensors\n")
    return 0


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Write weights to start training from (the setting `init`)."
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)


def _import(options: argparse.Namespace) -> int:
    count = import_weights(open_weights(options.source), options.folder)
    sys.stderr.write(f"{options.folder}: {count:,} tensors\n")
    return 0


def _verify_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Check a saved model: every tensor there, of its shape, finite, as SOURCE."
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", type=Path, nargs="?", help="what it was made from")


def _verify(options: argparse.Namespace) -> int:
    source = None if options.source is None else open_weights(options.source)
    findings = [*verify(options.folder, source)]
    for finding in findings:
        sys.stdout.write(finding + "\n")
    sys.stderr.write(f"{options.folder}: {len(findings)} findings\n")
    return 1 if findings else 0


def verify(folder: Path, source: Weights | None = None) -> Iterator[str]:
    """Find what is wrong with a folder of Hugging Face's format, one sentence each.

    With a source every tensor must equal the source's, rounded to the type that it is stored in.
    """
    saved = HuggingFaceWeights(folder)
    expected = {piece.theirs: piece for piece in pieces(saved.model)}
    for name in sorted(saved.files.file_of.keys() - expected.keys()):
        yield f"{name}: not a tensor of this model"
    for name in sorted(expected.keys() - saved.files.file_of.keys()):
        yield f"{name}: missing"
    if source is not None and source.model != saved.model:
        yield from _differences(source, saved)
    for name in dict.fromkeys(p.ours for p in expected.values()):
        try:
            value = saved.read(name)
        except UsageError as error:
            yield str(error)
            continue
        if not value.isfinite().all():
            yield f"{name}: {int((~value.isfinite()).sum()):,} values are not finite"
        if source is None:
            continue
        wanted = source.read(name)
        if wanted.shape != value.shape or not torch.equal(wanted.to(value.dtype), value):
            yield f"{name}: differs from the source"


def _differences(source: Weights, saved: Weights) -> Iterator[str]:
    """Name settings that change what the model computes; backends do not."""
    ours, theirs = (w.model.model_dump(mode="json") for w in (source, saved))
    for name in ours:
        if name not in UNCOMPARED and ours[name] != theirs[name]:
            yield f"model.{name}: {theirs[name]}, but {ours[name]} in the source"


def _generate_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Go on with a text."
    parser.add_argument("source", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("--tokenizer", type=Path, help="default: tokenizer.json beside the weights")
    parser.add_argument("--count", type=int, default=64, help="most tokens to add")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def _generate(options: argparse.Namespace) -> int:
    from tokenizers import Tokenizer

    path = options.tokenizer or options.source / "tokenizer.json"
    if not path.is_file():
        raise UsageError(f"{path} is not there: name the tokenizer with --tokenizer.")
    tokenizer = Tokenizer.from_file(str(path))
    weights = open_weights(options.source)
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    model = load_model(weights, options.device, dtype)
    prompt = tokenizer.encode(options.prompt).ids
    following = generate(
        model, prompt, count=options.count, eos=_eos(options.source, tokenizer.token_to_id),
        temperature=options.temperature, seed=options.seed,
    )  # fmt: skip
    sys.stdout.write(tokenizer.decode(prompt + list(following)) + "\n")
    return 0


def _eos(source: Path, token_to_id: Callable[[str], int | None]) -> int | None:
    if (source / "config.json").is_file():
        known: int | None = read_config(source).get("eos_token_id")
        return known
    return token_to_id("<|endoftext|>")


VERBS: dict[
    str,
    tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]],
] = {
    "export": (_export_options, _export),
    "import": (_import_options, _import),
    "verify": (_verify_options, _verify),
    "generate": (_generate_options, _generate),
    "evaluate": (evaluate_options, evaluate_source),
    "plot": (plot_options, plot),
}

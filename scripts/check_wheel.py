"""Build the wheel, install it without dependencies or extras' torch in sight, and use it.

    python scripts/check_wheel.py

Shows that `dolmix --help` answers and `import dolmix` works where torch cannot be imported and the
working tree is not on the path, that the builtin classifiers are there with their cards, and that a
pipeline runs, from nothing kept, where only what a plain `pip install dolmix` brings can be
imported: the extras' packages are installed here, and would hide one that is missing there.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROBE = """
import sys
sys.modules["torch"] = None  # importing it would raise
site = sys.argv[1]
sys.path.insert(0, site)
import dolmix
assert dolmix.__file__.startswith(site), dolmix.__file__
from dolmix.cli.main import run_cli
sys.argv = ["dolmix", "--help"]
code = run_cli()
heavy = {"numpy", "numba", "pyarrow", "datatrove"} & set(sys.modules)
assert code == 0 and not heavy, (code, heavy)
from importlib.resources import files
assert any(files("dolmix.sample").joinpath("documents").iterdir())
from dolmix.text.builtin_models import NAMES, builtin
for model in map(builtin, NAMES):
    assert str(model).startswith(site), model
    assert 100_000 < model.stat().st_size < 1_500_000, (model, model.stat().st_size)
    for card in (f"{model}.card.json", f"{model}.card.md"):
        assert open(card, encoding="utf-8").read(), card
"""
RUN = """
import json, sys
site, hidden = sys.argv[1], set(json.load(open("hidden.json")))

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}: no base dependency", name=name)

sys.meta_path.insert(0, Hiding())
sys.path.insert(0, site)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
letters = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(
    special_tokens=["<|endoftext|>"], initial_alphabet=letters, show_progress=False
)
tokenizer.train_from_iterator([], trainer)
tokenizer.save("tokenizer.json")
words = "the river and its boats that people have with them of an evening".split()
with open("a.jsonl", "w") as file:
    for n in range(8):
        text = " ".join(f"{word}{n}{k}" if k % 3 else word for k, word in enumerate(words * 9))
        file.write(json.dumps({"id": str(n), "text": f"{text}.\\n- {n}!"}) + "\\n")
filters = [
    {"type": "gopher", "preset": "datatrove-0.10", "words": "whitespace"},
    {"type": "repetition", "preset": "datatrove-0.10", "words": "whitespace"},
    {"type": "gopher", "name": "own"},
]
pipeline = {
    "name": "plain",
    "output": "run",
    "tokenizer": {"path": "tokenizer.json"},
    "executor": {"type": "local", "workers": 1},
    "sources": {"web": {"inputs": ["a.jsonl"], "filters": filters}},
    "dedup": [{"type": "exact"}, {"type": "minhash"}],
}
with open("pipeline.yaml", "w") as file:
    json.dump(pipeline, file)
from dolmix.cli.main import run_cli
sys.argv = ["dolmix", "run", "pipeline.yaml", "--json"]
sys.exit(run_cli())
"""


def main() -> int:
    """Return 0 when the installed wheel answers, and runs a pipeline."""
    root = Path(__file__).resolve().parent.parent
    pip = [sys.executable, "-m", "pip"]
    with tempfile.TemporaryDirectory() as scratch:
        wheels, site = Path(scratch, "wheels"), Path(scratch, "site")
        subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", wheels, root], check=True)
        wheel = next(wheels.glob("dolmix-*.whl"))
        subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment["NUMBA_CACHE_DIR"] = str(Path(scratch, "kept"))
        (about,) = metadata.distributions(name="dolmix", path=[str(site)])
        Path(scratch, "hidden.json").write_text(json.dumps(hidden_modules(about)))
        for what, program in (("answering alone", PROBE), ("a plain installation's run", RUN)):
            command = [sys.executable, "-c", program, str(site)]
            done = subprocess.run(
                command, check=False, cwd=scratch, env=environment, stdout=subprocess.DEVNULL
            )
            if done.returncode:
                sys.stderr.write(f"{wheel.name}: {what} failed, see above\n")
                return 1
        size = wheel.stat().st_size
    sys.stderr.write(f"{wheel.name}: {size:,} bytes, answers alone, runs on base dependencies\n")
    return 0


def hidden_modules(about: metadata.Distribution) -> list[str]:
    """Name the top-level modules that a plain installation does not bring."""
    brought = set(base_distributions(about))
    return sorted(
        module
        for module, packages in metadata.packages_distributions().items()
        if brought.isdisjoint(map(canonicalize_name, packages))
    )


def base_distributions(about: metadata.Distribution) -> Iterator[str]:
    """Yield the names of all packages that an installed one requires, and those require."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(about, frozenset[str]())]
    while waiting:
        one, wanted = waiting.pop()
        for text in one.requires or []:
            needed = Requirement(text)
            if not any(holds(needed, extra) for extra in wanted | {""}):
                continue
            entry = (canonicalize_name(needed.name), frozenset(needed.extras))
            if entry not in seen:
                seen.add(entry)
                yield entry[0]
                waiting.append((metadata.distribution(needed.name), entry[1]))


def holds(needed: Requirement, extra: str) -> bool:
    """Whether a requirement counts on this machine, with an extra."""
    return needed.marker is None or needed.marker.evaluate({"extra": extra})


if __name__ == "__main__":
    sys.exit(main())

"""Mix files: what loads, and every problem told at once with its path."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import mix_stores
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.config import json_schema
from dolmix.errors import ConfigError
from dolmix.mix import BatchPhase, Mix, Schedule, load_mix
from dolmix.mix.spec import exact

CONFIGS = Path(__file__).parents[3] / "configs" / "mixes"


def problems_of(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """Problems of a mix file as lines."""
    path = tmp_path / "mix.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_mix(path, overrides)
    return [str(problem) for problem in caught.value.problems]


def raw() -> dict[str, Any]:
    """Return the small mix as plain data."""
    return yaml.safe_load(mix_stores.MIX)


def test_a_mix_file_loads_with_its_defaults(tmp_path: Path) -> None:
    """What a file leaves out has the documented default; overrides replace what it says."""
    path = tmp_path / "small.yaml"
    path.write_text(mix_stores.MIX, encoding="utf-8")
    mix = load_mix(path, ["seed=9", "stages.main.weights.web=0.6"])
    assert (mix.seed, mix.packing, mix.stages[0].order) == (9, "concat", "fresh")
    assert mix.stages[0].weights["web"] == 0.6
    assert mix.phases == (BatchPhase(from_step=1, instances=4),)
    assert Mix.model_validate({k: v for k, v in raw().items() if k != "block"}).block == 1024


def test_numbers_are_read_as_the_decimals_of_the_file() -> None:
    """0.1 is one tenth, not the nearest binary fraction."""
    assert exact(0.1) == Fraction(1, 10)
    assert exact(1e-4) == Fraction(1, 10_000)
    assert exact(3.0) == 3


def test_names_that_do_not_meet_are_told_with_their_paths(tmp_path: Path) -> None:
    """A misspelt source, an unused one and a repeated stage are all reported in one go."""
    text = mix_stores.MIX.replace("docs: {epochs: 0.5}", "doc: 1").replace(", docs: 0.1", "")
    text = text.replace("name: anneal", "name: main")
    told = problems_of(tmp_path, text)
    assert "stages.1.weights.doc: unknown source; did you mean 'docs'?" in told
    assert "stages.1.name: 'main' names an earlier stage too" in told
    assert any(line.startswith("sources.docs: has no weight in any stage") for line in told)


def test_a_source_with_weight_zero_everywhere_is_a_problem(tmp_path: Path) -> None:
    """Weight 0 in every stage is as good as unused, and is said so."""
    text = mix_stores.MIX.replace("docs: 0.1", "docs: 0").replace("docs: {epochs: 0.5}", "docs: 0")
    assert problems_of(tmp_path, text) == [
        "sources.docs: has no weight in any stage: give it one, or take the source out"
    ]


@pytest.mark.parametrize("packing", ["bestfit", "pad"])
def test_packings_to_come_are_refused_as_such(tmp_path: Path, packing: str) -> None:
    """Only `concat` is built; the others say so instead of being taken for a typing error."""
    told = problems_of(tmp_path, mix_stores.MIX, f"packing={packing}")
    assert told == [f"packing: '{packing}' is not available yet; use 'concat'"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("packing=concatt", "packing: 'concatt' is not one of"),
        ("block=0", "block: 0"),
        ("batch_size=[]", "batch_size"),
        ("stages.main.tokens=9e9", "stages.0.tokens: '9e9' is not a whole number"),
        ("stages.main.weights.web=-1", "stages.0.weights.web: -1"),
        ("stages.main.weights.web=.nan", "stages.0.weights.web: nan"),
        ("stages.main.weights.web={token: 5}", "did you mean 'tokens'?"),
        (
            "sources.web.max_epoch=2",
            "sources.web.max_epoch: unknown key; did you mean 'max_epochs'?",
        ),
        ("batch_size=[{from_step: 2, instances: 4}]", "batch_size.0.from_step: the first phase"),
    ],
)
def test_bad_values_are_told_with_path_and_value(tmp_path: Path, override: str, said: str) -> None:
    """Each bad setting names its dotted path and what was found there."""
    assert any(said in line for line in problems_of(tmp_path, mix_stores.MIX, override))


def test_batch_phases_must_increase(tmp_path: Path) -> None:
    """Two phases from the same step contradict each other."""
    override = "batch_size=[{from_step: 1, instances: 4}, {from_step: 1, instances: 8}]"
    told = problems_of(tmp_path, mix_stores.MIX, override)
    assert told == ["batch_size.1.from_step: 1 does not come after 1"]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7)), min_size=1, max_size=4),
    st.integers(0, 60),
)
@settings(deadline=None, max_examples=80)
def test_schedules_agree_with_counting(gaps: list[tuple[int, int]], k: int) -> None:
    """Closed forms equal a walk through the steps, for offsets and for the step of an instance."""
    phases, step = [], 1
    for n, (gap, size) in enumerate(gaps):
        step = step + gap if n else 1
        phases.append(BatchPhase(from_step=step, instances=size))
    schedule, seen = Schedule(phases), 0
    for t in range(1, 40):
        size = [p.instances for p in phases if p.from_step <= t][-1]
        assert schedule.size(t) == size
        if seen <= k < seen + size:
            assert schedule.step_of(k) == t
        seen += size
        assert schedule.offset(t) == seen
    assert schedule.offset(0) == 0


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_mixes_load(path: Path) -> None:
    """Every mix file of the project is valid and named as its file."""
    assert load_mix(path).name == path.stem


def test_the_editors_schema_knows_every_form_of_a_weight() -> None:
    """The JSON schema offers a number, tokens or epochs, and one size or a schedule of batches."""
    schema = json_schema(Mix)
    assert len(schema["properties"]["batch_size"]["oneOf"]) == 2
    weights = schema["$defs"]["Stage"]["properties"]["weights"]
    shares = weights.get("additionalProperties") or next(
        iter(weights["patternProperties"].values())
    )
    assert len(shares["oneOf"]) == 3

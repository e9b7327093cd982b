"""Mix files: what loads, and every problem told at once with its path."""

from fractions import Fraction
from itertools import pairwise
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


def test_a_mix_without_weights_is_told_per_stage(tmp_path: Path) -> None:
    """Only `order: olmo` has stages without weights."""
    text = mix_stores.MIX.replace(", weights: {web: 0.7, code: 0.2, docs: 0.1}", "")
    assert problems_of(tmp_path, text) == ["stages.0.weights: required, but missing"]


def test_what_olmo_s_loader_cannot_say_is_refused(tmp_path: Path) -> None:
    """Weights, a second stage, a schedule, a window: each is told with its path."""
    batches = "batch_size=[{from_step: 1, instances: 4}, {from_step: 9, instances: 8}]"
    told = problems_of(
        tmp_path, mix_stores.MIX, "order=olmo", batches, "window={chunk: 4, chunks: 2}"
    )
    paths = [line.split(":")[0] for line in told]
    assert paths == [
        "stages.0.weights",
        "stages.1.weights",
        "stages.1",
        "batch_size",
        "window",
    ]


def test_olmo_65b_s_batch_doubles_every_100_billion_tokens() -> None:
    """1,024 instances of 2,048 tokens, doubled at 100, 200 and 300 B tokens (arXiv 2402.00838)."""
    mix = load_mix(CONFIGS / "olmo-65b-batches.yaml")
    assert [(p.from_step, p.instances) for p in mix.phases] == [
        (1, 1024),
        (47_685, 2048),
        (71_527, 4096),
        (83_448, 8192),
    ]
    for n, phase in enumerate(mix.phases[1:], 1):
        done = [mix.schedule.offset(phase.from_step - back) * 2048 for back in (1, 2)]
        assert done[1] < n * 10**11 <= done[0]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 400), st.integers(1, 9)), max_size=4),
    st.integers(1, 9),
    st.integers(1, 7),
)
@settings(deadline=None, max_examples=100)
def test_schedules_in_tokens_begin_with_the_first_step_after_them(
    gaps: list[tuple[bool, int, int]], first: int, length: int
) -> None:
    """Walking through the steps, a phase in tokens begins as soon as so many tokens are done."""
    batches, step, tokens = [{"from_tokens": 0, "instances": first}], 1, 0
    for in_tokens, gap, size in gaps:
        step, tokens = step + gap, tokens + gap
        where = {"from_tokens": tokens} if in_tokens else {"from_step": step}
        batches.append(where | {"instances": size})
    mix = Mix.model_validate(raw() | {"sequence_length": length, "batch_size": batches})
    if mix.problems():
        assert len({p.from_step for p in mix.phases}) < len(batches) or any(
            a.from_step > b.from_step for a, b in pairwise(mix.phases)
        )
        return
    for n, batch in enumerate(batches):
        if "from_tokens" in batch:
            begins = mix.phases[n].from_step
            done = [length * mix.schedule.offset(t - 1) for t in range(1, begins + 1)]
            assert begins == 1 + next(i for i, d in enumerate(done) if d >= batch["from_tokens"])


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
        ("batch_size=[{from_tokens: 9, instances: 4}]", "batch_size.0.from_tokens: the first"),
        ("batch_size=[{instances: 4}]", "batch_size.0: give exactly one of from_step and from_t"),
        ("window={chunk: 0, chunks: 2}", "window.chunk: 0"),
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
    """Every mix file of the project is valid and named as its file, `-` where that has a dot."""
    assert load_mix(path).name == path.stem.replace(".", "-")


PUBLISHED = {
    "olmoe-mix": ({"dclm": 94.9, "starcoder": 2.5, "pes2o": 1.4, "wiki": 0.1}, 5133, 1024, 4096),
    "dolma-1.7": ({"common-crawl": 34.9, "refined-web": 26.6, "wiki": 0.4}, 1715.1, 1024, 4096),
    "llama-moe-sheared": ({"cc": 36.1, "c4": 49.2, "book": 9.1, "wiki": 3.1}, 200, 3584, 4096),
    "llama-moe-llama": ({"cc": 67, "c4": 15, "github": 4.5, "stack": 2}, 200, 3584, 4096),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_ready_mixes_have_their_published_proportions(name: str) -> None:
    """Shares in percent, tokens in billions, batch and length are those of the sources cited."""
    shares, tokens, batch, length = PUBLISHED[name]
    path = CONFIGS / f"{name}.yaml"
    mix = load_mix(path)
    assert "# Source: " in path.read_text(encoding="utf-8")
    for stage in mix.stages:
        weights = {s: w for s, w in stage.weights.items() if isinstance(w, float)}
        assert weights.keys() == mix.sources.keys()
        for source, share in shares.items():
            assert round(100 * weights[source] / sum(weights.values()), 1) == share
    assert sum(stage.tokens for stage in mix.stages) == pytest.approx(tokens * 1e9)
    assert (mix.batch_size, mix.sequence_length) == (batch, length)


def test_the_editors_schema_knows_every_form_of_a_weight() -> None:
    """The JSON schema offers a number, tokens or epochs, and one size or a schedule of batches."""
    schema = json_schema(Mix)
    assert len(schema["properties"]["batch_size"]["oneOf"]) == 2
    weights = schema["$defs"]["Stage"]["properties"]["weights"]
    shares = weights.get("additionalProperties") or next(
        iter(weights["patternProperties"].values())
    )
    assert len(shares["oneOf"]) == 3

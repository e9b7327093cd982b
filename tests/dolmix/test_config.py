"""Configuration: what loads, what is refused, and in which words."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Discriminator, Field, Tag, field_validator

from dolmix.config import Frac, Name, Schema, json_schema, load, parse, read_yaml
from dolmix.errors import ConfigError


class Language(Schema):
    """A filter with a list and a share."""

    type: Literal["language"] = "language"
    name: Name | None = None
    keep: tuple[str, ...] = ("en",)
    """Languages to keep."""
    min_score: Frac = 0.65
    """Least score."""


class Gopher(Schema):
    """A filter with numbers."""

    type: Literal["gopher"] = "gopher"
    name: Name | None = None
    min_words: int | None = 50
    """Least number of words."""
    ratios: dict[str, float] = Field(default_factory=dict)
    strict: bool = False
    date: str = ""

    @field_validator("min_words")
    @classmethod
    def _not_unlucky(cls, value: int | None) -> int | None:
        if value == 13:
            raise ValueError("13 is unlucky; take 14")
        return value


AnyStep = Annotated[Language | Gopher, Field(discriminator="type")]


class Tokens(Schema):
    """One way to give a share."""

    tokens: int


class Epochs(Schema):
    """Another way to give a share."""

    epochs: float


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "one"


class Source(Schema):
    """Tagged unions inside lists and dicts, and optional ones."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    filters: tuple[AnyStep, ...] = ()
    by_name: dict[Name, AnyStep] = Field(default_factory=dict)
    first: AnyStep | None = None


class Root(Schema):
    """A configuration as a user writes it."""

    name: Name
    seed: int = 0
    sources: dict[Name, Source] = Field(default_factory=dict)
    shares: dict[str, float | Tokens | Epochs] = Field(default_factory=dict)
    sizes: (
        Annotated[
            Annotated[int, Tag("one")] | Annotated[tuple[Tokens, ...], Tag("list")],
            Discriminator(_kind),
        ]
        | None
    ) = None
    label: int | str = "x"
    pair: tuple[int, str] = (1, "a")
    packing: Literal["concat", "pad"] = "concat"
    output: Path = Path()


def problems(raw: Any, *overrides: str) -> list[str]:
    """Return the lines of the error that `raw` gives, without the first."""
    with pytest.raises(ConfigError) as caught:
        parse(Root, raw, overrides, origin="test.yaml")
    return [str(problem) for problem in caught.value.problems]


def with_filter(**keys: Any) -> dict[str, Any]:
    """Build a configuration with one filter in one source."""
    return {"name": "x", "sources": {"web": {"inputs": ["a"], "filters": [keys]}}}


FILTER = "sources.web.filters.0"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"name": "x", "sed": 1}, ["sed: unknown key; did you mean 'seed'?"]),
        ({"name": "x", "zzzz": 1}, ["zzzz: unknown key"]),
        ({"name": "x", 5: 1}, ["5: 5: keys should be strings"]),
        ({}, ["name: required, but missing"]),
        (
            with_filter(type="gopher", min_wrods=1),
            [f"{FILTER}.min_wrods: unknown key; did you mean 'min_words'?"],
        ),
        (
            with_filter(type="langauge"),
            [f"{FILTER}: unknown type 'langauge'; did you mean 'language'?"],
        ),
        (with_filter(type="zzz"), [f"{FILTER}: unknown type 'zzz'; known: language, gopher"]),
        (with_filter(keep=["en"]), [f"{FILTER}: 'type' is missing: it says which one this is"]),
        (
            with_filter(type="language", min_score="0.6x"),
            [f"{FILTER}.min_score: '0.6x' is not a number"],
        ),
        (
            with_filter(type="language", min_score=None),
            [f"{FILTER}.min_score: None is not a number"],
        ),
        (
            with_filter(type="language", min_score=float("nan")),
            [f"{FILTER}.min_score: nan is not a number"],
        ),
        (
            with_filter(type="language", min_score=1.5),
            [f"{FILTER}.min_score: 1.5: input should be less than or equal to 1"],
        ),
        (
            with_filter(type="gopher", min_words="9e9"),
            [
                (
                    f"{FILTER}.min_words: '9e9' is not a whole number; "
                    "write it in digits, as 9_000_000_000"
                )
            ],
        ),
        (
            with_filter(type="gopher", min_words="three"),
            [f"{FILTER}.min_words: 'three' is not a whole number"],
        ),
        (
            with_filter(type="gopher", min_words=2.5),
            [f"{FILTER}.min_words: 2.5 is not a whole number"],
        ),
        (with_filter(type="gopher", min_words=13), [f"{FILTER}.min_words: 13 is unlucky; take 14"]),
        (
            with_filter(type="gopher", min_words=True),
            [f"{FILTER}.min_words: YAML reads this unquoted word as True, but a number is wanted"],
        ),
        (
            with_filter(type="gopher", ratios={"a": 0.5, "b": False}),
            [f"{FILTER}.ratios.b: YAML reads this unquoted word as False, but a number is wanted"],
        ),
        (
            with_filter(type="language", keep=["en", False]),
            [f"{FILTER}.keep.1: YAML reads this unquoted word as False: quote it"],
        ),
        (
            with_filter(type="language", keep=[7]),
            [f"{FILTER}.keep.0: 7 is read as a number, text is wanted: quote it"],
        ),
        (
            with_filter(type="language", keep="en"),
            [f"{FILTER}.keep: expected a list, found text 'en'"],
        ),
        (
            with_filter(type="language", keep=[["en"]]),
            [f"{FILTER}.keep.0: expected text, found a list ['en']"],
        ),
        (
            {"name": "x", "sources": {"web": {"inputs": ["a"], "filters": ["gopher"]}}},
            [f"{FILTER}: expected a mapping of settings, found text 'gopher'"],
        ),
        (
            {"name": "x", "sources": {"web": None}},
            ["sources.web: expected a mapping of settings, found nothing"],
        ),
        (
            {"name": "x", "sources": ["web"]},
            ["sources: expected a mapping of settings, found a list ['web']"],
        ),
        (
            {"name": "x", "sources": {"web": {"inputs": []}}},
            ["sources.web.inputs: []: tuple should have at least 1 item after validation, not 0"],
        ),
        (
            {"name": "x", "sources": {"web": {"inputs": [1]}}},
            ["sources.web.inputs.0: 1 is read as a number, text is wanted: quote it"],
        ),
        (
            {
                "name": "x",
                "sources": {
                    "web": {"inputs": ["a"], "by_name": {"k": {"type": "language", "kep": 1}}}
                },
            },
            ["sources.web.by_name.k.kep: unknown key; did you mean 'keep'?"],
        ),
        (
            {
                "name": "x",
                "sources": {"web": {"inputs": ["a"], "first": {"type": "gopher", "gopher": 1}}},
            },
            ["sources.web.first.gopher: unknown key"],
        ),
        (
            {"name": "x", "sources": {False: {"inputs": ["a"]}}},
            ["sources.False: YAML reads this unquoted word as False: quote it"],
        ),
        (
            {"name": "x", "sources": {"A b": {"inputs": ["a"]}}},
            ["sources.A b: 'A b': string should match pattern '^[a-z0-9][a-z0-9_-]*$'"],
        ),
        ({"name": "x", "packing": "concta"}, ["packing: 'concta' is not one of 'concat' or 'pad'"]),
        (
            {"name": "x", "pair": [1, 2]},
            ["pair.1: 2 is read as a number, text is wanted: quote it"],
        ),
        ({"name": "x", "pair": [1]}, ["pair.1: required, but missing"]),
        (
            {"name": "x", "output": 3},
            ["output: 3: input is not a valid path for <class 'pathlib.Path'>"],
        ),
    ],
)
def test_each_problem_is_named_and_placed(raw: dict[str, Any], expected: list[str]) -> None:
    """One problem gives one line: where it is in the file, what is there, what was meant."""
    assert problems(raw) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("abc", ["shares.web: 'abc' is not a number"]),
        (None, ["shares.web: None is not a number"]),
        (
            {"tokns": 1},
            [
                "shares.web.tokens: required, but missing",
                "shares.web.tokns: unknown key; did you mean 'tokens'?",
            ],
        ),
        ({"epochs": "x"}, ["shares.web.epochs: 'x' is not a number"]),
        ({"epochs": 1, "tokens": 2}, ["shares.web.epochs: unknown key"]),
    ],
)
def test_plain_unions_speak_of_the_member_that_was_meant(share: Any, expected: list[str]) -> None:
    """Where no type tells members apart, problems of the other members are not reported."""
    assert problems({"name": "x", "shares": {"web": share}}) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("sizes", "x", ["sizes: 'x' is not a whole number"]),
        ("sizes", [{"tokens": "x"}], ["sizes.0.tokens: 'x' is not a whole number"]),
        (
            "sizes",
            [{"tokns": 3}],
            [
                "sizes.0.tokens: required, but missing",
                "sizes.0.tokns: unknown key; did you mean 'tokens'?",
            ],
        ),
        ("label", [1], ["label: [1] is not a whole number"]),
    ],
)
def test_tagged_and_scalar_unions_keep_their_paths(
    key: str, value: Any, expected: list[str]
) -> None:
    """Names that pydantic gives to members of a union never show up in a path."""
    assert problems({"name": "x", key: value}) == expected


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """Problems of every kind and depth come in one error, in the order of their paths."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "nmae: x\n"
        "seed: 9e9\n"
        "sources:\n"
        "  web:\n"
        "    inputs: [a]\n"
        "    filters:\n"
        "      - {type: langauge}\n"
        "      - {type: language, keep: [en, no], min_scor: 0.5}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(Root, path)
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == [
        f"{path}: 6 problems",
        "  name: required, but missing",
        "  nmae: unknown key; did you mean 'name'?",
        "  seed: '9e9' is not a whole number; write it in digits, as 9_000_000_000",
        "  sources.web.filters.0: unknown type 'langauge'; did you mean 'language'?",
        "  sources.web.filters.1.keep.1: YAML reads this unquoted word as False: quote it",
        "  sources.web.filters.1.min_scor: unknown key; did you mean 'min_score'?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping of settings, found nothing"),
        ("- a\n- b\n", "expected a mapping of settings, found a list ['a', 'b']"),
        ("name: x\nseed: 1\nname: y\n", "not YAML: line 3, column 1: key 'name' is given twice"),
        ("a:\n  b: {k: 1, k: 2}\n", "not YAML: line 2, column 13: key 'k' is given twice"),
        ("a: [1, 2\nb: 3\n", "not YAML: line 2, column 2: expected"),
        ("a: !!python/object:os.system {}\n", "not YAML: line 1, column 4: could not determine"),
        ("a: \tb:\n c", "not YAML: line 1"),
    ],
)
def test_files_that_are_no_mapping(tmp_path: Path, text: str, expected: str) -> None:
    """Empty files, lists, repeated keys, broken YAML and Python tags are refused, with place."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Root, path)
    (problem,) = caught.value.problems
    assert problem.path == ""
    assert problem.message.startswith(expected)


def test_files_that_do_not_read(tmp_path: Path) -> None:
    """A missing file, a directory, and bytes that are no UTF-8 each say so."""
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    expected = {
        "none.yaml": "no such file",
        ".": "not readable: Is a directory",
        "latin.yaml": "not UTF-8 text: invalid continuation byte at byte 9",
    }
    for name, message in expected.items():
        with pytest.raises(ConfigError) as caught:
            load(Root, tmp_path / name)
        assert [str(p) for p in caught.value.problems] == [message]


def test_merge_keys_of_yaml_work(tmp_path: Path) -> None:
    """Anchors and `<<` are YAML like any other, and a merged key may be overridden."""
    path = tmp_path / "merge.yaml"
    path.write_text("base: &b {seed: 1, name: x}\nmore: {<<: *b, seed: 2}\n")
    assert read_yaml(path)["more"] == {"seed": 2, "name": "x"}


def test_yaml_floats_without_a_dot_load(tmp_path: Path) -> None:
    """`1e-4`, which YAML 1.1 reads as text, is a number where a number is wanted."""
    path = tmp_path / "floats.yaml"
    path.write_text("name: x\nshares: {web: 1e-4, code: {epochs: 2e0}}\n")
    assert load(Root, path).shares == {"web": 1e-4, "code": Epochs(epochs=2.0)}


# --- overrides ------------------------------------------------------------------------------------


BASE = {
    "name": "x",
    "sources": {
        "web": {
            "inputs": ["a", "b"],
            "filters": [
                {"type": "language"},
                {"type": "gopher", "name": "loose"},
                {"type": "gopher", "name": "tight"},
            ],
        }
    },
}


def test_overrides_reach_keys_and_items() -> None:
    """Paths go through mappings by key, through lists by index, name or type; the last one wins."""
    root = parse(
        Root,
        BASE,
        [
            "seed=7",
            "seed=8",
            "label=a=b",
            "sources.web.inputs.1=c",
            "sources.web.filters.language.keep=[de, fr]",
            "sources.web.filters.tight.min_words=9",
            "sources.web.filters.1.min_words=null",
            "sources.code.inputs=[d]",
            "shares.web.tokens=5",
        ],
        origin="test",
    )
    web = root.sources["web"]
    assert (root.seed, root.label, web.inputs) == (8, "a=b", ("a", "c"))
    assert web.filters == (
        Language(keep=("de", "fr")),
        Gopher(name="loose", min_words=None),
        Gopher(name="tight", min_words=9),
    )
    assert root.sources["code"].inputs == ("d",)
    assert root.shares == {"web": Tokens(tokens=5)}


def test_overrides_fill_what_is_empty() -> None:
    """A mapping that the file leaves empty can be filled by an override."""
    root = parse(Root, {"name": "x", "shares": None}, ["shares.web=0.5"], origin="test")
    assert root.shares == {"web": 0.5}


def test_overrides_leave_the_input_alone() -> None:
    """The data handed in is not changed, so it can be parsed again with other overrides."""
    before = repr(BASE)
    parse(Root, BASE, ["sources.web.inputs.0=z", "seed=1"], origin="test")
    assert repr(BASE) == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "seed: an override is written key.path=value"),
        ("=1", "=1: an override is written key.path=value"),
        ("a..b=1", "a..b=1: an override is written key.path=value"),
        ("seed=[1", "seed: value '[1' is not YAML: line 1, column 3: "),
        ("seed={a: 1, a: 2}", "seed: value '{a: 1, a: 2}' is not YAML: line 1, column 8: key 'a'"),
        ("name.x=1", "name.x: name is 'x', it has no key 'x'"),
        ("name.x.y=1", "name.x.y: name is 'x', it has no key 'x'"),
        (
            "sources.web.filters.3.keep=1",
            (
                "sources.web.filters.3.keep: sources.web.filters has no item '3'; "
                "it has 3: language, loose, tight"
            ),
        ),
        (
            "sources.web.filters.gopher.x=1",
            "sources.web.filters.gopher.x: sources.web.filters has no item 'gopher'",
        ),
        (
            "sources.web.inputs.x=1",
            "sources.web.inputs.x: sources.web.inputs has no item 'x'; it has 2: 0, 1",
        ),
        ("sed=1", "sed: unknown key; did you mean 'seed'?"),
        ("seed=yes", "seed: YAML reads this unquoted word as True, but a number is wanted"),
    ],
)
def test_bad_overrides_say_what_is_wrong(override: str, expected: str) -> None:
    """An override that means nothing is refused with its path, and with what is there instead."""
    (problem,) = problems(BASE, override)
    assert problem.startswith(expected)


def test_an_ambiguous_item_needs_its_index() -> None:
    """Two items of one name cannot be told apart by it."""
    raw = {"name": "x", "sources": {"web": {"inputs": ["a"], "filters": [{"type": "gopher"}] * 2}}}
    (problem,) = problems(raw, "sources.web.filters.gopher.min_words=1")
    assert problem.endswith("has 2 items 'gopher'; name one by its index")


def test_all_bad_overrides_are_reported() -> None:
    """Overrides are all looked at before anything is refused."""
    assert len(problems(BASE, "seed", "name.x=1", "seed=2")) == 2


# --- schemas --------------------------------------------------------------------------------------


def test_schemas_are_frozen_and_described() -> None:
    """A configuration cannot change once loaded, and editors see the sentence under each field."""
    root = parse(Root, BASE, origin="test")
    with pytest.raises(ValueError, match="frozen"):
        root.seed = 3  # type: ignore[misc]
    described = json_schema(Root)["$defs"]["Language"]["properties"]
    assert described["min_score"]["description"] == "Least score."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "sources",
                    "web",
                    "filters",
                    "type",
                    "inputs",
                    "first",
                    "shares",
                    "tokens",
                    "sizes",
                    "zz",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*Root.model_fields, "zz"]), JSON, max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_data_loads_or_is_refused_in_words(raw: dict[str, Any]) -> None:
    """Whatever the file holds, it loads or gives a ConfigError with paths that are in the file."""
    try:
        parse(Root, raw, origin="test")
    except ConfigError as error:
        found = error.problems
    else:
        return
    assert found
    assert all(problem.message for problem in found)
    assert {problem.path.split(".")[0] for problem in found} <= {*raw, *Root.model_fields}

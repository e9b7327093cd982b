"""Configuration: one frozen schema class per thing, YAML files, `key.path=value` overrides.

`load` reports every problem of a file at once, each with its dotted path and, for a misspelt name,
what was probably meant. Fields carry a sentence under them; the JSON schemas in `configs/schema/`
are generated from those.
"""

import ast
import inspect
import textwrap
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml  # type: ignore[import-untyped,unused-ignore]
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic.json_schema import GenerateJsonSchema

from dolmix.errors import ConfigError, Problem
from dolmix.explain import explain, found, merged, misread_booleans, shown

Frac = Annotated[float, Field(ge=0, le=1)]
"""A share in [0, 1]."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
"""A source, stage or filter name: `[a-z0-9][a-z0-9_-]*` (docs/order.md, conventions)."""


class Schema(BaseModel):
    """Base of every configuration object: frozen, unknown keys refused, documented fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
    )


S = TypeVar("S", bound=Schema)


def load(schema: type[S], path: str | Path, overrides: Sequence[str] = ()) -> S:
    """Read a YAML file, apply `key.path=value` overrides, and validate it as `schema`.

    Raises ConfigError with all problems at once.
    """
    return parse(schema, read_yaml(path), overrides, origin=str(path))


def parse(schema: type[S], raw: Any, overrides: Sequence[str] = (), *, origin: str) -> S:
    """Validate plain data (what YAML or JSON gave) as `schema`; `origin` names it in messages.

    `raw` is left as it is. Raises ConfigError with all problems at once.
    """
    raw = _overridden(raw, overrides, origin=origin)
    problems = misread_booleans(schema, raw)
    try:
        loaded = schema.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(origin, merged(explain(schema, raw, error), problems)) from None
    if problems:
        raise ConfigError(origin, problems)
    return loaded


def read_settings(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply `key.path=value` overrides, without validating what it says.

    Raises ConfigError for a file that is no mapping in YAML, and for overrides that fit nothing.
    """
    return _overridden(read_yaml(path), overrides, origin=str(path))


def _overridden(raw: Any, overrides: Sequence[str], *, origin: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(origin, [Problem("", f"expected a mapping of settings, {found(raw)}")])
    settings: dict[str, Any] = deepcopy(raw) if overrides else raw
    problems = [p for text in overrides if (p := _override(settings, text)) is not None]
    if problems:
        raise ConfigError(origin, problems)
    return settings


def read_yaml(path: str | Path) -> Any:
    """Read one YAML file; repeated keys are refused, since YAML would silently keep the last.

    Raises ConfigError if there is no such file or it is not YAML in UTF-8.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            return yaml.load(file, _Loader)  # noqa: S506 - a SafeLoader subclass
    except FileNotFoundError:
        raise ConfigError(str(path), [Problem("", "no such file")]) from None
    except yaml.YAMLError as error:
        raise ConfigError(str(path), [Problem("", f"not YAML: {_yaml_fault(error)}")]) from None
    except UnicodeDecodeError as error:
        problem = Problem("", f"not UTF-8 text: {error.reason} at byte {error.start:,}")
        raise ConfigError(str(path), [problem]) from None
    except OSError as error:
        raise ConfigError(str(path), [Problem("", f"not readable: {error.strerror}")]) from None


def json_schema(schema: type[Schema]) -> dict[str, Any]:
    """Describe a configuration for editors; descriptions are the sentences under the fields."""
    return schema.model_json_schema(schema_generator=_Described)


class _Described(GenerateJsonSchema):
    """Takes descriptions from the source, where they are asked for.

    pydantic's own way reads and parses every class's source when the class is made, which took a
    third of the time of importing a pipeline.
    """

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a model, and its fields by the sentences under them."""
        made = super().model_schema(schema)
        for one in schema["cls"].__mro__:
            for name, sentence in _sentences(one).items() if issubclass(one, Schema) else ():
                if name in made.get("properties", {}):
                    made["properties"][name].setdefault("description", sentence)
        return made


@cache
def _sentences(schema: type[Schema]) -> dict[str, str]:
    """Strings that follow the fields of a class in its source, by field."""
    source = ast.parse(textwrap.dedent(inspect.getsource(schema))).body[0]
    found: dict[str, str] = {}
    for above, below in pairwise(source.body if isinstance(source, ast.ClassDef) else ()):
        match above, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                value=ast.Constant(value=str(t))
            ):
                found[name] = inspect.cleandoc(t)
    return found


class _Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
    """SafeLoader that refuses a key given twice in one mapping."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
                continue
            key = self.construct_object(key_node)  # type: ignore[no-untyped-call,unused-ignore]
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _yaml_fault(error: Any) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


# --- overrides ------------------------------------------------------------------------------------


def _override(raw: dict[str, Any], text: str) -> Problem | None:
    """Apply one `key.path=value` to `raw` in place; list items go by index, `name` or `type`."""
    path, sep, value = text.partition("=")
    keys = path.split(".")
    if not sep or not all(keys):
        return Problem(text, "an override is written key.path=value")
    try:
        parsed = yaml.load(value, _Loader)  # noqa: S506 - a SafeLoader subclass
        _set(raw, keys, parsed)
    except yaml.YAMLError as error:
        return Problem(path, f"value {value!r} is not YAML: {_yaml_fault(error)}")
    except LookupError as error:
        return Problem(path, str(error.args[0]))
    return None


def _set(raw: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a value deep inside plain data; mappings on the way are made where nothing is.

    Raises LookupError with a sentence if the path leads through a value or to no list item.
    """
    node: Any = raw
    for depth, key in enumerate(keys):
        where = ".".join(keys[:depth])
        if not isinstance(node, (dict, list)):
            raise LookupError(f"{where} is {shown(node)}, it has no key {key!r}")  # noqa: TRY004
        at: Any = _list_position(node, key, where) if isinstance(node, list) else key
        if depth == len(keys) - 1:
            node[at] = value
        else:
            if isinstance(node, dict) and node.get(at) is None:
                node[at] = {}
            node = node[at]


def _list_position(items: list[Any], key: str, where: str) -> int:
    names = [
        str(i.get("name", i.get("type", n))) if isinstance(i, dict) else str(n)
        for n, i in enumerate(items)
    ]
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    if names.count(key) == 1:
        return names.index(key)
    if key in names:
        raise LookupError(f"{where} has {names.count(key)} items {key!r}; name one by its index")
    known = ", ".join(names) or "none"
    raise LookupError(f"{where} has no item {key!r}; it has {len(items)}: {known}")

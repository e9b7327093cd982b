"""Configuration: one frozen schema class per thing, YAML files, `key.path=value` overrides.

`load` reports every problem of a file at once, each with its dotted path and, for a misspelt name, what was probably
meant. Fields carry a sentence under them; the JSON schemas in `configs/schema/` are generated from those.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dolmix.errors import ConfigError, Problem

Frac = Annotated[float, Field(ge=0, le=1)]
"""A share in [0, 1]."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
"""A source, stage or filter name: `[a-z0-9][a-z0-9_-]*` (order specification, preamble)."""


class Schema(BaseModel):
    """Base of every configuration object: frozen, unknown keys refused, documented fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


S = TypeVar("S", bound=Schema)


def load(schema: type[S], path: str | Path, overrides: Sequence[str] = ()) -> S:
    """Read a YAML file, apply `key.path=value` overrides, and validate it as `schema`.

    Raises ConfigError with all problems at once.
    """
    return parse(schema, read_yaml(path), overrides, origin=str(path))


def parse(schema: type[S], raw: Any, overrides: Sequence[str] = (), *, origin: str) -> S:
    """Validate plain data (what YAML or JSON gave) as `schema`; `origin` names it in messages.

    Raises ConfigError with all problems at once.
    """
    if not isinstance(raw, dict):
        kind = "nothing" if raw is None else type(raw).__name__
        raise ConfigError(origin, [Problem("", f"expected a mapping of settings, found {kind}")])
    problems = [p for text in overrides if (p := _override(raw, text)) is not None]
    if problems:
        raise ConfigError(origin, problems)
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(origin, _explain(schema, raw, error)) from None


def read_yaml(path: str | Path) -> Any:
    """Read one YAML file; repeated keys are refused, since YAML would silently keep the last."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return yaml.load(file, _Loader)  # noqa: S506 - a SafeLoader subclass
    except FileNotFoundError:
        raise ConfigError(str(path), [Problem("", "no such file")]) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(str(path), [Problem("", f"not readable as YAML: {error}")]) from None


def json_schema(schema: type[Schema]) -> dict[str, Any]:
    """JSON schema of a configuration, for editors: descriptions are the sentences under the fields."""
    return schema.model_json_schema()


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, (str, int, float, bool)) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            if isinstance(key, (str, int, float, bool)):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


# --- overrides ---------------------------------------------------------------------------------------------------


def _override(raw: dict[str, Any], text: str) -> Problem | None:
    """Apply one `key.path=value` to `raw` in place; a list item is named by index, `name` or `type`."""
    path, sep, value = text.partition("=")
    keys = path.split(".")
    if not sep or not all(keys):
        return Problem(text, "an override is written key.path=value")
    try:
        parsed = yaml.load(value, _Loader)  # noqa: S506 - a SafeLoader subclass
    except yaml.YAMLError as error:
        return Problem(path, f"value {value!r} is not YAML: {error}")
    node: Any = raw
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            position = _list_position(node, key)
            if position is None:
                known = ", ".join(_item_names(node)) or "none"
                where = ".".join(keys[:depth])
                return Problem(path, f"{where} has no item {key!r}; it has {len(node)}: {known}")
            if last:
                node[position] = parsed
            else:
                node = node[position]
        elif isinstance(node, dict):
            if last:
                node[key] = parsed
            else:
                node = node.setdefault(key, {})
        else:
            return Problem(path, f"{'.'.join(keys[:depth])} is a value, it has no key {key!r}")
    return None


def _list_position(items: list[Any], key: str) -> int | None:
    if key.isdecimal():
        return int(key) if int(key) < len(items) else None
    names = _item_names(items)
    return names.index(key) if names.count(key) == 1 else None


def _item_names(items: list[Any]) -> list[str]:
    return [
        str(i.get("name", i.get("type", n))) if isinstance(i, dict) else str(n)
        for n, i in enumerate(items)
    ]


# --- explaining what pydantic found --------------------------------------------------------------------------------


def _explain(schema: type[Schema], raw: Any, error: ValidationError) -> list[Problem]:
    problems = []
    for item in error.errors(include_url=False):
        path, model = _locate(schema, raw, item["loc"])
        problems.append(Problem(".".join(path), _message(item, path, model)))
    return sorted(problems, key=lambda p: p.path)


def _message(item: Any, path: list[str], model: Any) -> str:
    kind, value, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + _did_you_mean(path[-1], _field_names(model))
    if kind == "union_tag_invalid":
        known = [t.strip().strip("'") for t in context["expected_tags"].split(",")]
        hint = _did_you_mean(str(context["tag"]), known) or f"; known: {', '.join(known)}"
        return f"unknown type {context['tag']!r}{hint}"
    if kind == "union_tag_not_found":
        return "'type' is missing: it says which one this is"
    if kind == "missing":
        return "required, but missing"
    if kind == "string_type" and isinstance(value, bool):
        return f"YAML reads this unquoted word as {value}: quote it"
    if kind == "string_type" and isinstance(value, (int, float)):
        return f"{value!r} is read as a number, text is wanted: quote it"
    if kind in {"float_parsing", "float_type"}:
        return f"{value!r} is not a number"
    if kind in {"int_parsing", "int_type", "int_from_float"}:
        hint = "; write it in digits, as 9_000_000_000" if "e" in str(value).lower() else ""
        return f"{value!r} is not a whole number{hint}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        expected = str(context["expected"])
        return f"{value!r} is not one of {expected}"
    text = str(item["msg"])
    return f"{value!r}: {text[0].lower()}{text[1:]}"


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _field_names(model: Any) -> list[str]:
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [f.alias or name for name, f in model.model_fields.items()]
    return []


def _locate(schema: type[Schema], raw: Any, loc: Sequence[int | str]) -> tuple[list[str], Any]:
    """Turn pydantic's location into the path in the file, and find the schema class that holds its last key.

    Pydantic's location also names union members; those are not in the file and are left out.
    """
    path: list[str] = []
    annotation: Any = schema
    holder: Any = schema
    node = raw
    for n, step in enumerate(loc):
        last = n == len(loc) - 1
        members = list(_members(annotation, node))
        in_file = (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        )
        expected = any(
            isinstance(m, type) and issubclass(m, BaseModel) and step in m.model_fields
            for m in members
        )
        if not in_file and not expected and isinstance(step, str) and (node is None or not last):
            continue
        if not in_file and not expected and isinstance(step, str) and path:
            continue  # a union member's tag at the very end
        path.append(str(step))
        holder = next(
            (m for m in members if isinstance(m, type) and issubclass(m, BaseModel)), None
        )
        annotation = _child(members, step)
        node = node[step] if in_file else None  # type: ignore[index]
    return path, holder


def _members(annotation: Any, node: Any) -> Iterator[Any]:
    """Yield the classes and containers that `annotation` may be, a tagged union narrowed by the tag in `node`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0], node)
    elif origin in {Union, types.UnionType}:
        options = [m for a in get_args(annotation) for m in _members(a, node)]
        tag = node.get("type") if isinstance(node, dict) else None
        tagged = [m for m in options if tag is not None and _tag(m) == tag]
        yield from tagged or options
    elif annotation is not type(None):
        yield annotation


def _tag(model: Any) -> Any:
    field = getattr(model, "model_fields", {}).get("type")
    if field is not None and get_origin(field.annotation) is Literal:
        return get_args(field.annotation)[0]
    return None


def _child(members: Sequence[Any], step: int | str) -> Any:
    for member in members:
        if isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get(str(step))
            if field is not None:
                return field.annotation
        elif get_origin(member) in {list, tuple, Sequence}:
            return get_args(member)[0]
        elif get_origin(member) in {dict, Mapping}:
            return get_args(member)[1]
    return None

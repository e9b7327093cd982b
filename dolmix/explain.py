"""What pydantic found wrong, in the words of the file: dotted paths and sentences.

Pydantic's locations also name members of unions, and it reports every member of a union that it
tried. Here each place of the file gets one problem, about the thing that its author most likely
meant.
"""

import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from dolmix.errors import Problem
from dolmix.settings import found, shown


def explain(schema: type[BaseModel], raw: Any, error: ValidationError) -> list[Problem]:
    """Word every problem of `raw` against `schema`, one a place, in the order of their paths."""
    items = error.errors(include_url=False)
    located = [(item, _locate(schema, raw, item["loc"])) for item in items]
    meant = [(item, place) for item, place in located if place.meant and not _is_echo(item)]
    return merged([Problem(_dotted(item, p), _message(item, p)) for item, p in meant or located])


def merged(*groups: Sequence[Problem]) -> list[Problem]:
    """Join lists of problems, one a place, the earlier list first, in the order of their paths."""
    by_path: dict[str, Problem] = {}
    for problem in (p for group in groups for p in group):
        by_path.setdefault(problem.path, problem)
    return sorted(by_path.values(), key=lambda p: p.path)


def misread_booleans(schema: type[BaseModel], raw: Any) -> list[Problem]:
    """Find Booleans where only numbers are allowed.

    YAML reads an unquoted yes, no, on or off as a Boolean, and pydantic takes that for 1 or 0.
    """
    return list(_misread(schema, raw, ()))


def _misread(annotation: Any, node: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    members = list(_members(annotation))
    allowed = [member.annotation for member in members]
    if isinstance(node, bool):
        if bool not in allowed and (int in allowed or float in allowed):
            sentence = f"YAML reads this unquoted word as {node}, but a number is wanted"
            yield Problem(".".join(path), sentence)
    elif isinstance(node, (dict, list)):
        holder = _meant(members, node)
        for step, item in node.items() if isinstance(node, dict) else enumerate(node):
            inner = _child(holder, step)
            if inner is not None:
                yield from _misread(inner, item, (*path, str(step)))


# --- wording --------------------------------------------------------------------------------------


def _dotted(item: Any, place: "_Place") -> str:
    if item["loc"][-1:] == ("[key]",):  # pydantic renames keys that are no strings
        return ".".join((*place.path[:-1], str(item["input"])))
    return ".".join(place.path)


def _is_echo(item: Any) -> bool:
    """Whether pydantic calls a list too short only because it left out the bad items."""
    least = item.get("ctx", {}).get("min_length", 0)
    return bool(item["type"] == "too_short" and len(item["input"]) >= least)


def _message(item: Any, place: "_Place") -> str:
    kind, value, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + _did_you_mean(place.path[-1], list(_fields(place.holder)))
    if kind in _WORDING:
        return _WORDING[kind](value, context)
    text = str(item["msg"])
    return f"{shown(value)}: {text[:1].lower()}{text[1:]}"


def _unknown_tag(_value: Any, context: Any) -> str:
    known = re.findall(r"'([^']*)'", context["expected_tags"])
    hint = _did_you_mean(str(context["tag"]), known) or f"; known: {', '.join(known)}"
    return f"unknown type {context['tag']!r}{hint}"


def _not_text(value: Any, _context: Any) -> str:
    if isinstance(value, bool):
        return f"YAML reads this unquoted word as {value}: quote it"
    if isinstance(value, (int, float, date)):
        kind = "a date" if isinstance(value, date) else "a number"
        return f"{value} is read as {kind}, text is wanted: quote it"
    return f"expected text, {found(value)}"


def _not_whole(value: Any, _context: Any) -> str:
    hint = ""
    # YAML 1.1 reads 9e9 as text.
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d{1,2}", value):
        hint = f"; write it in digits, as {int(float(value)):_}"
    return f"{shown(value)} is not a whole number{hint}"


def _no_mapping(value: Any, _context: Any) -> str:
    return f"expected a mapping of settings, {found(value)}"


def _no_list(value: Any, _context: Any) -> str:
    return f"expected a list, {found(value)}"


def _no_number(value: Any, _context: Any) -> str:
    return f"{shown(value)} is not a number"


_WORDING: dict[str, Callable[[Any, Any], str]] = {
    "dict_type": _no_mapping,
    "finite_number": _no_number,
    "float_parsing": _no_number,
    "float_type": _no_number,
    "int_from_float": _not_whole,
    "int_parsing": _not_whole,
    "int_type": _not_whole,
    "list_type": _no_list,
    "literal_error": lambda value, c: f"{shown(value)} is not one of {c['expected']}",
    "mapping_type": _no_mapping,
    "missing": lambda *_: "required, but missing",
    "model_attributes_type": _no_mapping,
    "model_type": _no_mapping,
    "string_type": _not_text,
    "tuple_type": _no_list,
    "union_tag_invalid": _unknown_tag,
    "union_tag_not_found": lambda *_: "'type' is missing: it says which one this is",
    "value_error": lambda _, context: str(context["error"]),
}
"""By pydantic's name of the error: the sentence, from the value and the error's context."""


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


# --- walking a schema beside the data -------------------------------------------------------------


class _Place(NamedTuple):
    """Where in the file a problem is."""

    path: tuple[str, ...]
    holder: Any
    """Class that holds the last key, None where that is no schema."""
    meant: bool
    """Whether the value was meant as the union member that the problem speaks of."""


class _Member(NamedTuple):
    """One thing that an annotation allows, and what pydantic calls it in a location."""

    label: str | None
    annotation: Any


def _locate(schema: type[BaseModel], raw: Any, loc: Sequence[int | str]) -> _Place:
    """Turn pydantic's location, which also names members of unions, into the path in the file."""
    path: list[str] = []
    annotation: Any = schema
    holder: Any = None
    node, meant = raw, True
    for step in loc:
        members = list(_members(annotation))
        if len(members) > 1:
            annotation, fits = _choose(members, str(step), node)
            meant = meant and fits
            continue
        holder = members[0].annotation if members else None
        annotation = _child(holder, step)
        path.append(str(step))
        node = _item(node, step)
    if loc[-1:] == ("[key]",):  # it follows the key itself
        path.pop()
    return _Place(tuple(path), holder, meant)


def _members(annotation: Any, label: str | None = None) -> Iterator[_Member]:
    """Yield what an annotation allows, unions flattened and None left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *notes = get_args(annotation)
        tag = next((note.tag for note in notes if isinstance(note, Tag)), label)
        yield from _members(inner, tag)
    elif origin in {Union, types.UnionType}:
        for option in get_args(annotation):
            yield from _members(option, label)
    elif annotation is not type(None):
        yield _Member(label or _type_tag(annotation), annotation)


def _choose(members: Sequence[_Member], label: str, node: Any) -> tuple[Any, bool]:
    """Pick the member of a union that a location names, and tell whether the value was meant as it.

    Where a tag chooses, pydantic reports on that member alone. Elsewhere it reports on each member:
    a mapping was meant as the schema that shares most keys with it, anything else as no schema.
    """
    for member in members:
        if member.label == label:
            return member.annotation, True
    schemas = [m.annotation for m in members if _is_schema(m.annotation)]
    others = [m.annotation for m in members if not _is_schema(m.annotation)]
    named = next((s for s in schemas if s.__name__ == label), None)
    if isinstance(node, dict) and schemas:
        return named, named is _meant(members, node)
    if named is not None:
        return named, not others and named is schemas[0]
    holds_items = label.partition("[")[0] in {"list", "tuple", "dict"}
    origins = {list, tuple, Sequence, dict, Mapping} if holds_items else {None}
    chosen = next((a for a in others if get_origin(a) in origins), None)
    return chosen, holds_items == isinstance(node, (list, dict))


def _meant(members: Sequence[_Member], node: dict[Any, Any] | list[Any]) -> Any:
    """Member of a union that a mapping or a list was meant as; None if it fits none."""
    if isinstance(node, list):
        kinds = {list, tuple, Sequence}
        return next((m.annotation for m in members if get_origin(m.annotation) in kinds), None)
    tagged = [m.annotation for m in members if m.label is not None and m.label == node.get("type")]
    schemas = tagged or [m.annotation for m in members if _is_schema(m.annotation)]
    if schemas:
        return max(schemas, key=lambda s: len(_fields(s).keys() & node.keys()))
    return next((m.annotation for m in members if _is_mapping(m.annotation)), None)


def _child(holder: Any, step: int | str) -> Any:
    """Annotation of what a schema, a list or a mapping holds at one step."""
    if _is_schema(holder):
        field = _fields(holder).get(str(step))
        return None if field is None else field.annotation
    inner = get_args(holder)
    origin = get_origin(holder)
    if _is_mapping(holder):
        return inner[1]
    if origin is tuple and Ellipsis not in inner and isinstance(step, int):
        return inner[step] if step < len(inner) else None
    return inner[0] if origin in {list, tuple, Sequence} else None


def _item(node: Any, step: int | str) -> Any:
    if isinstance(node, dict):
        return node.get(step)
    inside = isinstance(node, (list, tuple)) and isinstance(step, int) and step < len(node)
    return node[step] if inside else None


def _is_schema(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) in {dict, Mapping}


def _fields(model: Any) -> dict[str, Any]:
    if not _is_schema(model):
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _type_tag(annotation: Any) -> str | None:
    """Value of a schema's `type: Literal[...]`, which tells it from others of a union."""
    field = _fields(annotation).get("type")
    if field is not None and get_origin(field.annotation) is Literal:
        return str(get_args(field.annotation)[0])
    return None

"""Settings as a file and a command line give them: YAML, and `key.path=value` overrides.

Nothing here knows what the settings mean (`dolmix.config`), nor needs more than PyYAML, so that a
command can look at its file before it loads anything else.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

from dolmix.errors import ConfigError, Problem

_LONGEST = 60
"""Characters of a value that a message shows."""


def read_settings(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply `key.path=value` overrides, without validating what it says.

    Raises ConfigError for a file that is no mapping in YAML, and for overrides that fit nothing.
    """
    return overridden(read_yaml(path), overrides, origin=str(path))


def overridden(raw: Any, overrides: Sequence[str], *, origin: str) -> dict[str, Any]:
    """Apply overrides to settings, which are left as they are; `origin` names them in messages.

    Raises ConfigError for what is no mapping, and for overrides that fit nothing.
    """
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


def found(value: Any) -> str:
    """Say what stands where something else was expected."""
    if value is None:
        return "found nothing"
    kinds = {"dict": "a mapping", "list": "a list", "tuple": "a list", "str": "text"}
    kind = type(value).__name__
    return f"found {kinds.get(kind, kind)} {shown(value)}"


def shown(value: Any) -> str:
    """Show a value as a message does: its repr, cut to a line."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


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

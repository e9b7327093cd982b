"""Configuration: one frozen schema class per thing, loaded from YAML files and plain data.

`load` reports every problem of a file at once, each with its dotted path and, for a misspelt name,
what was probably meant. Fields carry a sentence under them; the JSON schemas in `configs/schema/`
are generated from those.
"""

import ast
import inspect
import textwrap
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic.json_schema import GenerateJsonSchema

from dolmix.errors import ConfigError
from dolmix.explain import explain, merged, misread_booleans
from dolmix.settings import overridden, read_yaml

__all__ = ["Frac", "Name", "Schema", "json_schema", "load", "parse", "read_yaml"]

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
    raw = overridden(raw, overrides, origin=origin)
    problems = misread_booleans(schema, raw)
    try:
        loaded = schema.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(origin, merged(explain(schema, raw, error), problems)) from None
    if problems:
        raise ConfigError(origin, problems)
    return loaded


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

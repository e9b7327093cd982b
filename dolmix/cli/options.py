"""Argument and option types shared by the commands, each defined once."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings that replace those of the file."),
]
StoreDir = Annotated[Path, typer.Argument(metavar="STORE", help="Store directory, name@version.")]
MixFile = Annotated[Path, typer.Argument(metavar="MIX", help="Mix file (YAML).")]
LockFile = Annotated[Path, typer.Argument(metavar="LOCK", help="Resolved mix (lock.json).")]
PipelineFile = Annotated[Path, typer.Argument(metavar="PIPELINE", help="Pipeline file (YAML).")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of `dolmix run`.")]

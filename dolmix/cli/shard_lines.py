"""Lines that `dolmix shards` prints of a store, its parts, and what is derived from it."""

from collections.abc import Iterator
from typing import Any

IDS_A_LINE = 8
"""As many as `dolmix.shards.show` decodes together."""


def shown_lines(value: dict[str, Any]) -> list[str]:
    """Lines of a manifest, a document, an instance or a span."""
    if "format" in value:
        return manifest_lines(value)
    if "instance" in value:
        head = _instance_lines(value)
    elif "columns" in value:
        head = _document_lines(value)
    else:
        head = [f"{value['store']}   tokens [{value['start']:,}, {value['stop']:,})"]
    for run in value["runs"]:
        head += ["", _run_line(run), *side_by_side(run)]
    return head


def _instance_lines(value: dict[str, Any]) -> list[str]:
    number = f"instance {value['instance']:,} of {value['instances']:,}"
    return [
        f"{number}   {value['packing']}, {value['sequence_length']:,} tokens",
        f"  labels {value['labels']:,}, padding {value['padding']:,}",
    ]


def _run_line(run: dict[str, Any]) -> str:
    start, stop = run["document_start"], run["document_start"] + len(run["tokens"])
    part = f"tokens [{start:,}, {stop:,}) of {run['num_tokens']:,}"
    return f"document {run['document']:,}   {run['id']}   {part}"


def side_by_side(run: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a run: place, some ids, and what they say."""
    ids, texts = run["tokens"], run.get("lines", [])
    width = 1 + max((len(str(n)) for n in ids), default=1)
    for number, first in enumerate(range(0, len(ids), IDS_A_LINE)):
        some = "".join(str(n).rjust(width) for n in ids[first : first + IDS_A_LINE])
        text = f"  {texts[number]!r}" if texts else ""
        yield f"{run['at'] + first:>10,} {some.ljust(width * IDS_A_LINE)}{text}".rstrip()


def derived_lines(made: list[dict[str, Any]]) -> list[str]:
    """Return a line for each thing made: kind, path, counts, digest."""
    lines = []
    for entry in made:
        counts = ", ".join(f"{name} {n:,}" for name, n in entry["counts"].items())
        lines.append(f"{entry['kind']:<8} {entry['path']}   {counts}   {entry['digest'][:7]}")
    return lines


def manifest_lines(manifest: dict[str, Any]) -> list[str]:
    """Return the numbers of a manifest."""
    totals, tokenizer = manifest["totals"], manifest["tokenizer"]
    lengths = " ".join(f"{name} {n:,}" for name, n in manifest["length_quantiles"].items())
    return [
        f"{manifest['source']}@{manifest['version']}   {manifest['format']}",
        f"  tokens     {totals['tokens']:,} {manifest['dtype']}, {totals['unk_tokens']:,} unknown",
        f"  documents  {totals['documents']:,}, of {totals['bytes']:,} bytes of text",
        f"  lengths    {lengths or 'none'}",
        f"  shards     {len(manifest['shards']):,}",
        f"  parents    {len(manifest['parents']):,} input files",
        f"  tokenizer  {tokenizer['digest'][:7]}, largest id {tokenizer['largest_id']:,}",
        f"  EOS        {tokenizer['eos']} = {tokenizer['eos_id']:,}",
        f"  specials   {manifest['special_in_text']} in text",
        f"  content    {manifest['content_hash']}",
    ]


def _document_lines(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"document {entry['document']:,}   {entry['id']}",
        f"  from     {entry['path']}, record {entry['record']:,}",
        f"  url      {entry['url'] or '-'}",
        f"  tokens   {entry['num_tokens']:,} at [{entry['start']:,}, {entry['stop']:,})",
        *(f"  {name}  {value}" for name, value in entry["columns"].items()),
    ]
    return [*lines, "", entry["text"]] if "text" in entry else lines

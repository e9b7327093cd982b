"""How fast the whole way is, files in and shards out, beside datatrove on the same steps.

    python scripts/bench_pipeline.py [--corpus FOLDER] [--size 400] [--slice 20] [--rounds 3]
                                     [--only exact|defaults] [--growth] [--json FILE]

The input is the corpus and copies of it in other words (bench_corpus.py). dolmix runs on all of it,
datatrove 0.10.1 on a slice that is spread over the same documents, in turns: reader, language,
Gopher repetition and quality, MinHash 14 x 8, tokens; two workers each. `exact` takes datatrove's
decisions (presets datatrove-0.10), and what is dropped, for which reason, and the tokens of what is
left are compared with datatrove's on the slice; `defaults` is dolmix's own definitions.

MB are 10**6 bytes of UTF-8 text of the documents read. A run is a process of its own: its wall
time, the processor time of it and of all its workers, and the peak of their memory. Start-up is
the same run on a few documents. Two workers are held against one, in turns; how much more two
processors do than one on this machine is told by two runs at once, of one worker each. With
--growth, one run each by two workers and by one on 100, 400 and 1,600 MB instead.
"""

import argparse
import gzip
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import bench_table
import bench_texts
import yaml
from bench_corpus import Input, corpus_records, write_copies, write_slice
from bench_process import Measured, measured
from datatrove_run import (  # found on the path that bench_table sets
    SETTINGS,
    differences,
    our_verdicts,
    pipeline_of,
    read_verdicts,
    run_datatrove,
)

from dolmix.pipeline.plan import read_plan
from dolmix.pipeline.records import RecordBook

WORKERS = 2
TINY_MB = 0.25
GROWTH_MB = (100, 400, 1600)
REACH = {"exact": (12.0, 40.0), "defaults": (20.0, 60.0)}
"""MB/s/core, and times datatrove's."""
REACH_SCALING = 1.85
REACH_PEAK_MB = 1000.0
REACH_IDLE_S = 2.0
SHOWN = 5


@dataclass(frozen=True)
class Bench:
    """Where everything is."""

    folder: Path
    whole: Input
    slice: Input
    tiny: Input
    tokenizer: Path
    model: Path

    def dolmix(self, setting: str, given: Input, workers: int = WORKERS) -> Measured:
        """Run dolmix from nothing."""
        return measured(self.command(setting, given, workers))

    def at_once(self, setting: str, given: Input) -> Measured:
        """Run dolmix from nothing as often as there are workers, one worker each, all at once."""
        runs = [self.command(setting, given, 1, f"-{n}") for n in range(WORKERS)]
        started = (f"{shlex.join(run)} & p{n}=$!;" for n, run in enumerate(runs))
        ended = " && ".join(f"wait $p{n}" for n in range(len(runs)))
        return measured(["bash", "-c", " ".join([*started, ended])])

    def again(self, setting: str) -> Measured:
        """Run dolmix once more on what is there."""
        return measured(self._run(setting, WORKERS, ""))

    def command(self, setting: str, given: Input, workers: int, about: str = "") -> list[str]:
        """Prepare a run from nothing, and give its command."""
        output = self.output(setting + about)
        shutil.rmtree(output, ignore_errors=True)
        raw = pipeline_of(setting, given.files, output, self.model, self.tokenizer)
        self.pipeline(setting + about).write_text(yaml.safe_dump(raw))
        return self._run(setting, workers, about)

    def _run(self, setting: str, workers: int, about: str) -> list[str]:
        settings = [str(self.pipeline(setting + about)), f"executor.workers={workers}"]
        return [sys.executable, "-m", "dolmix", "run", *settings]

    def datatrove(self, given: Input) -> Measured:
        """Run datatrove from nothing."""
        shutil.rmtree(self.folder / "datatrove", ignore_errors=True)
        place = [given.files[0].parent, self.folder / "datatrove", self.model, self.tokenizer]
        return measured([sys.executable, __file__, "--peer", *map(str, place)])

    def output(self, setting: str) -> Path:
        """Folder of a setting's run."""
        return self.folder / f"run-{setting}"

    def pipeline(self, setting: str) -> Path:
        """Pipeline file of a setting."""
        return self.folder / f"{setting}.yaml"


def main() -> None:
    """Measure, print a table, and write its rows as JSON if asked."""
    arguments = parse()
    if arguments.peer:
        inputs, work, model, tokenizer = arguments.peer
        run_datatrove(inputs, work, model, tokenizer, WORKERS)
        return
    print(bench_texts.machine(), file=sys.stderr)
    sizes = GROWTH_MB if arguments.growth else (arguments.size,)
    benches = list(prepare(arguments, sizes))
    settings = [name for name in SETTINGS if name in arguments.only]
    rows = (
        growth(benches, settings) if arguments.growth else measure(benches[0], settings, arguments)
    )
    bench_table.write(list(bench_table.printed(rows)), arguments.json)


def prepare(arguments: argparse.Namespace, sizes: tuple[float, ...]) -> Iterator[Bench]:
    """Write the input of each size, unless it is there."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = arguments.folder / "tokenizer.json"
    tokenizer.write_bytes(gzip.decompress(arguments.tokenizer.read_bytes()))
    records = corpus_records(arguments.corpus)
    for size in sizes:
        folder = arguments.folder / f"{size:g}"
        whole = write_copies(folder / "whole", records, size)
        part = write_slice(folder / "slice", whole.files, arguments.slice, WORKERS)
        tiny = write_slice(folder / "tiny", whole.files, TINY_MB, WORKERS)
        yield Bench(folder, whole, part, tiny, tokenizer, arguments.model)


def measure(
    bench: Bench, settings: list[str], arguments: argparse.Namespace
) -> Iterator[bench_table.Row]:
    """Run everything in turns, `rounds` times, then tell."""
    ours: dict[str, list[Measured]] = {name: [] for name in settings}
    alone: dict[str, list[Measured]] = {name: [] for name in settings}
    peers: list[Measured] = []
    first = {name: bench.dolmix(name, bench.tiny) for name in settings}  # compiles
    starts = {name: bench.dolmix(name, bench.tiny) for name in settings}
    peer_start = bench.datatrove(bench.tiny) if arguments.rounds else None
    for _ in range(max(1, arguments.rounds)):
        for name in settings:
            if arguments.rounds:
                alone[name].append(bench.dolmix(name, bench.whole, 1))
            ours[name].append(bench.dolmix(name, bench.whole))
        if arguments.rounds:
            peers.append(bench.datatrove(bench.slice))
    for name in settings:
        size, start = bench.whole.text_bytes / 1e6, starts[name]
        steps = step_seconds(bench.output(name))
        yield from speed_rows(name, (ours[name], size, start), peers, bench, peer_start)
        yield from step_rows(name, steps)
        yield row(f"{name}: peak memory of a worker", worst(ours[name]), "MB", REACH_PEAK_MB)
        together = max(one.peak_together_mb for one in ours[name])
        yield row(f"{name}: peak memory, all processes", together, "MB")
        yield row(f"{name}: a run with nothing to do", bench.again(name).wall_s, "s", REACH_IDLE_S)
        yield row(f"{name}: start-up, first run of an installation", first[name].wall_s, "s")
        if arguments.rounds:
            yield from scaling_rows(name, bench, ours[name], alone[name])
    if peers:
        yield row("datatrove: peak memory of a worker", worst(peers), "MB")
    if peers and "exact" in settings:
        yield check(bench)


def speed_rows(
    name: str,
    own: tuple[list[Measured], float, Measured],
    peers: list[Measured],
    bench: Bench,
    peer_start: Measured | None,
) -> Iterator[bench_table.Row]:
    """Give MB/s/core by wall time, without start-up too, and by processor time."""
    runs, size, start = own
    small = bench.slice.text_bytes / 1e6
    clocks = {
        "": ("wall_s", WORKERS, False),
        ", start-up taken off": ("wall_s", WORKERS, True),
        ", by processor time": ("cpu_s", 1, False),
        ", by processor time, start-up taken off": ("cpu_s", 1, True),
    }

    def speed(
        size: float, run: Measured, less: Measured | None, how: tuple[str, int, bool]
    ) -> float:
        clock, cores, taken_off = how
        begun = getattr(less, clock) if taken_off else 0.0
        return size / cores / (getattr(run, clock) - begun)

    for about, how in clocks.items():
        mine = [speed(size, run, start, how) for run in runs]
        beside = [speed(small, run, peer_start, how) for run in peers]
        found = row(f"{name}: files to shards{about}", median(mine), "MB/s/core", runs=mine)
        if beside:
            ratio = median(a / b for a, b in zip(mine, beside, strict=True))
            found |= {"peer": "datatrove", "peer_value": median(beside), "ratio": ratio}
            found |= {"peer_runs": beside}
        if not about:
            found["reach"] = REACH[name]
        yield found


def scaling_rows(
    name: str, bench: Bench, ours: list[Measured], alone: list[Measured]
) -> Iterator[bench_table.Row]:
    """Give how much faster two workers are than one, and what two processors can do at all."""
    ratios = [one.wall_s / both.wall_s for one, both in zip(alone, ours, strict=True)]
    found = row(f"{name}: 2 workers beside 1", median(ratios), "times", REACH_SCALING)
    yield found | {"runs": ratios}
    one = min(run.wall_s for run in alone)
    twice = min(bench.at_once(name, bench.whole).wall_s for _ in range(2))
    yield row(f"{name}: 2 runs at once beside 1, one worker each", WORKERS * one / twice, "times")


def step_rows(name: str, steps: dict[str, float]) -> Iterator[bench_table.Row]:
    """Give each step's share of the time of all tasks."""
    total = sum(steps.values())
    for step, seconds in steps.items():
        yield row(f"{name}: share of {step}", 100 * seconds / total, "%", seconds=seconds)


def step_seconds(run: Path) -> dict[str, float]:
    """Seconds of all tasks of a finished run, by pass, and by step within a pass."""
    plan, book = read_plan(run), RecordBook(run)
    found: Counter[str] = Counter()
    for name, tasks in plan.passes.items():
        for task in tasks:
            record = book.read(name, task.key)
            steps = getattr(record, "steps", {})
            found[name] += max(0.0, record.seconds - sum(steps.values()))  # threads add up
            for step, seconds in steps.items():
                found[f"{name}, {step}"] += seconds
    return dict(found)


def check(bench: Bench) -> bench_table.Row:
    """Compare all decisions on the slice, as datatrove's last run left them."""
    bench.dolmix("exact", bench.slice)
    ours, theirs = our_verdicts(bench.output("exact")), read_verdicts(bench.folder / "datatrove")
    found = list(differences(ours, theirs))
    for line in found[:SHOWN]:
        print(f"  {line}", file=sys.stderr)
    about = {
        "dropped": len(theirs.dropped),
        "repeated": len(theirs.repeated),
        "survivors": len(theirs.tokens),
        "tokens": sum(map(len, theirs.tokens.values())),
    }
    print(f"  compared with datatrove: {about}", file=sys.stderr)
    return row("exact: documents decided otherwise than by datatrove", len(found), "", **about)


def growth(benches: list[Bench], settings: list[str]) -> Iterator[bench_table.Row]:
    """Run each size once by two workers and once by one: time a MB, memory, times as fast."""
    for name in settings:
        benches[0].dolmix(name, benches[0].tiny)
        start = benches[0].dolmix(name, benches[0].tiny)
        for bench in benches:
            run, size = bench.dolmix(name, bench.whole), bench.whole.text_bytes / 1e6
            about = f"{name}: {size:,.0f} MB"
            yield row(f"{about}, time a MB", 1000 * run.wall_s / size, "ms", cpu_s=run.cpu_s)
            less = run.wall_s - start.wall_s
            yield row(f"{about}, time a MB, start-up taken off", 1000 * less / size, "ms")
            yield row(f"{about}, peak memory of a worker", run.peak_mb, "MB")
            alone = bench.dolmix(name, bench.whole, 1)
            yield row(f"{about}, 2 workers beside 1", alone.wall_s / run.wall_s, "times")


def worst(runs: list[Measured]) -> float:
    """Largest peak of a process."""
    return max(run.peak_mb for run in runs)


def row(name: str, value: float, unit: str, reach: float | None = None, **more: Any) -> Any:
    """Make a row of the table."""
    goal = {} if reach is None else {"reach": reach}
    return {"name": name, "value": value, "unit": unit, **goal, **more}


def parse() -> argparse.Namespace:
    """Read the command line."""
    shared, here = bench_texts.shared_folder(), bench_texts.ROOT
    neox = shared.parent / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json.gz"
    model = here / "models" / "lid.176.ftz"
    work = Path(tempfile.gettempdir()) / "dolmix-bench-pipeline"
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--corpus", type=Path, default=shared, help="folder of .jsonl, .parquet")
    parser.add_argument("--size", type=float, default=400, help="MB of text of the whole input")
    parser.add_argument("--slice", type=float, default=20, help="MB of it for datatrove")
    parser.add_argument("--rounds", type=int, default=3, help="0: dolmix alone, once")
    parser.add_argument("--only", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--growth", action="store_true", help="100, 400 and 1,600 MB instead")
    parser.add_argument("--folder", type=Path, default=work, help="where inputs and runs are kept")
    parser.add_argument("--tokenizer", type=Path, default=neox, help="tokenizer.json.gz")
    parser.add_argument("--model", type=Path, default=model, help="language model")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--peer", type=Path, nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""`dolmix order` as a user runs it: JSON, tables, exit codes."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import mix_stores
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import environment

from dolmix.cli import main
from dolmix.mix import read_lock
from dolmix.order import CHAIN_START, Batches, chain, row_digests
from dolmix.shards import StoreWriter


class Ran(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def order(
    lock_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run `dolmix order ...` in the folder of the small mix."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["dolmix", "order", *words])
        code = main.run_cli()
        return Ran(code, *capsys.readouterr())

    return run


LOCK = "small.lock.json"


def test_show_prints_a_row_of_the_table_a_piece(order: Run) -> None:
    """The batch as a table, whole text: what a change of it must touch."""
    assert order("show", LOCK, "--step", "3").out == BATCH
    assert order("show", LOCK, "--step", "3", "--instances", "--rank", "1", "--world", "2").out == (
        "place  source  epoch  instance\n    1  code        0         6\n"
        "    3  web         0        49\n"
    )


BATCH = """\
place  source  epoch  instance  tokens  document  from          id      url
    0  web         0        53  0:13          35  web.jsonl:35  web-35  https://example.org/35
    0  web         0        53  13:17         36  web.jsonl:36  web-36  https://example.org/36
    1  code        0         6  0:7            1  code.jsonl:1  code-1  https://example.org/1
    1  code        0         6  7:16           2  code.jsonl:2  code-2  https://example.org/2
    1  code        0         6  16:17          3  code.jsonl:3  code-3  https://example.org/3
    2  web         0        51  0:17          35  web.jsonl:35  web-35  https://example.org/35
    3  web         0        49  0:1           33  web.jsonl:33  web-33  https://example.org/33
    3  web         0        49  1:17          34  web.jsonl:34  web-34  https://example.org/34
"""


def test_show_in_json(order: Run) -> None:
    """A row a place, its documents with id, url and span; tokens or text only where asked for."""
    told = json.loads(order("show", LOCK, "--step", "3", "--json").out)
    assert list(told) == ["step", "rows"]
    row = told["rows"][1]
    documents = row.pop("documents")
    assert row == {"place": 1, "k": 9, "source": "code", "epoch": 0, "instance": 6}
    assert documents[2] == {
        "document": 3, "id": "code-3", "url": "https://example.org/3", "path": "code.jsonl",
        "record": 3, "start": 16, "stop": 17, "document_start": 0,
    }  # fmt: skip
    places = json.loads(order("show", LOCK, "--step", "3", "--instances", "--json").out)
    assert places["rows"][1] == row
    texts = json.loads(order("show", LOCK, "--step", "3", "--text", "--json").out)
    (tokens,) = texts["rows"][1]["documents"][2]["tokens"]
    printed = order("show", LOCK, "--step", "3", "--text").out.splitlines()
    assert printed[8] == ("== place 1, code epoch 0, instance 6, tokens 16:17: code.jsonl:3 code-3")
    assert printed[9] == str(tokens)


def test_find_tells_past_from_future(order: Run) -> None:
    """One headline a document, one line a sighting, and at a step which of them are done."""
    assert order("find", LOCK, "--doc", "web-3", "--at", "20").out == FOUND
    (told,) = json.loads(order("find", LOCK, "--doc", "web-3", "--at", "20", "--json").out)
    sightings = told.pop("sightings")
    assert told == {
        "source": "web", "document": 3, "id": "web-3", "url": "https://example.org/3",
        "path": "web.jsonl", "record": 3, "num_tokens": 23, "left_out_tokens": 0,
        "status": "trained",
    }  # fmt: skip
    assert sightings[3] == {
        "stage": "main", "step": 25, "place": 0, "epoch": 1, "instance": 4, "start": 0, "stop": 2,
        "document_start": 21, "when": "future",
    }  # fmt: skip


FOUND = """\
web document 3 (web.jsonl:3, 23 tokens): trained, 4 times: 3 past, 1 to come
stage  step  place  epoch  instance  row tokens  document from  when
main     14      3      0         2  11:17                   0  past
main     15      3      0         4  0:2                    21  past
main     17      0      0         3  0:17                    5  past
main     25      0      1         4  0:2                    21  future
"""


def test_find_by_url_and_by_text_of_a_file_or_stdin(
    order: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A url and a text lead to the documents that their ids lead to."""
    write_texts(Path("stores"), "web", ["one", "two words"], version=2)
    Path("text.yaml").write_text(
        Path("small.yaml").read_text().replace("web@1, max_epochs: 4", "web@2, max_epochs: 999")
    )
    monkeypatch.setattr("sys.argv", ["dolmix", "mix", "resolve", "text.yaml"])
    assert main.run_cli() == 0
    order("find", LOCK, "--doc", "x")  # empties what was printed
    by_id = order("find", "text.lock.json", "--doc", "web-1", "--json")
    source = ("--source", "web", "--json")
    assert order("find", "text.lock.json", "--url", "https://example.org/1", *source) == by_id
    Path("doc.txt").write_text("two words")
    assert order("find", "text.lock.json", "--text", "doc.txt", *source) == by_id
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"two words")))
    assert order("find", "text.lock.json", "--text", "-", *source) == by_id
    Path("doc.txt").write_bytes(b"two words\n")
    ran = order("find", "text.lock.json", "--text", "doc.txt", *source)
    assert (ran.code, ran.out) == (1, "")
    assert "newline at the end" in ran.err


def write_texts(folder: Path, source: str, texts: list[str], *, version: int) -> None:
    """Commit a store of long enough documents that keeps the hashes of these texts."""
    keys = [int.from_bytes(blake2b(t.encode(), digest_size=8).digest(), "little") for t in texts]
    size = len(texts)
    rows = pa.table(
        {
            "id": [f"{source}-{n}" for n in range(size)],
            "url": [f"https://example.org/{n}" for n in range(size)],
            "path": [f"{source}.jsonl"] * size,
            "record": pa.array(range(size), pa.int64()),
            "text_hash": pa.array(keys, pa.uint64()),
        }
    )
    tokens = np.tile(np.arange(20, dtype=np.int64)[::-1], size)
    with StoreWriter(
        folder / f"{source}@{version}", source=source, version=version, tokenizer=mix_stores.pin(),
        special_in_text="plain", parents=[],
    ) as writer:  # fmt: skip
        writer.append(tokens, np.full(size, 20, np.int64), rows, sum(map(len, texts)))
        writer.commit()


def test_stats_as_text_and_json(order: Run) -> None:
    """Totals, stages, then a line a source; JSON holds the same, unrounded."""
    assert order("stats", LOCK, "--steps", "20:30").out == STATS
    told = json.loads(order("stats", LOCK, "--steps", "20:30", "--json").out)
    sources = told.pop("sources")
    assert told == {
        "first_step": 20, "last_step": 29, "instances": 40, "tokens": 640, "unique_documents": 35,
        "stages": [
            {"name": "main", "first_step": 20, "last_step": 25, "instances": 24},
            {"name": "anneal", "first_step": 26, "last_step": 29, "instances": 16},
        ],
    }  # fmt: skip
    assert sources["web"] == {
        "instances": 26, "tokens": 416, "share": 0.65, "target_share": 0.62,
        "unique_instances": 22, "repeats": 4, "unique_documents": 23, "documents": 40,
        "epochs": 26 / 58, "first_epoch": 0, "last_epoch": 1,
    }  # fmt: skip


STATS = """\
steps 20 to 29: 40 instances, 640 tokens, 35 documents
  main: steps 20 to 25, 24 instances
  anneal: steps 26 to 29, 16 instances
source  share    target   instances  unique  repeats  documents  epochs  epoch numbers
code    20.000%  22.000%          8       7        1          7  0.276   0 to 0
docs    15.000%  16.000%          6       5        1          5  0.300   0 to 0
web     65.000%  62.000%         26      22        4         23  0.448   0 to 1
"""


def test_diff_shows_the_rows_of_the_first_step_that_differs(
    order: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings with both values, the step, and which of its places hold other instances."""
    assert order("diff", LOCK, LOCK).out == "same order\n"
    monkeypatch.setattr("sys.argv", ["dolmix", "mix", "resolve", "small.yaml",
                                     "stages.anneal.weights.code=1", "-o", "b.json"])  # fmt: skip
    assert main.run_cli() == 0
    order("diff", LOCK, LOCK)
    printed = order("diff", LOCK, "b.json").out.splitlines()
    told = json.loads(order("diff", LOCK, "b.json", "--json").out)
    assert told["first_differing_step"] == 26
    assert told["step_stages"] == ["anneal", "anneal"]
    places = [
        json.loads(order("show", lock, "--step", "26", "--instances", "--json").out)["rows"]
        for lock in (LOCK, "b.json")
    ]
    pairs = [
        [{key: row[key] for key in ("source", "epoch", "instance")} for row in pair]
        for pair in zip(*places, strict=True)
    ]
    expected = [{"place": n, "of": pair} for n, pair in enumerate(pairs) if pair[0] != pair[1]]
    assert told["places"] == expected
    assert "first differing step: 26" in printed
    assert len(printed) == printed.index("first differing step: 26") + 2 + len(expected)


def test_verify_exits_1_where_a_chain_differs(order: Run) -> None:
    """An honest log exits 0; a forged one exits 1, names the step, and JSON says the same."""
    links = [CHAIN_START]
    with Batches(LOCK) as batches:
        for step in range(1, 13):
            links.append(chain(links[-1], row_digests(batches.tokens(step))))
    lines = [{"step": n, "chain": links[n].hex()} for n in range(1, 13)]
    Path("run").mkdir()
    log = Path("run/metrics.jsonl")
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = order("verify", "run", "--lock", LOCK)
    hash_start = read_lock(LOCK).order_hash[:7]
    assert ran == (0, f"run: steps 1 to 12 trained on order {hash_start}, 12 chains agree\n", "")
    lines[6]["chain"] = "ab" * 16
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = order("verify", str(log), "--lock", LOCK, "--steps", "5:")
    assert ran.code == 1
    assert "run/metrics.jsonl: step 7 trained on other tokens" in ran.out
    ran = order("verify", "run", "--lock", LOCK, "--json")
    assert ran.code == 1
    assert json.loads(ran.out) == {
        "order_hash": read_lock(LOCK).order_hash, "first_step": 1, "last_step": 7, "chains": 6,
        "disagreement": {
            "after_step": 6, "step": 7, "logged": "ab" * 16, "computed": links[7].hex()
        },
        "ok": False,
    }  # fmt: skip
    ran = order("verify", "run")
    assert (ran.code, ran.out) == (2, "")
    assert "--lock" in ran.err


def test_export_tells_what_it_wrote(order: Run) -> None:
    """The file is named with its rows and steps; rows are pieces unless told otherwise."""
    ran = order("export", LOCK, "--steps", "1:4", "-o", "x.parquet", "--rows", "instances")
    assert ran.out == "x.parquet: 12 rows, 12 instances of steps 1 to 3\n"
    told = json.loads(order("export", LOCK, "-o", "y.parquet", "--json").out)
    assert told == {
        "path": "y.parquet", "first_step": 1, "last_step": 35, "instances": 140, "rows": 221
    }  # fmt: skip
    assert pq.read_metadata("y.parquet").num_rows == 221


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", LOCK, "--step", "36"], 2, "there is no step 36"),
        (["show", LOCK, "--step", "1", "--world", "3"], 2, "3 ranks cannot share"),
        (["show", LOCK, "--step", "1", "--ledger", "gone.jsonl"], 2, "no such ledger"),
        (["find", LOCK], 2, "Name the document by one of them"),
        (["find", LOCK, "--doc", "a", "--url", "b"], 2, "2 of --doc, --url and --text"),
        (["find", LOCK, "--text", "gone.txt"], 1, "gone.txt cannot be read"),
        (["find", LOCK, "--text", "latin.txt"], 1, "not UTF-8"),
        (["find", LOCK, "--doc", "web-1", "--at", "gone"], 2, "neither a step"),
        (["stats", LOCK, "--steps", "9:5"], 2, "holds no steps"),
        (["verify", "gone", "--lock", LOCK], 2, "neither a step"),
        (["export", LOCK, "-o", "x.npy"], 2, "order: olmo"),
    ],
)
def test_errors_say_what_to_do(order: Run, words: list[str], code: int, said: str) -> None:
    """Usage and places outside the order exit 2, unreadable data 1; stdout stays empty."""
    Path("latin.txt").write_bytes(b"caf\xe9")
    ran = order(*words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


LIGHT = """
import sys
from dolmix.cli import main
sys.argv = ["dolmix", "order", "show", sys.argv[1], "--step", "3", "--instances"]
assert main.run_cli() == 0
heavy = {"pyarrow", "numba", "torch", "tokenizers", "datatrove"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_instances_are_shown_without_anything_heavy(lock_file: Path) -> None:
    """`order show --instances` imports no pyarrow, numba or torch."""
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(lock_file)],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

"""`dolmix mix` and `dolmix order` as a user runs them: output, JSON, exit codes."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import mix_stores
import pytest

from dolmix.cli import main


class Ran:
    """What a command printed and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Ran]


@pytest.fixture
def dolmix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command line in a folder that holds the small mix and its stores."""
    monkeypatch.chdir(tmp_path)
    mix_stores.write_small_mix(tmp_path)

    def run(*words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["dolmix", *words])
        code = main.run_cli()
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


def test_resolve_writes_the_lock_beside_the_mix_once(dolmix: Run) -> None:
    """The lock appears as <stem>.lock.json; a second run says that nothing changed."""
    first, second = (dolmix("mix", "resolve", "small.yaml") for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert first.out.splitlines()[-1] == "small.lock.json: written"
    assert second.out.splitlines()[-1] == "small.lock.json: unchanged"
    assert first.out.splitlines()[:-1] == second.out.splitlines()[:-1]


def test_the_tree_shows_tokens_epochs_and_shares(dolmix: Run) -> None:
    """Totals first, one line a source, one a stage; golden text."""
    dolmix("mix", "resolve", "small.yaml")
    assert dolmix("mix", "show", "small.lock.json").out == TREE


def test_show_and_resolve_tell_the_same_json(dolmix: Run) -> None:
    """--json carries the numbers of the tree, whole."""
    resolved = json.loads(dolmix("mix", "resolve", "small.yaml", "--json").out)
    shown = json.loads(dolmix("mix", "show", "small.lock.json", "--json").out)
    assert resolved == shown | {"lock": "small.lock.json", "written": True}
    assert shown["instances"] == sum(s["instances"] for s in shown["sources"].values())


def test_resolve_elsewhere_with_overrides(dolmix: Run) -> None:
    """-o and key=value: another file, another order, and diff says where they part."""
    dolmix("mix", "resolve", "small.yaml")
    assert (
        dolmix(
            "mix", "resolve", "small.yaml", "stages.anneal.weights.code=1", "-o", "l/b.json"
        ).code
        == 0
    )
    told = dolmix("mix", "diff", "small.lock.json", "l/b.json").out
    assert "stages.anneal.quotas.web: " in told
    assert "first differing step: 26" in told
    found = json.loads(dolmix("mix", "diff", "small.lock.json", "l/b.json", "--json").out)
    assert found["first_differing_step"] == 26
    assert dolmix("mix", "diff", "l/b.json", "l/b.json").out == "same order\n"


def test_check_exits_1_where_a_store_changed(dolmix: Run) -> None:
    """Fitting stores exit 0; other content exits 1 and is named, in text and JSON."""
    dolmix("mix", "resolve", "small.yaml")
    assert dolmix("mix", "check", "small.lock.json").code == 0
    assert dolmix("mix", "check", "small.yaml").code == 0
    shutil.rmtree("stores/web@1")
    mix_stores.write_store(Path("stores"), "web", [50] * 20)
    ran = dolmix("mix", "check", "small.lock.json")
    assert ran.code == 1
    assert "source 'web'" in ran.out
    told = json.loads(dolmix("mix", "check", "small.lock.json", "--json").out)
    assert not told["ok"]
    assert [finding["source"] for finding in told["findings"]] == ["web"]


def test_show_draws_the_mix(dolmix: Run) -> None:
    """--plot writes a picture beside what is printed; equal locks give equal pictures."""
    pytest.importorskip("matplotlib", reason="no matplotlib; pip install 'dolmix[plot]'")
    dolmix("mix", "resolve", "small.yaml")
    ran = dolmix("mix", "show", "small.lock.json", "--plot", "pictures/a.png")
    assert (ran.code, ran.out) == (0, TREE)
    dolmix("mix", "show", "small.lock.json", "--plot", "b.png")
    first, second = Path("pictures/a.png").read_bytes(), Path("b.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert first == second
    dolmix("mix", "resolve", "small.yaml", "stages.main.weights.web=0.1", "-o", "c.json")
    dolmix("mix", "show", "c.json", "--plot", "c.png")
    assert Path("c.png").read_bytes() != first
    ran = dolmix("mix", "show", "small.lock.json", "--plot", "a.txt")
    assert (ran.code, ran.out) == (2, "")
    assert "a picture ends in .png" in ran.err


def test_plots_say_what_they_need(dolmix: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the command says which extra to install."""
    dolmix("mix", "resolve", "small.yaml")
    for name in [*sys.modules]:
        if name.split(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = dolmix("mix", "show", "small.lock.json", "--plot", "a.png")
    assert ran.code == 2
    assert "pip install 'dolmix[plot]'" in ran.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["mix", "resolve", "absent.yaml"], 2, "no such file"),
        (["mix", "resolve", "small.yaml", "sources.web.max_epochs=0.1"], 2, "Raise sources.web"),
        (
            ["mix", "resolve", "small.yaml", "sources.web.store=stores/gone@1"],
            1,
            "sources.web.store",
        ),
        (["mix", "show", "small.yaml"], 1, "dolmix mix resolve small.yaml"),
        (["order", "show", "small.lock.json", "--step", "0"], 2, "there is no step 0"),
        (["order", "find", "small.lock.json", "--doc", "nobody"], 1, "no document has id 'nobody'"),
        (
            ["order", "find", "small.lock.json", "--doc", "web-1", "--source", "wb"],
            2,
            "did you mean 'web'",
        ),
    ],
)
def test_errors_go_to_stderr_with_their_exit_code(
    dolmix: Run, words: list[str], code: int, said: str
) -> None:
    """Data errors exit 1, usage and configuration 2; stdout stays empty, the lock untouched."""
    dolmix("mix", "resolve", "small.yaml")
    before = Path("small.lock.json").read_bytes()
    ran = dolmix(*words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert Path("small.lock.json").read_bytes() == before


def test_order_show_and_find_agree(dolmix: Run) -> None:
    """Every document that show lists for a step is found at that step and place."""
    dolmix("mix", "resolve", "small.yaml")
    shown = json.loads(dolmix("order", "show", "small.lock.json", "--step", "3", "--json").out)
    assert shown["step"] == 3
    for row in shown["rows"]:
        for piece in row["documents"]:
            ran = dolmix("order", "find", "small.lock.json", "--doc", piece["id"], "--json")
            (document,) = json.loads(ran.out)
            assert (3, row["place"]) in {(s["step"], s["place"]) for s in document["sightings"]}
    text = dolmix("order", "show", "small.lock.json", "--step", "3").out
    assert len(text.splitlines()) == 1 + sum(len(row["documents"]) for row in shown["rows"])
    assert "web.jsonl:" in text


def test_order_find_prints_the_status_and_the_places(dolmix: Run) -> None:
    """One headline a document, then one line a sighting."""
    dolmix("mix", "resolve", "small.yaml")
    ran = dolmix("order", "find", "small.lock.json", "--doc", "code-0")
    found = json.loads(dolmix("order", "find", "small.lock.json", "--doc", "code-0", "--json").out)
    lines = ran.out.splitlines()
    times = len(found[0]["sightings"])
    assert lines[0].startswith("code document 0 (code.jsonl:0, ")
    assert lines[0].endswith(f"trained, {times} times")
    assert len(lines) == 2 + times


TREE = """\
small   2,240 tokens   140 instances of 16   35 steps   order f95d8b0
├─ code@1   480     1.03 epochs of 466   main 20.0%   anneal 25.0%
├─ docs@1   320     1.00 epochs of 327   main 10.0%   anneal 25.0%
└─ web@1    1,440   1.55 epochs of 941   main 70.0%   anneal 50.0%
main: steps 1 to 25, 1,600 tokens, fresh
anneal: steps 26 to 35, 640 tokens, reuse; 60 tokens left over, as steps are whole
"""

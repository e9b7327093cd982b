"""`dolmix sample`: data on stdout, everything else on stderr, errors with exit code 2."""

import json
from pathlib import Path

import pytest

from dolmix.cli.main import run_cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Exit code of `dolmix sample ...`."""
    monkeypatch.setattr("sys.argv", ["dolmix", "sample", *map(str, arguments)])
    return run_cli()


def test_the_summary_is_json_on_stdout_or_text_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--json` stdout is one document; without it stdout stays empty."""
    options = [tmp_path / "out", "--shipped-only", "--vocab-size", "300"]
    assert run(monkeypatch, *options, "--json") == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary["sources"]["broken"]["files"] == 1
    assert summary["vocab_size"] == 300
    assert "tokenizer" in printed.err
    assert run(monkeypatch, *options) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "there already" in printed.err
    assert "remove the folder" not in printed.err


def test_a_harvest_that_is_there_says_what_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The packages and the Python of then, and how to harvest what is installed now."""
    options = [tmp_path / "out", "--max-mb", "0.05", "--vocab-size", "300"]
    assert run(monkeypatch, *options) == 0
    assert run(monkeypatch, *options) == 0
    index = json.loads((tmp_path / "out" / "sample.json").read_bytes())
    made_from = index["summary"]["made_from"]
    assert (
        f"there already, made from {len(made_from['packages'])} packages of Python "
        f"{made_from['python']}; remove the folder to harvest anew"
    ) in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the message names the path."""
    (tmp_path / "file").write_text("text")
    assert run(monkeypatch, tmp_path / "file") == 2
    assert str(tmp_path / "file") in capsys.readouterr().err

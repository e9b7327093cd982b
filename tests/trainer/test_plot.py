"""`python -m trainer plot`: what is drawn and told is what the metrics hold."""

import argparse
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import UsageError
from dolmix.mix import load_mix, resolve
from trainer import plot
from trainer.config import TrainConfig
from trainer.convert import run
from trainer.curves import compared, labels, read_curves, smoothed
from trainer.plot import _Panels, draw, plot_options

Configure = Callable[..., TrainConfig]
Train = Callable[..., bool]


def write_run(folder: Path, steps: int, seed: int, *, old: bool = False) -> Path:
    """Write metrics of a run of two sources and three layers, evaluated every 10 steps."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = 4.0 - math.log(step) / 4 + rng.normal(0, 0.02)
        row = {"step": step, "tokens": 100 * step, "loss": loss + 0.01, "ce": loss, "lr": 1e-3}
        row |= {"source_loss": {"web": loss + 0.1}, "balance": 1.2, "grad_norm": 0.5}
        row |= {"skipped": step == 3, "tokens_per_s": 10.0}
        if step % 2:
            row["source_loss"]["code"] = loss - 0.2
        if not old:
            router = {"max_share": [0.3, 0.31, 0.4], "entropy": [0.99, 0.98, 0.9]}
            row |= {"tokens_per_s_gpu": 5.0 + step, "mfu": None, "router": router}
        rows.append(row)
        if step % 10 == 0 and not old:
            found = {"loss/web": loss, "bpb/web": None, "acc_norm/arc": 0.25 + step / 1000}
            found |= {"acc_norm_stderr/arc": 0.02, "chance/arc": 0.25, "questions/arc": 200}
            rows.append({"step": step, "tokens": 100 * step, "eval": found, "eval_s": 1.0})
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text + '{"step": 9999, "lo')
    return folder


@given(
    st.lists(st.one_of(st.floats(-5, 5), st.just(math.nan)), min_size=1, max_size=30),
    st.integers(1, 12),
)
@settings(deadline=None, max_examples=60)
def test_smoothed_is_a_trailing_mean(values: list[float], steps: int) -> None:
    """Each value is the mean of the known ones among itself and those before it."""
    found = smoothed(np.array(values), steps)
    for at, one in enumerate(found):
        known = [v for v in values[max(at + 1 - steps, 0) : at + 1] if not math.isnan(v)]
        if known:
            assert one == pytest.approx(statistics.fmean(known), abs=1e-9)
        else:
            assert math.isnan(one)


def test_runs_are_compared_where_both_are(tmp_path: Path) -> None:
    """Means, differences and standard errors are those of the last steps of the shorter run."""
    a, b = write_run(tmp_path / "a", 40, 1), write_run(tmp_path / "b", 60, 2)
    found = compared([read_curves(a), read_curves(b)], 10)
    lines = [
        [json.loads(x) for x in (f / "metrics.jsonl").read_text().splitlines()[:-1]] for f in (a, b)
    ]
    ends = [[row for row in rows if "ce" in row and 30 < row["step"] <= 40] for rows in lines]
    assert found["at_tokens"] == 4000
    for told, rows in zip(found["runs"], ends, strict=True):
        assert told["ce"] == pytest.approx(statistics.fmean(r["ce"] for r in rows))
        code = [r["source_loss"]["code"] for r in rows if "code" in r["source_loss"]]
        assert told["sources"]["code"] == pytest.approx(statistics.fmean(code))
        assert told["evaluation"]["acc_norm/arc"] == pytest.approx(0.29)
        assert told["router"]["entropy"] == pytest.approx([0.99, 0.98, 0.9])
        assert told["skipped"] == 1
    (change,) = found["differences"]
    web = [[r["source_loss"]["web"] for r in rows] for rows in ends]
    assert change["sources"]["web"]["difference"] == pytest.approx(
        statistics.fmean(web[1]) - statistics.fmean(web[0])
    )
    assert change["sources"]["web"]["standard_error"] == pytest.approx(
        math.sqrt(sum(statistics.variance(values) / 10 for values in web))
    )
    assert change["evaluation"]["loss/web"] == pytest.approx(
        found["runs"][1]["evaluation"]["loss/web"] - found["runs"][0]["evaluation"]["loss/web"]
    )
    assert "bpb/web" not in change["evaluation"]


def colours(picture: Path) -> set[int]:
    """Colours of a picture's pixels, as 0xRRGGBB."""
    from matplotlib import image

    pixels = (image.imread(picture)[:, :, :3] * 255).round().astype(int)
    return {*np.unique(pixels @ [1 << 16, 1 << 8, 1]).tolist()}


def test_pictures_show_every_run(tmp_path: Path) -> None:
    """Loss, each source, evaluations and routers have panels; lines have the runs' colours."""
    pytest.importorskip("matplotlib")
    folders = [write_run(tmp_path / name, 40, seed) for seed, name in enumerate("ab")]
    runs = [read_curves(folder) for folder in folders]
    # loss, sources together, held-out loss, accuracy (no value of bits a byte is known), 2 routers
    assert len([*_Panels(runs[:1], "tokens", 1).all()]) == 7
    # loss, 2 sources, 3 evaluations, 2 routers
    assert len([*_Panels(runs, "steps", 1).all()]) == 8
    draw(runs, tmp_path / "two.png", x="steps", steps=4)
    blue, orange = 0x1F77B4, 0xFF7F0E
    assert {blue, orange} <= colours(tmp_path / "two.png")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_equal_runs_give_equal_pictures(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In every format, whenever a picture is drawn; matplotlib has nothing to complain of."""
    pytest.importorskip("matplotlib")
    runs = [read_curves(write_run(tmp_path / "a", 40, 0))]
    for number in (1, 2):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(1_000_000_000 * number))
        draw(runs, tmp_path / f"{number}{suffix}", steps=4)
    assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"2{suffix}").read_bytes()
    assert not caplog.records


def test_what_only_one_run_has_is_told(tmp_path: Path) -> None:
    """A source or a task of a later run alone has its line, with a dash for the others."""
    runs = [read_curves(write_run(tmp_path / name, 20, 1, old=name == "a")) for name in "ab"]
    del runs[0].sources["code"]
    said = {line.partition("  ")[0]: line.split()[-2:] for line in plot.told(compared(runs, 5))}
    assert said["ce of code"][0] == "-"
    assert said["acc_norm/arc"] == ["-", "0.2700"]


def test_one_config_on_two_locks(
    configure: Configure, train: Train, lock: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """An ablation: runs are named by their mixes, told apart by shares and settings, and drawn."""
    pytest.importorskip("matplotlib")
    mix = yaml.safe_load((lock.parent / "mix-5.yaml").read_text())
    mix |= {"name": "more-code"}
    mix["stages"][0]["weights"] = {"code": 0.5, "web": 0.5}
    other = lock.parent / "more-code.yaml"
    other.write_text(yaml.safe_dump(mix))
    resolve(load_mix(other), other.read_text(), lock.parent).write(lock.parent / "other.lock.json")
    one, two = configure("one"), configure("two", lock=str(lock.parent / "other.lock.json"), seed=4)
    train(one)
    train(two)
    picture = tmp_path / "pictures" / "ab.png"
    assert run("plot", [str(one.output), str(two.output), "-o", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert picture.stat().st_size > 20_000
    assert [told["run"] for told in found["runs"]] == ["tiny", "more-code"]
    (change,) = found["differences"]
    assert change["settings"] == ["seed: 0 -> 4"]
    assert change["lock"][0] == "main: code 30.2 -> 50.0 %, web 69.8 -> 50.0 %"
    assert any(line.startswith("first differing step") for line in change["lock"])
    assert run("plot", [str(one.output), str(two.output)]) == 0
    said = capsys.readouterr().out
    assert "more-code: main: code 30.2 -> 50.0 %, web 69.8 -> 50.0 %\n" in said
    assert "ce of code" in said


def test_runs_of_earlier_versions_are_drawn(tmp_path: Path) -> None:
    """Without run.json, router and speed of one GPU, what there is is told and drawn."""
    pytest.importorskip("matplotlib")
    old, new = write_run(tmp_path / "old", 15, 1, old=True), write_run(tmp_path / "new", 15, 1)
    runs = [read_curves(folder) for folder in (old, new)]
    assert labels(runs) == ["old", "new"]
    assert compared(runs, 5)["runs"][0]["mfu"] is None
    draw(runs, tmp_path / "both.svg")
    draw(runs[:1], tmp_path / "old.pdf")
    assert (tmp_path / "both.svg").read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{}/none"], "none is no output of a training run: it has no metrics.jsonl"),
        (["{}/empty"], "metrics.jsonl has no step yet"),
        (["{}/a", "-o", "{}/a.gif"], "a picture ends in .png, .svg, .pdf, not '.gif'"),
        (["{}/a", "--smooth", "0"], "--smooth 0: take the mean of 1 step or more"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Each refusal names what is wrong."""
    write_run(tmp_path / "a", 5, 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "metrics.jsonl").touch()
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        run("plot", [word.format(tmp_path) for word in arguments])


def test_pictures_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed the error says what to install; numbers need no picture."""
    folder = write_run(tmp_path / "a", 5, 1)
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(UsageError, match=r"pip install 'dolmix\[plot\]'"):
        run("plot", [str(folder), "-o", str(tmp_path / "a.png")])
    parser = argparse.ArgumentParser()
    plot_options(parser)
    assert parser.parse_args([str(folder)]).x == "tokens"
    assert run("plot", [str(folder)]) == 0

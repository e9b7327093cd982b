"""The ledger: what a run may change, and that nobody changes it afterwards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mix_stores
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import LedgerError, MixError
from dolmix.mix import (
    Ledger,
    OrderSpec,
    code_rule,
    new_quotas,
    paper_rule,
    resolve_file,
    room_left,
    stage_counts,
)
from dolmix.mix.ledger import texts

SUPPLY = {"code": 90, "papers": 40, "web": 400}
MAIN = {"code": 60, "papers": 40, "web": 300}


def spec() -> OrderSpec:
    """Return an order of two stages in blocks of 16: 400 fresh instances, then 100."""
    stages = [("main", "fresh", MAIN), ("cool", "fresh", {"code": 50, "papers": 10, "web": 40})]
    return mix_stores.order_spec(SUPPLY, stages, block=16)


def changed(count: int = 5) -> Ledger:
    """Return a ledger of up to five changes: four in the first stage, one in the second."""
    ledger = Ledger(spec())
    for n, (stage, block, size) in enumerate(
        [("main", 3, 400), ("main", 7, 400), ("main", 7, 400), ("main", 20, 400), ("cool", 2, 100)]
    ):
        if n == count:
            break
        rest = size - 16 * block
        quotas = {"code": rest // 2 - n, "papers": 3 * n, "web": rest - rest // 2 - 2 * n}
        inputs = {"rule": "code", "losses": texts({"web": 2.5 + n}), "step": n}
        ledger.append(stage, block, quotas, inputs=inputs)
    return ledger


def test_records_chain_from_the_order_hash() -> None:
    """Each record names the one before it, the first the order; its hash is of what it holds."""
    ledger = changed()
    hashes = [ledger.order_hash, *(record.hash for record in ledger.records)]
    assert [record.prev for record in ledger.records] == hashes[:-1]
    assert (len(ledger), ledger.hash) == (5, hashes[-1])
    assert len(set(hashes)) == 6
    assert ledger.order_hash == spec().hash


def test_a_ledger_reads_back_as_written(tmp_path: Path) -> None:
    """One canonical JSON record a line; no file is an empty ledger."""
    path = tmp_path / "ledger.jsonl"
    assert len(Ledger.read(path, spec())) == 0
    ledger = changed()
    ledger.write(path)
    assert Ledger.read(path, spec()).records == ledger.records
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["hash"] for line in lines] == [r.hash for r in ledger.records]


def test_a_run_that_resumes_replays_what_is_recorded() -> None:
    """From a checkpoint before the tip every later record comes back, whatever is asked for."""
    ledger, reached = changed(), spec().hash
    for record in ledger.records:
        assert ledger.after(reached) == record
        other = {"code": 0, "papers": 0, "web": 1}
        again = ledger.append(record.stage, record.from_block, other, inputs={}, after=reached)
        assert again == record
        reached = again.hash
    assert ledger.after(reached) is None
    assert len(ledger) == 5


def test_a_replay_at_another_place_is_refused() -> None:
    """A run that asks for new weights elsewhere than the ledger has them is not that run."""
    ledger = changed(2)
    with pytest.raises(LedgerError, match=r"goes on at block 7 of stage 'main', the run asks.*8"):
        ledger.append("main", 8, {}, inputs={}, after=ledger.records[0].hash)


def test_a_checkpoint_of_another_ledger_is_refused() -> None:
    """A checkpoint's ledger must be the beginning of the run's; prefixes say how much it saw."""
    ledger = changed()
    seen = [ledger.upto(h) for h in (ledger.order_hash, ledger.records[2].hash, ledger.hash)]
    assert seen == [0, 3, 5]
    with pytest.raises(LedgerError, match="none of this ledger's 3 records"):
        changed(3).upto(ledger.hash)
    with pytest.raises(LedgerError, match=r"ends in ffff"):
        ledger.upto("f" * 64)


def _quota(lines: list[dict[str, Any]]) -> None:
    lines[1]["quotas"]["web"] -= 1
    lines[1]["quotas"]["code"] += 1


def _input(lines: list[dict[str, Any]]) -> None:
    lines[2]["inputs"]["losses"]["web"] = "9.9"


def _cut_out(lines: list[dict[str, Any]]) -> None:
    del lines[1]


def _turned(lines: list[dict[str, Any]]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def _hash(lines: list[dict[str, Any]]) -> None:
    lines[4]["hash"] = "0" * 64


def _field(lines: list[dict[str, Any]]) -> None:
    lines[0]["weights"] = {}


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (_quota, "record 2 says that its hash is"),
        (_input, "record 3 says that its hash is"),
        (_cut_out, "record 2 follows"),
        (_turned, "record 4 follows"),
        (_hash, "record 5 says that its hash is"),
        (_field, "line 1: not a record: weights"),
    ],
)
def test_a_forged_record_is_refused(
    tmp_path: Path, forge: Callable[[list[dict[str, Any]]], None], said: str
) -> None:
    """Whatever is changed, taken out or turned round in the file, reading it names the record."""
    path = tmp_path / "ledger.jsonl"
    changed().write(path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    forge(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(LedgerError, match=said):
        Ledger.read(path, spec())


def test_a_ledger_of_another_lock_is_refused(tmp_path: Path) -> None:
    """The first record names the order that it changes."""
    path = tmp_path / "ledger.jsonl"
    changed().write(path)
    other = mix_stores.order_spec(SUPPLY, [("main", "fresh", MAIN)], block=16, seed=2)
    with pytest.raises(LedgerError, match="it is of another lock"):
        Ledger.read(path, other)
    path.write_text("not json\n", encoding="utf-8")
    with pytest.raises(LedgerError, match="line 1: not JSON"):
        Ledger.read(path, spec())


@pytest.mark.parametrize(
    ("stage", "block", "quotas", "said"),
    [
        ("mian", 3, {}, "there is no stage 'mian'; stages are main, cool"),
        ("main", 25, {}, "there is no block 25"),
        ("main", 3, {"code": 352, "web": 0}, "352 instances are left.*name 2 of 3 sources"),
        ("main", 3, {"code": 353, "papers": -1, "web": 0}, "not a record: quotas.papers"),
        ("main", -1, MAIN, "not a record: from_block"),
        ("main", 3, {"code": 300, "papers": 0, "web": 0}, "352 .* with sum 300"),
    ],
)
def test_numbers_that_make_no_order_are_refused(
    stage: str, block: int, quotas: dict[str, int], said: str
) -> None:
    """A record names a stage and a block of it, every source, and the whole rest; or is no record.

    What is refused leaves the ledger as it was.
    """
    ledger = changed(0)
    with pytest.raises(LedgerError, match=said):
        ledger.append(stage, block, quotas, inputs={})
    assert len(ledger) == 0


def test_the_rest_of_a_stage_is_what_quotas_sum_to() -> None:
    """Blocks of 16: from block 3 on, 400 instances have 352 left."""
    ledger = changed(0)
    assert (ledger.rest("main", 0), ledger.rest("main", 3), ledger.rest("cool", 6)) == (400, 352, 4)
    with pytest.raises(LedgerError, match="there is no block 7"):
        ledger.rest("cool", 7)


def test_records_go_forward_only() -> None:
    """No record cuts before the one that was made last, in its stage or an earlier one."""
    ledger = changed(4)
    with pytest.raises(LedgerError, match=r"cuts stage 'main' at block 19.*before the last"):
        ledger.append("main", 19, {"code": 0, "papers": 0, "web": 96}, inputs={})
    ledger = changed()
    with pytest.raises(LedgerError, match="before the last record, which cuts stage 'cool'"):
        ledger.append("main", 24, {"code": 0, "papers": 0, "web": 16}, inputs={})


def test_inputs_hold_no_floats() -> None:
    """Digits of a float depend on who writes them; text does not."""
    with pytest.raises(LedgerError, match=r"holds 2.5: write numbers with decimals as text"):
        changed(0).append("main", 0, MAIN, inputs={"losses": [{"web": 2.5}]})
    assert texts({"web": 2.5, "code": 0.1}) == {"code": "0.1", "web": "2.5"}


@given(st.integers(0, 5), st.sampled_from([0, 1]))
@settings(deadline=None, max_examples=12)
def test_counts_are_exact_and_rise_under_any_records(count: int, stage: int) -> None:
    """c(k) sums to k at every place, never falls, and stages hold what their records say."""
    counts = stage_counts(spec(), stage, changed(count).records)
    before = [0, 0, 0]
    for k in range(counts.size + 1):
        now = counts.at(k)
        assert sum(now) == k
        assert all(b <= a for b, a in zip(before, now, strict=True))
        before = now
    assert before == counts.totals
    assert counts.planned == [spec().stages[stage].quotas[s] for s in sorted(SUPPLY)]


WEIGHTS = {"code": 0.2, "papers": 0.1, "web": 0.7}
LOSSES = {"code": 1.2, "papers": 2.5, "web": 2.0}
TARGETS = {"code": 1.5, "papers": 2.0, "web": 1.9}


def test_the_code_rule_is_the_published_formula() -> None:
    """(1 - c) softmax(log w + (l - l*)) + c / n: losses below their reference lower a weight."""
    got = code_rule(WEIGHTS, LOSSES, TARGETS)
    raw = {"code": 0.2 * 2.718281828**-0.3, "papers": 0.1 * 2.718281828**0.5}
    raw["web"] = 0.7 * 2.718281828**0.1
    for s, value in raw.items():
        assert got[s] == pytest.approx(0.9999 * value / sum(raw.values()) + 1e-4 / 3, rel=1e-8)
    assert got["code"] < 0.2 < WEIGHTS["web"] > 0
    assert sum(got.values()) == pytest.approx(1, abs=1e-15)


def test_the_paper_rule_clamps_and_does_not_smooth() -> None:
    """W exp(max(0, l - l*)): a loss below its reference changes nothing of its own."""
    got = paper_rule(WEIGHTS, LOSSES, TARGETS)
    raw = {"code": 0.2, "papers": 0.1 * 2.718281828**0.5, "web": 0.7 * 2.718281828**0.1}
    for s, value in raw.items():
        assert got[s] == pytest.approx(value / sum(raw.values()), rel=1e-8)
    with pytest.raises(MixError, match="uniform is 2"):
        code_rule(WEIGHTS, LOSSES, TARGETS, uniform=2)
    zero = paper_rule(WEIGHTS | {"code": 0.0}, LOSSES, TARGETS)
    assert zero["code"] == 0
    assert code_rule(WEIGHTS | {"code": 0.0}, LOSSES, TARGETS)["code"] == pytest.approx(1e-4 / 3)


@pytest.mark.parametrize("rule", [code_rule, paper_rule])
@pytest.mark.parametrize(
    ("weights", "losses", "said"),
    [
        (WEIGHTS, {"code": 1.0}, "losses are given for code, weights for code, papers, web"),
        (WEIGHTS, LOSSES | {"web": float("nan")}, "the loss of 'web' is nan"),
        (WEIGHTS | {"web": -1.0}, LOSSES, "the weight of 'web' is -1"),
        (dict.fromkeys(WEIGHTS, 0.0), LOSSES, "every weight is 0"),
    ],
)
def test_numbers_from_which_no_weights_follow_are_refused(
    rule: Callable[..., dict[str, float]],
    weights: dict[str, float],
    losses: dict[str, float],
    said: str,
) -> None:
    """Missing losses, no numbers, negative or only zero weights are told."""
    with pytest.raises(MixError, match=said):
        rule(weights, losses, TARGETS)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 5), min_size=1),
    st.integers(0, 10**6),
    st.data(),
)
@settings(deadline=None, max_examples=100)
def test_new_quotas_sum_exactly_within_what_is_left(
    weights: dict[str, float], rest: int, data: st.DataObject
) -> None:
    """Whole instances, sum as asked, none above its room; or the rest that nobody can give."""
    room = {s: data.draw(st.integers(0, 10**6)) for s in weights}
    able = sum(room[s] for s in weights if weights[s] > 0)
    if able < rest:
        with pytest.raises(MixError, match=f"{rest - able:,} instances of the stage are left"):
            new_quotas(weights, rest, room=room)
        return
    quotas = new_quotas(weights, rest, room=room)
    assert sum(quotas.values()) == rest
    assert all(0 <= quotas[s] <= room[s] for s in weights)
    assert all(quotas[s] == 0 for s in weights if weights[s] == 0)


def test_room_is_what_caps_and_other_stages_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source's cap, less what earlier blocks gave and later stages will take."""
    monkeypatch.chdir(tmp_path)
    lock = resolve_file(mix_stores.write_small_mix(tmp_path))
    ledger = Ledger(lock.order)
    main, anneal = lock.order.stages
    room = room_left(lock, ledger, "main", 0)
    for source, left in room.items():
        cap = 4 * lock.order.sources[source].num_instances
        assert left == cap - anneal.quotas[source]
    quotas = new_quotas({"web": 0, "code": 1, "docs": 9}, main.instances, room=room)
    assert quotas["docs"] == min(room["docs"], 90)
    ledger.append("main", 0, quotas, inputs={})
    assert room_left(lock, ledger, "anneal", 0)["docs"] == (
        4 * lock.order.sources["docs"].num_instances - quotas["docs"]
    )

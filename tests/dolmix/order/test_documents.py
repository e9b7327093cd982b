"""Documents of every step, and steps of every document, against each other and the files."""

from pathlib import Path

import mix_stores
import pytest

from dolmix.errors import OrderError, StoreError
from dolmix.mix import resolve_file
from dolmix.order import Batches, find_document, open_order, step_documents
from dolmix.shards import ConcatInstances


def test_pieces_are_the_documents_tokens(lock_file: Path) -> None:
    """Every piece of every row holds exactly the tokens that its document has in the store."""
    with Batches(lock_file) as batches:
        stores = dict(zip(batches.order.sources, batches.stores, strict=True))
        for step in range(1, batches.num_steps + 1):
            rows, listed = batches.tokens(step), step_documents(lock_file, step)
            assert [row.place for row in listed] == list(range(4))
            for row, tokens in zip(listed, rows, strict=True):
                ends = [piece.stop for piece in row.documents]
                assert [0, *ends[:-1]] == [piece.start for piece in row.documents]
                assert ends[-1] == 17
                for piece in row.documents:
                    begin, _ = stores[row.source].document_span(piece.document)
                    at = begin + piece.document_start
                    span = stores[row.source].tokens(at, at + piece.stop - piece.start)
                    assert tokens[piece.start : piece.stop].tolist() == span.tolist()
                    assert piece.id == f"{row.source}-{piece.record}"


def test_find_and_show_are_inverse(lock_file: Path) -> None:
    """Over all steps and all documents, show and find tell the same sightings."""
    shown = set()
    for step in range(1, open_order(lock_file).num_steps + 1):
        for row in step_documents(lock_file, step):
            for piece in row.documents:
                span = (piece.start, piece.stop, piece.document_start)
                shown.add((row.source, piece.id, step, row.place, row.epoch, row.instance, *span))
    found, statuses = set(), set()
    with Batches(lock_file) as batches:
        counts = {
            n: s.num_documents for n, s in zip(batches.order.sources, batches.stores, strict=True)
        }
    for source, count in counts.items():
        for n in range(count):
            (document,) = find_document(lock_file, f"{source}-{n}")
            statuses.add(document.status)
            assert (document.status == "trained") == bool(document.sightings)
            for s in document.sightings:
                span = (s.start, s.stop, s.document_start)
                found.add((source, document.id, s.step, s.place, s.epoch, s.instance, *span))
    assert found == shown
    assert "trained" in statuses


def test_runs_of_a_document_are_those_that_its_instances_list(
    lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the instances know how documents fill a row: `find` follows them, as `show` does."""
    listed = ConcatInstances.documents
    monkeypatch.setattr(ConcatInstances, "documents", lambda self, i: listed(self, i)[::-1])
    shown = {
        (step, row.place, piece.start, piece.stop, piece.document_start)
        for step in range(1, open_order(lock_file).num_steps + 1)
        for row in step_documents(lock_file, step)
        for piece in row.documents
        if (row.source, piece.id) == ("web", "web-3")
    }
    (document,) = find_document(lock_file, "web-3")
    found = {(s.step, s.place, s.start, s.stop, s.document_start) for s in document.sightings}
    assert found == shown
    assert found


def test_an_id_that_is_no_text_is_in_no_store(lock_file: Path) -> None:
    """Bytes that are not UTF-8 on the command line are a finding, shown escaped."""
    with pytest.raises(StoreError, match=r"no document has id '\\udcff'"):
        find_document(lock_file, "\udcff")


def test_documents_that_never_trained_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document in the tail and one whose instances no step draws are told apart."""
    monkeypatch.chdir(tmp_path)
    mix_file = mix_stores.write_small_mix(tmp_path)
    mix_stores.write_store(tmp_path / "stores", "web", [17, 80, 80, 2], version=2)
    overrides = ["sources.web.store=stores/web@2", "stages.main.weights.web={tokens: 16}"]
    overrides += ["stages.anneal.weights.web=0", "stages.anneal.weights.code=1"]
    lock = resolve_file(mix_file, [*overrides, "sources.code.max_epochs=9"])
    status = {n: find_document(lock, f"web-{n}")[0].status for n in range(4)}
    assert status[3] == "tail, never trained"
    drawn = {i for i in range(11) if open_order(lock).find("web", i)}
    assert len(drawn) == 1
    with Batches(lock) as batches:
        for n in range(3):
            numbers = batches.instances[batches.order.source_index("web")].of_document(n)
            expected = "trained" if drawn & set(numbers) else "never drawn in this mix"
            assert status[n] == expected
    assert "never drawn in this mix" in status.values()


def test_unknown_documents_sources_and_steps_are_refused(lock_file: Path) -> None:
    """An id in no store is a finding (exit 1), a step or source outside is usage (exit 2)."""
    with pytest.raises(StoreError, match="no document has id 'nobody'") as caught:
        find_document(lock_file, "nobody")
    assert caught.value.exit_code == 1
    with pytest.raises(StoreError, match="web-0"):
        find_document(lock_file, "web-0", source="code")
    with pytest.raises(OrderError, match="did you mean 'code'") as outside:
        find_document(lock_file, "web-0", source="coed")
    assert outside.value.exit_code == 2
    with pytest.raises(OrderError, match="no step 0"):
        step_documents(lock_file, 0)

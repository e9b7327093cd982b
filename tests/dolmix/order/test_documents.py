"""Documents of every step, and steps of every document, against each other and the files."""

from hashlib import blake2b
from pathlib import Path

import mix_stores
import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer as Backend

from dolmix.errors import OrderError, StoreError, UsageError
from dolmix.mix import resolve_file
from dolmix.order import (
    Batches,
    Rank,
    TextRequest,
    find_document,
    open_order,
    step_documents,
    step_rows,
)
from dolmix.shards import ConcatInstances, StoreWriter
from dolmix.tokenizer import Tokenizer, TokenizerConfig


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


@pytest.mark.parametrize("packing", ["bestfit", "pad"])
def test_a_document_that_the_packing_leaves_out_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    """A document of one token has no label, so no pack holds it; others are held whole."""
    monkeypatch.chdir(tmp_path)
    mix_file = mix_stores.write_small_mix(tmp_path)
    mix_stores.write_store(tmp_path / "stores", "web", [17, 1, 90, 2] * 9, version=2)
    overrides = ["sources.web.store=stores/web@2", f"packing={packing}", "stages.main.tokens=640"]
    lock = resolve_file(mix_file, [*overrides, "sources.docs.max_epochs=9"])
    for n in range(12):
        (told,) = find_document(lock, f"web-{n}")
        if told.num_tokens == 1:
            assert told.status == "left out by the packing, never trained"
            assert told.left_out_tokens == 1
        else:
            assert told.left_out_tokens == 0


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


def test_places_follow_from_the_lock_alone(lock_file: Path) -> None:
    """Sources, epochs and instances of a step are told without any store, as with them."""
    steps = range(1, open_order(lock_file).num_steps + 1)
    listed = {step: step_documents(lock_file, step) for step in steps}
    for store in (lock_file.parent / "stores").iterdir():
        store.rename(store.with_name(f"gone-{store.name}"))
    for step in steps:
        places = [row.model_dump() for row in step_rows(lock_file, step)]
        assert places == [row.model_dump(exclude={"documents"}) for row in listed[step]]


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_are_shown_their_rows_of_the_one_batch(lock_file: Path, world: int) -> None:
    """Rank r of W is shown the places r::W, numbered as in the whole batch."""
    for step in (1, 30):
        whole = step_documents(lock_file, step)
        for rank in range(world):
            part = Rank(rank, world)
            assert step_documents(lock_file, step, part=part) == whole[rank::world]
            places = [row.model_dump(exclude={"documents"}) for row in whole[rank::world]]
            assert [row.model_dump() for row in step_rows(lock_file, step, part=part)] == places
    with pytest.raises(OrderError, match="3 ranks cannot share a batch of 4"):
        step_rows(lock_file, 1, part=Rank(0, 3))
    with pytest.raises(OrderError, match="no rank 2 among 2"):
        step_documents(lock_file, 1, part=Rank(2, 2))


def test_sightings_are_past_or_to_come(lock_file: Path) -> None:
    """At a step, what it and the steps before it trained is past, all else is to come."""
    (timeless,) = find_document(lock_file, "web-3")
    steps = [seen.step for seen in timeless.sightings]
    assert {seen.when for seen in timeless.sightings} == {None}
    for at in (0, steps[0], steps[-1] - 1, steps[-1], 10**6):
        (told,) = find_document(lock_file, "web-3", at=at)
        whens = ["past" if step <= at else "future" for step in steps]
        assert [seen.when for seen in told.sightings] == whens
        same = [seen.model_copy(update={"when": None}) for seen in told.sightings]
        assert tuple(same) == timeless.sightings


TEXTS = {
    "notes": ["the river and the stone", "größer ± 漢字 done", "the market", "", "the market", "x"],
    "code": ["def f(): return 7", "the market", "the market\n", "# Ünïcödé comment, quite long"],
}


@pytest.fixture
def text_lock(tmp_path: Path, tiny_tokenizer: Path) -> Path:
    """Lock over two stores of real texts, whose hashes they keep."""
    backend = Backend.from_file(str(tiny_tokenizer))
    pin = Tokenizer(TokenizerConfig(path=tiny_tokenizer)).pin()
    for source, texts in TEXTS.items():
        ids = [[*backend.encode(text).ids, pin.eos_id] for text in texts]
        hashes = [
            int.from_bytes(blake2b(t.encode(), digest_size=8).digest(), "little") for t in texts
        ]
        rows = pa.table(
            {
                "id": [f"{source}-{n}" for n in range(len(texts))],
                "url": pa.array([f"http://x/{n % 4}" if n else None for n in range(len(texts))]),
                "path": [f"{source}.jsonl"] * len(texts),
                "record": pa.array(range(len(texts)), pa.int64()),
                "text_hash": pa.array(hashes, pa.uint64()),
            }
        )
        with StoreWriter(
            tmp_path / f"{source}@1", source=source, version=1, tokenizer=pin,
            special_in_text="plain", parents=[], shard_tokens=40,
        ) as writer:  # fmt: skip
            lengths = np.array([len(tokens) for tokens in ids], np.int64)
            writer.append(np.concatenate(ids), lengths, rows, sum(len(t.encode()) for t in texts))
            writer.commit()
    sources = "".join(
        f"  {source}: {{store: {tmp_path / source}@1, max_epochs: 3}}\n" for source in TEXTS
    )
    (tmp_path / "mix.yaml").write_text(
        "name: texts\nseed: 3\nsequence_length: 8\nblock: 4\nbatch_size: 2\n"
        f"sources:\n{sources}stages:\n"
        "  - {name: main, tokens: 160, weights: {notes: 1, code: 1}}\n"
    )
    resolve_file(tmp_path / "mix.yaml").write(tmp_path / "mix.lock.json")
    return tmp_path / "mix.lock.json"


def test_documents_are_found_by_their_exact_text(text_lock: Path) -> None:
    """Every document with exactly this text, in every source; nothing that differs by a byte."""
    for text in {text for texts in TEXTS.values() for text in texts}:
        found = find_document(text_lock, text, by="text")
        expected = [
            (source, n)
            for source in sorted(TEXTS)
            for n, other in enumerate(TEXTS[source])
            if other == text
        ]
        assert [(told.source, told.document) for told in found] == expected
        for told in found:
            assert told == find_document(text_lock, told.id, source=told.source)[0]
    for text in ("The market", "the market ", "the", "\udcff"):
        with pytest.raises(StoreError, match=f"no document has this text of {len(text)} char"):
            find_document(text_lock, text, by="text")
    with pytest.raises(StoreError, match="newline at the end"):
        find_document(text_lock, "x\n", by="text", source="notes")


def test_documents_are_found_by_url(text_lock: Path) -> None:
    """Every document of every source with this url; a url that none has is said so."""
    found = find_document(text_lock, "http://x/1", by="url")
    assert [told.id for told in found] == ["code-1", "notes-1", "notes-5"]
    with pytest.raises(StoreError, match="no document has url 'http://x/'"):
        find_document(text_lock, "http://x/", by="url")


def test_a_store_without_texts_says_so(lock_file: Path) -> None:
    """A store that keeps no hashes cannot be asked for a text: the next step is told."""
    with pytest.raises(StoreError, match="Look a document up by id"):
        find_document(lock_file, "the market", by="text")


def test_the_text_of_runs_is_that_of_the_documents(text_lock: Path, tiny_tokenizer: Path) -> None:
    """Runs show their tokens, or with the tokenizer their text: put together, the document's."""
    backend = Backend.from_file(str(tiny_tokenizer))
    text = TextRequest(tokenizer=tiny_tokenizer)
    with Batches(text_lock) as batches:
        for step in range(1, batches.num_steps + 1):
            plain = step_documents(text_lock, step)
            tokens = step_documents(text_lock, step, text=TextRequest())
            texts = step_documents(text_lock, step, text=text)
            for one, two, three, row in zip(
                plain, tokens, texts, batches.tokens(step).tolist(), strict=True
            ):
                for run, ids, said in zip(
                    one.documents, two.documents, three.documents, strict=True
                ):
                    assert (run.tokens, run.text, ids.text, said.tokens) == (None,) * 4
                    assert list(ids.tokens or ()) == row[run.start : run.stop]
                    decoded = backend.decode(row[run.start : run.stop], skip_special_tokens=False)
                    assert said.text == decoded
                    whole = TEXTS[one.source][run.document] + "<|endoftext|>"
                    assert "\ufffd" in decoded or decoded in whole


def test_another_tokenizer_is_refused(
    text_lock: Path, tmp_path: Path, tiny_tokenizer: Path
) -> None:
    """Text is decoded with the stores' own tokenizer or not at all."""
    other = tmp_path / "other.json"
    other.write_text(tiny_tokenizer.read_text() + "\n")
    with pytest.raises(UsageError, match="has digest"):
        step_documents(text_lock, 1, text=TextRequest(tokenizer=other))

"""The adapter: datatrove's own verdicts, its reasons and rewriting, and what is refused at load."""

import sys
from pathlib import Path
from typing import Any

import builders
import naive_edits
import pytest
from datatrove.data import Document
from datatrove.pipeline import filters as peers
from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import AnyFilter, Datatrove, judge
from dolmix.filters.datatrove import reason_code
from dolmix.text.edits import edited, read_edits

HERE = "datatrove_peers"
"""Module of the classes below, by their dotted paths."""


class Batched(BaseFilter):
    """Judges by the batch it stands in, to see that batches arrive whole."""

    def __init__(self, batch_size: int = 3) -> None:
        super().__init__(batch_size=batch_size)

    def filter(self, doc: Document) -> bool:
        """Never asked: batches are."""
        raise NotImplementedError

    def filter_batch(self, batch: list[Document]) -> list[bool | tuple[bool, str]]:
        """Name the size of the batch; `bad` in it is an error."""
        if any(doc.text == "bad" for doc in batch):
            raise RuntimeError("cannot judge this")
        return [(False, f"batch of {len(batch)}") for _ in batch]


class Sees(BaseFilter):
    """Drops with what it sees of a document as its reason."""

    def filter(self, doc: Document) -> tuple[bool, str]:
        """Id and metadata."""
        return False, f"{doc.id} {sorted(doc.metadata.items())}"


class Rewrites(BaseFilter):
    """Changes texts in ways that an edit can and cannot say."""

    def filter(self, doc: Document) -> bool:
        """Upper case for `loud`, else every second word."""
        loud = doc.text.startswith("loud")
        doc.text = doc.text.upper() if loud else " ".join(doc.text.split()[::2])
        return True


class Modelled(BaseFilter):
    """Has a model in a file."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def filter(self, doc: Document) -> bool:
        """Keep everything with a text."""
        return bool(doc.text)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this module be found by its short path, and start every test without made objects."""
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])
    Datatrove(filter="RegexFilter", args={"regex_exp": "x"}).begin_part()


def made(path: str, **settings: Any) -> Datatrove:
    """Make the filter."""
    return Datatrove(filter=path, **settings)


def refused(path: str, **settings: Any) -> str:
    """Return the message that the settings are refused with."""
    with pytest.raises(ValidationError) as caught:
        made(path, **settings)
    return str(caught.value)


def verdicts(filter_: Datatrove, texts: TextBatch) -> tuple[list[str | None], list[str]]:
    """Reasons and texts afterwards."""
    columns = filter_.columns(texts)
    reasons = judge(filter_, columns, texts).to_pylist()
    after = edited(texts, read_edits(columns["edit"])) if "edit" in columns else texts
    return reasons, after.text.to_pylist()


def asked(peer: BaseFilter, texts: list[str]) -> tuple[list[str | None], list[str]]:
    """Ask a filter of datatrove itself; the texts of dropped documents as they were."""
    reasons: list[str | None] = []
    after = []
    for number, text in enumerate(texts):
        document = Document(text=text, id=str(number))
        keep, reason = get_filter_result(peer.filter(document))
        reasons.append(None if keep else f"datatrove.{reason_code(reason)}")
        after.append(document.text if keep else text)
    return reasons, after


LINES = [
    builders.prose(1, 40),
    "Short line.",
    "A line without an end",
    "See the privacy policy of this village, please.",
    "Enable javascript to read about the garden.",
    "The river[1] and the stone [citation needed] were of silver.",
    "No.",
    "The council have a library with candles! ",
    "",
    "- bullet of the market",
    "{curly}",
    "Winter…",
]
pages = st.lists(st.sampled_from(LINES), max_size=12).map("\n".join)
separated = st.lists(st.sampled_from(LINES), max_size=12).map("\r\n".join)

PEERS: list[tuple[str, dict[str, Any]]] = [
    ("GopherQualityFilter", {"min_doc_words": 5}),
    ("GopherRepetitionFilter", {}),
    ("FineWebQualityFilter", {}),
    ("C4QualityFilter", {"min_num_sentences": 2, "filter_curly_bracket": False}),
    ("C4QualityFilter", {"split_paragraph": False, "min_num_sentences": -1}),
    ("C4ParagraphFilter", {}),
    ("RegexFilter", {"regex_exp": "javascript|privacy"}),
    ("SamplerFilter", {"rate": 0.5, "seed": 3}),
]


@pytest.mark.parametrize(("name", "args"), PEERS, ids=lambda value: str(value)[:24])
@given(st.lists(pages.filter(bool) | separated.filter(bool), max_size=8))
def test_verdicts_reasons_and_texts_are_the_class_s_own(
    name: str, args: dict[str, Any], texts: list[str]
) -> None:
    """The same as asking the class itself about the same documents, in the same order."""
    filter_ = made(name, args=args)
    filter_.begin_part()
    peer = getattr(peers, name)(**args)
    assert verdicts(filter_, TextBatch.of(texts)) == asked(peer, texts)


def test_a_state_lasts_for_a_part_and_no_longer() -> None:
    """A sampler goes on over the batches of a part, and draws the same in every part."""
    filter_ = made("SamplerFilter", args={"rate": 0.5, "seed": 7})
    parts = []
    for _ in range(2):
        filter_.begin_part()
        batches = [filter_.columns(TextBatch.of(["x"] * 20))["keep"].to_pylist() for _ in range(3)]
        parts.append(batches)
    assert parts[0] == parts[1]
    assert parts[0][0] != parts[0][1]


def test_a_class_that_judges_batches_is_given_batches() -> None:
    """Of its own size, by its own method, the last one shorter."""
    reasons, _ = verdicts(made(f"{HERE}.Batched"), TextBatch.of(["a"] * 5))
    assert reasons == ["datatrove.batch_of_3"] * 3 + ["datatrove.batch_of_2"] * 2


def test_an_exception_names_the_document() -> None:
    """The one of the batch that it was about, the class, and what the class said."""
    texts = TextBatch.of(["a", "b", "c", "d", "bad", "e"], ids=list("uvwxyz"))
    with pytest.raises(FilterError) as caught:
        made(f"{HERE}.Batched", name="b").columns(texts)
    assert str(caught.value) == (
        f"document 'y' (record 4): b ({HERE}.Batched) failed: RuntimeError: cannot judge this. "
        f"Check b.args and the input, or set b.on_error to keep or drop."
    )


@pytest.mark.parametrize(("on_error", "verdict"), [("keep", None), ("drop", "datatrove.error")])
def test_a_document_on_which_the_class_fails_can_be_kept_or_dropped(
    on_error: Any, verdict: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Its neighbours of the batch are judged one by one; how many failed is logged."""
    texts = TextBatch.of(["a", "bad", "c"])
    reasons, _ = verdicts(made(f"{HERE}.Batched", on_error=on_error), texts)
    assert reasons == ["datatrove.batch_of_1", verdict, "datatrove.batch_of_1"]
    assert "failed on 1 documents" in caplog.text


def test_metadata_is_what_was_asked_for_and_the_url() -> None:
    """Fields by their keys, with their types; absent ones are left out."""
    import pyarrow as pa

    batch = TextBatch.of(["a", "b"], ids=["x", "y"], fields={"metadata.stars": ["7", None]})
    urls = pa.array(["http://u", None])
    batch = TextBatch(batch.text, batch.ids, urls, batch.records, batch.fields)
    filter_ = made(f"{HERE}.Sees", metadata={"stars": "metadata.stars"})
    assert filter_.fields() == ("metadata.stars",)
    reasons, _ = verdicts(filter_, batch)
    assert reasons == [f"datatrove.{reason_code(r)}" for r in (
        "x [('stars', 7), ('url', 'http://u')]", "y []",
    )]  # fmt: skip


def test_rewriting_is_kept_refused_or_ignored() -> None:
    """As an edit where pieces of the text say it; else an error that names the document."""
    few, loud = TextBatch.of(["one two  three"]), TextBatch.of(["fine", "loud"], ids=["a", "b"])
    assert verdicts(made(f"{HERE}.Rewrites"), few) == ([None], ["one three"])
    with pytest.raises(FilterError, match=r"^document 'b' \(record 1\): .* no edit can say"):
        made(f"{HERE}.Rewrites").columns(loud)
    with pytest.raises(FilterError, match=r"on_rewrite is fail\. Set it to edit"):
        made(f"{HERE}.Rewrites", on_rewrite="fail").columns(few)
    ignoring = made(f"{HERE}.Rewrites", on_rewrite="ignore")
    assert verdicts(ignoring, loud) == ([None, None], ["fine", "loud"])
    assert (ignoring.has_edit, made(f"{HERE}.Rewrites").has_edit) == (False, True)


@given(st.lists(pages, max_size=4))
def test_an_edit_of_c4_takes_out_lines(texts: list[str]) -> None:
    """Every span lies in the text; what stays and what was put in is the class's text."""
    filter_ = made("C4QualityFilter", args={"min_num_sentences": -1})
    edits = filter_.columns(TextBatch.of(texts))["edit"]
    peer = peers.C4QualityFilter(min_num_sentences=-1)
    for text, spans in zip(texts, naive_edits.spans_of(read_edits(edits)), strict=True):
        document = Document(text=text, id="")
        if get_filter_result(peer.filter(document))[0]:
            assert naive_edits.edited(text, spans) == document.text


@pytest.mark.parametrize(
    ("path", "settings", "said"),
    [
        ("GopherQualtyFilter", {}, "no filter 'GopherQualtyFilter'; did you mean 'GopherQuality"),
        ("BaseFilter", {}, "has no filter 'BaseFilter'"),
        ("Document", {}, "has no filter 'Document'"),
        ("no_such_module.Filter", {}, "cannot be imported: ModuleNotFoundError: No module named"),
        (
            "GopherQualityFilter",
            {"args": {"min_doc_word": 3}},
            "GopherQualityFilter takes no 'min_doc_word'; did you mean 'min_doc_words'?",
        ),
        ("GopherQualityFilter", {"args": {"exclusion_writer": 1}}, "set keep_dropped"),
        ("LambdaFilter", {}, "args.filter_function: LambdaFilter takes a Python function here"),
        ("RegexFilter", {}, "args.regex_exp: required by RegexFilter, but missing"),
        ("SamplerFilter", {"args": {"rate": 0.1}}, "args.seed: SamplerFilter draws at random"),
    ],
)
def test_what_cannot_be_made_is_refused_at_load(
    path: str, settings: dict[str, Any], said: str
) -> None:
    """Unknown classes and arguments, functions, writers, and draws without a seed."""
    assert said in refused(path, **settings)


def test_a_class_that_cannot_be_made_says_so_when_it_is_needed() -> None:
    """Arguments of the right name and a wrong value: the class's own words."""
    filter_ = made("RegexFilter", args={"regex_exp": "("})
    with pytest.raises(FilterError, match="RegexFilter cannot be made with these args: "):
        filter_.columns(TextBatch.of(["x"]))


def test_a_package_that_is_not_there_is_named_before_anything_runs() -> None:
    """The task key needs the filter's digests, and those the packages that the class names."""
    try:
        import tldextract  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except ImportError:
        with pytest.raises(FilterError, match=r"^datatrove: .*tldextract"):
            made("URLFilter").digests()
    digests = made("RegexFilter", args={"regex_exp": "x"}).digests()
    assert digests["datatrove_version"].startswith("0.10")
    assert len(digests["code"]) == 64


def test_a_file_that_an_argument_names_counts_by_its_content(tmp_path: Path) -> None:
    """A model that changed under its path is another filter; other text is only text."""
    model = tmp_path / "model.bin"
    model.write_bytes(b"one")
    filter_ = made(f"{HERE}.Modelled", args={"model": str(model)})
    before = filter_.digests()
    model.write_bytes(b"two")
    after = filter_.digests()
    assert before.keys() == after.keys() >= {"args.model"}
    assert before != after
    assert "args.model" not in made(f"{HERE}.Modelled", args={"model": "x\0" * 5000}).digests()


def test_a_module_that_breaks_is_refused_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever importing it raises: the message says what, and where a module is looked for."""
    (tmp_path / "broken_filters.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = "'broken_filters' cannot be imported: ZeroDivisionError: division by zero. A module of"
    assert said in refused("broken_filters.Mine")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("gopher_short_doc", "gopher_short_doc"),
        ("Too few: 3 < 5", "too_few_3_5"),
        ("…", "dropped"),
        (None, "dropped"),
        (b"x", "b_x"),
        ("é" + "x" * 100, "x" * 64),
    ],
)
def test_a_reason_becomes_a_code(given: object, code: str) -> None:
    """Letters, digits and underscores of ASCII, and never nothing."""
    assert reason_code(given) == code


def test_it_survives_its_own_record() -> None:
    """Written out and read back it is the same filter, and hashes alike."""
    adapter: TypeAdapter[Any] = TypeAdapter(AnyFilter)
    raw = {
        "type": "datatrove",
        "filter": "GopherRepetitionFilter",
        "args": {"top_n_grams": [[2, 0.2]]},
        "metadata": {"language": "metadata.lang"},
    }
    filter_ = adapter.validate_python(raw)
    again = adapter.validate_json(filter_.model_dump_json())
    assert again == filter_
    assert hash(again) == hash(filter_)
    assert again.definition == "datatrove 0.10.1 GopherRepetitionFilter"

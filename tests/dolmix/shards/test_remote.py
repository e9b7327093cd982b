"""Remote stores: the same tokens, documents and rows, by ranges from a local S3 server."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mix_stores
import numpy as np
import pyarrow as pa
import pytest
import store_builder
from peers import needs

from dolmix.errors import StoreError
from dolmix.mix import read_lock, resolve_file
from dolmix.order import Batches
from dolmix.shards import make_pack, open_instances, open_store, remote
from dolmix.shards.describe import list_stores
from dolmix.shards.remote import RemoteFolder

BUCKET = "corpus"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """Serve S3 on a free port, with credentials of its own; yield a filesystem to upload with."""
    for package in ("moto", "flask", "s3fs"):
        needs(package)
    import s3fs
    from moto.server import ThreadedMotoServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        system = s3fs.S3FileSystem()
        system.mkdir(BUCKET)
        yield system
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def upload(system: Any, folder: Path, prefix: str) -> str:
    """Copy a folder into the bucket; return its URI."""
    for file in folder.rglob("*"):
        if file.is_file():
            name = file.relative_to(folder).as_posix()
            system.pipe_file(f"{BUCKET}/{prefix}/{name}", file.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


def test_a_remote_store_reads_as_the_local_one(bucket: Any, tmp_path: Path) -> None:
    """Tokens across shards, documents, provenance, ids and instances, by the same code."""
    documents = store_builder.documents([1 + (n * 37) % 90 for n in range(120)])
    store_builder.write(tmp_path, documents, shard_tokens=900)
    local = open_store(tmp_path / "web@1")
    far = open_store(upload(bucket, tmp_path / "web@1", "a/web@1"))
    assert len(local.manifest.shards) > 4
    assert far.content_hash == local.content_hash
    listed = [(e["store"], e["path"]) for e in list_stores([f"s3://{BUCKET}/a"])]
    assert listed == [("web@1", f"s3://{BUCKET}/a/web@1")]
    with pytest.raises(StoreError, match="is remote; copy the store"):
        _ = far.path
    for span in ((0, 5), (850, 950), (10, local.num_tokens), (7, 7)):
        assert far.tokens(*span).tolist() == local.tokens(*span).tolist()
    assert np.array_equal(far.ends, local.ends)
    assert far.documents_in(100, 400) == local.documents_in(100, 400)
    assert far.provenance([5, 119, 0]) == local.provenance([5, 119, 0])
    assert far.find_id("doc-77") == [77]
    numbers = np.array([3, 0, 40, 17, 3])
    rows = [np.zeros((5, 65), np.uint32) for _ in range(2)]
    for store, out in zip((local, far), rows, strict=True):
        open_instances(store, 64).read(numbers, out)
    assert np.array_equal(*rows)


def test_a_remote_pack_is_read_and_never_written(bucket: Any, tmp_path: Path) -> None:
    """Uploaded beside the store it opens; where it is not, nothing is written remotely."""
    store_builder.write(tmp_path, store_builder.documents([5, 30, 8, 14, 3]))
    local = open_store(tmp_path / "web@1")
    pack = make_pack(local, sequence_length=16, packing="bestfit")
    uri = upload(bucket, tmp_path / "web@1", "b/web@1")
    with pytest.raises(StoreError, match="nothing is written beside a remote store"):
        make_pack(open_store(uri), sequence_length=16, packing="bestfit")
    upload(bucket, tmp_path / "web@1.derived", "b/web@1.derived")
    bucket.invalidate_cache()
    far = open_instances(open_store(uri), 16, "bestfit", pack.digest)
    ours = open_instances(local, 16, "bestfit")
    for number in range(pack.num_instances):
        assert far.tokens(number).tolist() == ours.tokens(number).tolist()
        assert far.documents(number) == ours.documents(number)


def test_a_lock_names_remote_stores_and_batches_read_them(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is that of the local stores; so is every row."""
    monkeypatch.chdir(tmp_path)
    mix = mix_stores.write_small_mix(tmp_path)
    near = resolve_file(mix)
    upload(bucket, tmp_path / "stores", "c")
    mix.write_text(mix.read_text().replace("store: stores/", f"store: s3://{BUCKET}/c/"))
    resolve_file(mix).write(tmp_path / "far" / "small.lock.json")
    far = read_lock(tmp_path / "far" / "small.lock.json")
    assert far.order_hash == near.order_hash
    assert far.sources["web"].path == f"s3://{BUCKET}/c/web@1"
    with Batches(near) as ours, Batches(far) as theirs:
        for step, rows in zip((1, 5), theirs.read_ahead([1, 5], depth=2, threads=2), strict=True):
            here = ours.rows(step)
            assert np.array_equal(rows.tokens, here.tokens)
            assert np.array_equal(rows.boundaries(), here.boundaries())


def test_a_remote_store_that_is_not_whole_is_an_error(bucket: Any, tmp_path: Path) -> None:
    """No manifest, a cut token file, a missing one: each names the object."""
    with pytest.raises(StoreError, match=r"s3://corpus/nothing is no store"):
        open_store(f"s3://{BUCKET}/nothing")
    store_builder.write(tmp_path, store_builder.documents([50, 60]))
    uri = upload(bucket, tmp_path / "web@1", "d/web@1")
    name = f"{BUCKET}/d/web@1/shards/00000.tok"
    bucket.pipe_file(name, bucket.cat_file(name)[:-30])
    store = open_store(uri)
    assert store.tokens(0, 90).size == 90
    with pytest.raises(StoreError, match=r"00000\.tok gave 10 of the bytes \[180, 220\)"):
        store.tokens(90, 110)
    bucket.rm_file(name)
    with pytest.raises(StoreError, match=r"00000\.tok"):
        store.tokens(0, 10)


def test_an_index_is_bisected_by_ranges(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are found in blocks of the remote index, few of them; absent and repeated ones too."""
    monkeypatch.setattr(remote, "BLOCK_ITEMS", 8)
    made = store_builder.documents([2] * 500)
    names = pa.array(["same" if n in {7, 301} else f"doc-{n}" for n in range(500)])
    rows = made.rows.set_column(0, "id", names)
    documents = store_builder.Documents(made.tokens, made.lengths, rows)
    store_builder.write(tmp_path, documents)
    store = open_store(upload(bucket, tmp_path / "web@1", "e/web@1"))
    assert [store.find_id(f"doc-{n}") for n in (0, 499, 250)] == [[0], [499], [250]]
    assert store.find_id("same") == [7, 301]
    assert store.find_id("gone") == []
    bucket.rm_file(f"{BUCKET}/e/web@1/id.idx")
    bucket.invalidate_cache()
    with pytest.raises(StoreError, match=r"id\.idx is missing"):
        open_store(store.location).find_id("doc-1")


def test_what_is_asked_for_is_all_that_is_fetched(tmp_path: Path) -> None:
    """Opening reads one object; tokens are read by ranges; document ends once a shard."""
    import fsspec

    store_builder.write(tmp_path, store_builder.documents([50, 60, 70, 80]), shard_tokens=100)
    system = fsspec.filesystem("memory")
    for file in (tmp_path / "web@1").rglob("*"):
        if file.is_file():
            name = file.relative_to(tmp_path).as_posix()
            system.pipe_file(f"/counted/{name}", file.read_bytes())
    fetched: list[tuple[str, int | None, int | None]] = []

    class Counted(RemoteFolder):
        def _system(self) -> tuple[Any, str]:
            system, root = super()._system()

            class Seen:
                def cat_file(self, path: str, start: Any = None, end: Any = None) -> bytes:
                    fetched.append((path.rpartition("/")[2], start, end))
                    return bytes(system.cat_file(path, start, end))

                def cat_ranges(self, paths: Any, low: Any, high: Any, **_: str) -> list[bytes]:
                    return [self.cat_file(*each) for each in zip(paths, low, high, strict=True)]

            return Seen(), root

    from dolmix.shards.reader import Store, read_manifest

    folder = Counted("memory://counted/web@1")
    store = Store(folder, read_manifest(folder))
    store.tokens(40, 120)
    assert fetched == [
        ("manifest.json", None, None),
        ("00000.tok", 80, 100),
        ("00001.tok", 0, 120),
        ("00002.tok", 0, 20),
    ]
    del fetched[:]
    for _ in range(3):
        store.document_span(0)
        store.documents_in(0, 40)
    assert fetched == [("00000.end", None, None)]

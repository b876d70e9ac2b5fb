"""Images in LMDB databases."""

import sys
import threading

import lmdb
import pytest

from ganformer_jax.data.sources import databases
from ganformer_jax.data.sources.databases import LmdbSource
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError

ENTRIES = {b"cat": b"one" * 3000, b"b\xff": b"two", b"ant": b"three", b"a\nb": b"four"}


def complaint(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message and len(message) < 500
    return message


def database(path, entries, subdir=True):
    with lmdb.open(str(path), map_size=1 << 22, subdir=subdir) as environment:
        with environment.begin(write=True) as transaction:
            for key, value in entries.items():
                transaction.put(key, value)
    return path


@pytest.mark.parametrize("subdir", [True, False])
def test_entries_by_key(tmp_path, subdir):
    path = database(tmp_path / "cats.lmdb", ENTRIES, subdir)
    before = sorted(tmp_path.rglob("*"))
    if subdir:
        (path / "lock.mdb").unlink()
        before.remove(path / "lock.mdb")
    with LmdbSource(path) as source:
        assert list(source.names) == ["610a62", "ant", "62ff", "cat"]
        assert [source.read(index) for index in range(4)] == [
            ENTRIES[key] for key in sorted(ENTRIES)
        ]
        assert source.labels is None
    assert sorted(tmp_path.rglob("*")) == before  # nothing was written


def test_names_are_unique(tmp_path):
    path = database(tmp_path / "a", {b"\xff": b"1", b"ff": b"2"})
    with LmdbSource(path) as source:
        assert len(set(source.names)) == 2
        assert source.read(source.names.index("ff")) == b"2"


def test_facts_about_the_database_are_skipped(tmp_path):
    path = database(tmp_path / "a", {b"__len__": b"1", b"key": b"2"})
    with LmdbSource(path) as source:
        assert list(source.names) == ["key"]
        assert [name for name, _ in source.skipped] == ["__len__"]


def test_large_values_are_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "MAX_BYTES", 100)
    with LmdbSource(database(tmp_path / "a", ENTRIES)) as source:
        assert source.read(source.names.index("ant")) == b"three"
        with pytest.raises(Unreadable, match="large"):
            source.read(source.names.index("cat"))


def test_damaged_databases(tmp_path):
    path = database(tmp_path / "a", {b"%d" % index: bytes(5000) for index in range(50)})
    whole = (path / "data.mdb").read_bytes()
    for length in (0, 10, 4096, 9000, len(whole) // 2, len(whole) - 4096):
        (path / "data.mdb").write_bytes(whole[:length])
        assert "data.mdb" in complaint(lambda: LmdbSource(path))
    (path / "data.mdb").write_bytes(b"GIF89a" * 10000)
    assert "data.mdb" in complaint(lambda: LmdbSource(path))


def test_absent_and_empty(tmp_path):
    assert "data.mdb" in complaint(lambda: LmdbSource(tmp_path))
    assert "empty" in complaint(lambda: LmdbSource(database(tmp_path / "a", {})))


def test_without_lmdb(tmp_path, monkeypatch):
    path = database(tmp_path / "a", ENTRIES)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert 'pip install "ganformer-jax[formats]"' in complaint(lambda: LmdbSource(path))


def test_threads_read_one_database(tmp_path):
    entries = {b"%03d" % index: b"%d" % index * 1000 for index in range(100)}
    wrong = []
    with LmdbSource(database(tmp_path / "a", entries)) as source:

        def read(start):
            for index in range(start, 100, 4):
                if source.read(index) != entries[source.names[index].encode()]:
                    wrong.append(index)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert not wrong


def test_the_fingerprint_follows_the_contents(tmp_path):
    path = database(tmp_path / "a", ENTRIES)
    with LmdbSource(path) as source:
        first = source.fingerprint()
    with LmdbSource(path) as source:
        assert source.fingerprint() == first
    database(path, {b"new": b"1"})
    with LmdbSource(path) as source:
        assert source.fingerprint() != first

"""Parquet files of Hugging Face's datasets."""

import json
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from images import png
from published_archives import write_parquet

from ganformer_jax.cli import prepare as command
from ganformer_jax.data.decode import decode
from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.sources import parquet as parquet_module
from ganformer_jax.data.sources import parquet_labels
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError


def complaint(path, **options) -> str:
    with pytest.raises(UserError) as raised:
        open_source(str(path), **options)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400
    return message


def levels(source):
    return [int(np.asarray(decode(source.read(i)).image)[0, 0, 0]) for i in range(len(source))]


def labels_of(source):
    assert source.labels is not None
    return source.labels.names, source.labels.classes.tolist()


@pytest.mark.parametrize("kind", ["struct", "binary", "large"])
@pytest.mark.parametrize("names", [("cat", "dog"), None])
def test_images_and_classes(tmp_path, kind, names):
    path = write_parquet(tmp_path / "x.parquet", range(11), kind, names)
    with open_source(str(path)) as source:
        assert levels(source) == list(range(0, 110, 10)) and not source.skipped
        assert source.names[3] == "x.parquet@00000003"
        assert labels_of(source) == (names or ("0", "1"), [i % 2 for i in range(11)])
        for index in (9, 2, 8, 0):  # in any order
            assert source.read(index) == png(10 * index)


def test_a_folder_of_shards_and_its_splits(tmp_path):
    for shard in (1, 0):
        write_parquet(
            tmp_path / f"data/train-0000{shard}-of-00002.parquet", range(shard, 4 + shard)
        )
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", range(7, 9))
    (tmp_path / "README.md").write_text("words")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/train-00002-of-00003.parquet").write_bytes(b"")
    with open_source(str(tmp_path)) as source:
        assert levels(source) == [0, 10, 20, 30, 10, 20, 30, 40]
        assert source.names[4] == "train-00001-of-00002.parquet@00000000"
        assert labels_of(source)[1] == [0, 1] * 4
    with open_source(str(tmp_path), split="test") as source:
        assert levels(source) == [70, 80]
    assert "choose --split from: test, train" in complaint(tmp_path, split="all")
    with open_source(str(tmp_path / "data/train-*.parquet")) as source:
        assert len(source) == 8
    write_parquet(tmp_path / "other/train-00000-of-00001.parquet")
    assert "several datasets" in complaint(tmp_path)


def test_columns(tmp_path):
    two = pyarrow.array([png(100 + i) for i in range(6)])
    path = write_parquet(tmp_path / "x.parquet", names=None, mask=two)
    with open_source(str(path)) as source:
        assert levels(source)[0] == 0  # the one called image
    with open_source(str(path), array="mask") as source:
        assert levels(source) == list(range(100, 106))
        mask = source.fingerprint()
    with open_source(str(path)) as source:
        assert source.fingerprint() != mask
    assert "no column 'label' of encoded images" in complaint(path, array="label")
    assert "no column 'x'" in complaint(path, array="x")
    table = pyarrow.table({"text": ["a"], "url": ["http://x"]})
    pyarrow.parquet.write_table(table, tmp_path / "y.parquet")
    message = complaint(tmp_path / "y.parquet")
    assert "--array NAME" in message and "url: string" in message


def test_rows_without_an_image(tmp_path):
    images = pyarrow.array(
        [{"bytes": png(1), "path": "a"}, {"bytes": None, "path": "/etc/passwd"}, None],
        pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
    )
    pyarrow.parquet.write_table(pyarrow.table({"image": images}), tmp_path / "x.parquet")
    with open_source(str(tmp_path / "x.parquet")) as source:
        assert source.read(0) == png(1) and source.labels is None
        for index in (1, 2):
            with pytest.raises(Unreadable, match="no image in the row"):
                source.read(index)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", None, "b", "a", "a"], (("a", "b"), [1, 0, -1, 1, 0, 0])),
        (["10", "9", "", "10", "9", "9"], (("9", "10"), [1, 0, -1, 1, 0, 0])),
        ([2, None, 0, 1, 0, 0], (("0", "1", "2"), [2, -1, 0, 1, 0, 0])),
        ([1.0, None, 0.0, 1.0, 0.0, 0.0], (("0", "1"), [1, -1, 0, 1, 0, 0])),
        ([True, None, False, True, False, False], (("0", "1"), [1, -1, 0, 1, 0, 0])),
    ],
)
def test_classes_without_metadata(tmp_path, values, expected):
    path = write_parquet(tmp_path / "x.parquet", names=None, label=pyarrow.array(values))
    with open_source(str(path)) as source:
        assert labels_of(source) == expected


@pytest.mark.parametrize(("values", "names"), [(["b", "a"], ("a", "b")), ([3, 1], ("1", "3"))])
def test_classes_of_a_categorical_column(tmp_path, values, names):
    column = pyarrow.array([*values, None] * 2).dictionary_encode()
    path = write_parquet(tmp_path / "x.parquet", names=None, label=column)
    with open_source(str(path)) as source:
        assert labels_of(source) == (names, [1, 0, -1] * 2)


@pytest.mark.parametrize(
    "values", [["a", "b", "c", "d", "e", "f"], [0.5] * 6, [[0], [1]] * 3, [-7] * 6]
)
def test_labels_that_are_not_classes(tmp_path, values):
    path = write_parquet(tmp_path / "x.parquet", names=None, label=pyarrow.array(values))
    with open_source(str(path)) as source:
        with pytest.raises(UserError, match="column label.*--labels none"):
            find_labels(source, "auto")


@pytest.mark.parametrize(
    "metadata", [b"{", b'{"info": 1}', b'{"info": {"features": {"image": 3}}}']
)
def test_metadata_that_is_not_hugging_faces(tmp_path, metadata):
    table = pyarrow.table({"image": [png(1)], "label": [0]}).replace_schema_metadata(
        {b"huggingface": metadata}
    )
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with open_source(str(tmp_path / "x.parquet")) as source:
        assert source.read(0) == png(1) and labels_of(source) == (("0",), [0])


def test_damaged_files(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", range(20), compression=None)
    whole = path.read_bytes()
    for contents in (b"", b"words" * 100, whole[:-10], whole[:200] + whole[-8:]):
        path.write_bytes(contents)
        assert "is damaged or not a Parquet file" in complaint(path)
    flipped = bytearray(whole)
    flipped[4:60] = bytes(56)  # the header of the first page
    path.write_bytes(flipped)
    with open_source(str(path)) as source:
        for index in (0, 3, 1):
            with pytest.raises(Unreadable, match="damaged|fewer rows"):
                source.read(index)
        assert source.read(5) == png(50)  # of the next row group
        with pytest.raises(Unreadable, match="damaged|fewer rows"):
            source.read(0)


def test_more_rows_than_bytes(tmp_path):
    table = pyarrow.table({"image": pyarrow.nulls(1 << 20, pyarrow.binary())})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    assert "more rows than it has bytes" in complaint(tmp_path / "x.parquet")


def write_columns(path, classes, **columns):
    """Write six images with columns; the metadata calls some of them classes."""
    table = pyarrow.table({"image": [png(i) for i in range(6)], **columns})
    features = {name: {"_type": "ClassLabel", "names": list("xyz")} for name in classes}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize(
    ("classes", "columns", "taken"),
    [
        (["kind"], ["kind"], "kind"),
        (["kind"], ["kind", "y"], "y"),
        (["kind", "y"], ["kind", "label", "y"], "y"),
        (["kind", "size"], ["kind", "size"], None),
        (["kind", "size"], ["kind", "size", "target"], "target"),
    ],
)
def test_the_column_of_classes(tmp_path, classes, columns, taken):
    values = dict.fromkeys(columns, [0, 1] * 3)
    with open_source(str(write_columns(tmp_path / "x.parquet", classes, **values))) as source:
        assert (source.labels and source.labels.origin) == (taken and f"column {taken}")
        assert list(source.label_columns) == ([] if taken else classes)


def test_a_column_of_a_usual_name_without_classes(tmp_path):
    path = write_columns(tmp_path / "x.parquet", ["kind"], kind=[0, 1] * 3, y=[0.5] * 6)
    with open_source(str(path)) as source:
        assert source.labels is not None and source.labels.origin == "column kind"


def test_columns_that_may_be_classes_are_named(tmp_path, capsys):
    values = {"kind": [0, 1] * 3, "size": [0, 1, 2] * 2}
    path = write_columns(tmp_path / "x.parquet", list(values), **values)
    command.run(command.Options(str(path), name="x", data_dir=tmp_path / "data"))
    said = "no classes were found: of the columns kind, size, rename one to label, or give --labels"
    assert said in capsys.readouterr().out
    command.run(command.Options(str(path), name="y", data_dir=tmp_path / "data", labels="none"))
    assert "kind" not in capsys.readouterr().out


def test_large_images_and_large_labels(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(parquet_module, "MAX_BYTES", 10)
    monkeypatch.setattr(parquet_labels, "MAX_LABEL_BYTES", 10)
    with open_source(str(path)) as source:
        with pytest.raises(Unreadable, match="larger than"):
            source.read(0)
        assert source.label_error is not None and "too large" in source.label_error


def test_a_few_rows_are_in_memory_at_once(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", range(20))
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table, path)  # one row group
    with open_source(str(path)) as source:
        assert isinstance(source, parquet_module.ParquetSource)
        source.read(10)
        assert len(source._cursor._batch) == parquet_module.ROWS_AT_ONCE


def test_without_pyarrow(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert 'pip install "ganformer-jax[formats]"' in complaint(path)


def test_the_command_names_the_column(tmp_path):
    path = write_parquet(tmp_path / "x.parquet")
    options = command.Options(str(path), name="x", data_dir=tmp_path / "data", array="image")
    command.run(options)
    text = (tmp_path / "data/x/1.0.0/label.labels.txt").read_text()
    assert text.split() == ["cat", "dog"]

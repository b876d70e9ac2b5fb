"""TFRecords of StyleGAN and GANformer, without TensorFlow."""

import errno
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from tfrecords import complaint, example, frame, image_at, write_dataset

from ganformer_jax.data.sources import frames as framing
from ganformer_jax.data.sources.frames import crc32c, index_frames
from ganformer_jax.data.sources.records import TfrecordSource
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError


def write_labels(folder: Path, classes, number: int = 4):
    with (folder / "cats-rxx.labels").open("wb") as file:
        np.save(file, np.eye(number, dtype=np.float32)[classes])


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256))])
def test_the_checksum_is_castagnolis(data):
    assert crc32c(data) == google_crc32c.value(data)
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("shards", [None, 1, 3, 12])
def test_the_largest_resolution_and_its_labels(tmp_path, shards):
    folder = write_dataset(tmp_path / "cats", count=25, shards=shards)
    classes = np.arange(25) ** 2 % 4
    write_labels(folder, classes)
    source = TfrecordSource(folder)
    number = shards or 1
    order = [i for shard in range(number) for i in range(shard, 25, number)]
    assert len(source) == 25 == len(set(source.names)) and not source.skipped
    for index, original in enumerate(order):
        found = source.read(index)
        np.testing.assert_array_equal(found, image_at(original, 8).transpose(1, 2, 0))
    assert source.labels is not None and source.labels.names == ("0", "1", "2", "3")
    np.testing.assert_array_equal(source.labels.classes, classes[order])


def test_one_file_alone(tmp_path):
    folder = write_dataset(tmp_path / "cats")
    write_labels(folder, np.arange(11) % 4)
    source = TfrecordSource(folder / "cats-r02.tfrecords2of3")
    assert len(source) == 4 and source.labels is not None and not source.skipped
    assert source.labels.classes.tolist() == [1, 0, 3, 2]
    np.testing.assert_array_equal(source.read(1), image_at(4, 4).transpose(1, 2, 0))


def test_a_missing_shard_is_reported_and_shifts_no_label(tmp_path):
    folder = write_dataset(tmp_path / "cats")
    write_labels(folder, np.arange(11) % 4)
    (folder / "cats-r03.tfrecords1of3").unlink()
    source = TfrecordSource(folder)
    assert source.skipped == [("cats-r03.tfrecords1of3", "missing shard")]
    assert source.labels is not None
    assert source.labels.classes.tolist() == [1, 0, 3, 2, 2, 1, 0]


def test_a_truncated_tail_is_skipped(tmp_path):
    folder = write_dataset(tmp_path / "cats", shards=None)
    path = folder / "cats-r03.tfrecords"
    whole = path.read_bytes()
    for cut in (1, 4, 100, len(whole) // 11 - 1, len(whole) // 11 - 11):
        path.write_bytes(whole[:-cut])
        source = TfrecordSource(folder)
        assert len(source) == 10 and source.read(9).shape == (8, 8, 3)
        assert [reason for _, reason in source.skipped] == ["the file is cut short"]


def test_a_wrong_checksum_is_unreadable(tmp_path, monkeypatch):
    folder = write_dataset(tmp_path / "cats", shards=None)
    path = folder / "cats-r03.tfrecords"
    contents = bytearray(path.read_bytes())
    offsets = index_frames(path).offsets
    contents[offsets[4] + 100] ^= 1
    path.write_bytes(contents)
    source = TfrecordSource(folder)
    with pytest.raises(Unreadable, match="checksum"):
        source.read(4)
    source.read(5)
    monkeypatch.setattr(framing, "google_crc32c", None)
    source.read(4)  # unnoticed without the package
    contents[offsets[6] - 12] ^= 1  # a length: what follows is lost
    path.write_bytes(contents)
    source = TfrecordSource(folder)
    assert len(source) == 6 and "checksum" in source.skipped[0][1]


@pytest.mark.parametrize(
    "record",
    [
        example(shape=[3, 2, 2], data=bytes(11)),
        example(shape=[3, -2, -2], data=bytes(12)),
        example(shape=[3, 1 << 40, 1 << 40], data=bytes(12)),
        example(shape=[12], data=bytes(12)),
        example(shape=[2, 2, 3], data=bytes(12)),
        example(shape=[3, 2, 2], data=[1, 2]),
        example(shape=bytes(3), data=bytes(12)),
        example(shape=[3, 2, 2]),
        example(data=bytes(12)),
        b"\xff" * 20,
        b"",
    ],
    ids=map(str, range(11)),  # the bytes differ from one process to another
)
def test_odd_records_are_unreadable(tmp_path, record):
    data = image_at(0, 2)
    good = frame(example(shape=data.shape, data=data.tobytes()))
    (tmp_path / "a-r01.tfrecords").write_bytes(good + frame(record) + good)
    source = TfrecordSource(tmp_path)
    with pytest.raises(Unreadable):
        source.read(1)
    assert source.read(2).shape == (2, 2, 3)


def test_folders_that_cannot_be_used(tmp_path):
    assert "no *-rNN.tfrecords" in complaint(lambda: TfrecordSource(tmp_path))
    path = tmp_path / "a-r03.tfrecords"
    for contents in (b"", b"\x1f\x8b" * 100):
        path.write_bytes(contents)
        assert "a-r03" in complaint(lambda: TfrecordSource(path))
    path.write_bytes(frame(example(encoded=b"1", caption=b"2")))
    assert "caption, encoded" in complaint(lambda: TfrecordSource(tmp_path))
    (tmp_path / "b-r03.tfrecords").write_bytes(b"")
    assert "several" in complaint(lambda: TfrecordSource(tmp_path))


def test_wrong_labels(tmp_path):
    folder = write_dataset(tmp_path / "cats")
    write_labels(folder, np.arange(10) % 4)
    source = TfrecordSource(folder)
    assert source.labels is None and "not a list of one-hot rows" in str(source.label_error)
    (folder / "cats-rxx.labels").write_bytes(b"cos\nsystem\n")
    source = TfrecordSource(folder)
    assert source.labels is None and "cats-rxx.labels cannot be read" in str(source.label_error)


def test_the_fingerprint_follows_the_contents(tmp_path):
    folder = write_dataset(tmp_path / "cats")
    first = TfrecordSource(folder).fingerprint()
    assert TfrecordSource(folder).fingerprint() == first
    write_labels(folder, np.arange(11) % 4)
    assert TfrecordSource(folder).fingerprint() != first


def test_a_disk_that_is_gone_is_not_a_damaged_record(tmp_path, monkeypatch):
    source = TfrecordSource(write_dataset(tmp_path / "cats"))

    def gone(path, *arguments):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "open", gone)
    with pytest.raises(UserError, match=r"cats-r03.*Input/output error.*same command to resume"):
        source.read(0)
    assert "to resume" in complaint(lambda: TfrecordSource(tmp_path / "cats"))

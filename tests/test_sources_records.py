"""TFRecords, and datasets that TFDS prepared, without TensorFlow."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from ganformer_jax.data.sources import frames as framing
from ganformer_jax.data.sources.frames import crc32c, index_frames, masked
from ganformer_jax.data.sources.prepared import TfdsSource
from ganformer_jax.data.sources.records import TfrecordSource
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]


def complaint(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    message = str(raised.value)
    assert message and "\n" not in message and len(message) < 700
    return message


def frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return (
        length
        + struct.pack("<I", masked(google_crc32c.value(length)))
        + data
        + struct.pack("<I", masked(google_crc32c.value(data)))
    )


def example(**features) -> bytes:
    found = tf_example_pb2.Example()
    for name, value in features.items():
        feature = found.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.extend(value)
    return found.SerializeToString()


def picture(number: int, size: int, channels: int = 3) -> np.ndarray:
    """Channel, row and column all show in the values."""
    found = np.arange(channels * size * size).reshape(channels, size, size) * 7 + number
    return found.astype(np.uint8)


def write_dataset(folder: Path, count=11, shards: int | None = 3, levels=(2, 3)):
    """As GANformer's tools write: pictures go to the shards in turn."""
    folder.mkdir()
    for level in levels:
        written = [b""] * (shards or 1)
        for number in range(count):
            data = picture(number, 2**level)
            record = frame(example(shape=data.shape, data=data.tobytes()))
            written[number % len(written)] += record
        for shard, contents in enumerate(written):
            tail = f"{shard + 1}of{shards}" if shards else ""
            (folder / f"cats-r{level:02d}.tfrecords{tail}").write_bytes(contents)
    return folder


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
        np.testing.assert_array_equal(found, picture(original, 8).transpose(1, 2, 0))
    assert source.labels is not None and source.labels.names == ("0", "1", "2", "3")
    np.testing.assert_array_equal(source.labels.classes, classes[order])


def test_one_file_alone(tmp_path):
    folder = write_dataset(tmp_path / "cats")
    write_labels(folder, np.arange(11) % 4)
    source = TfrecordSource(folder / "cats-r02.tfrecords2of3")
    assert len(source) == 4 and source.labels is not None and not source.skipped
    assert source.labels.classes.tolist() == [1, 0, 3, 2]
    np.testing.assert_array_equal(source.read(1), picture(4, 4).transpose(1, 2, 0))


def test_a_missing_shard_is_told_and_shifts_no_label(tmp_path):
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
)
def test_odd_records_are_unreadable(tmp_path, record):
    data = picture(0, 2)
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
    assert "cats-rxx.labels" in complaint(lambda: TfrecordSource(folder))
    (folder / "cats-rxx.labels").write_bytes(b"cos\nsystem\n")
    assert "cats-rxx.labels" in complaint(lambda: TfrecordSource(folder))


def test_the_fingerprint_follows_the_contents(tmp_path):
    folder = write_dataset(tmp_path / "cats")
    first = TfrecordSource(folder).fingerprint()
    assert TfrecordSource(folder).fingerprint() == first
    write_labels(folder, np.arange(11) % 4)
    assert TfrecordSource(folder).fingerprint() != first


ENCODED = [b"\x89PNG %d" % index + bytes(index) for index in range(10)]


class Encoded(tfds.core.GeneratorBasedBuilder):
    """Encoded pictures that end in bytes of zero."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["cat", "dog", "eel"]),
            "caption": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for index, encoded in enumerate(ENCODED):
            yield index, {"image": encoded, "label": index % 3, "caption": "a"}


class Pixels(tfds.core.GeneratorBasedBuilder):
    """Pictures as tensors, without classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Tensor(shape=(4, 5, 3), dtype=np.uint8)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(3):
            yield index, {"image": np.full((4, 5, 3), index, np.uint8)}


class Captions(Pixels):
    """No pictures."""

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self):
        yield 0, {"text": "a"}


class Unpreparable(Captions):
    """Needs what is not there."""

    def _split_generators(self, dl_manager):
        raise ImportError("this needs\ntensorflow")


def prepared(builder_class, folder) -> Path:
    builder = builder_class(data_dir=str(folder))
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_path)


def as_tfrecord(folder: Path, copy: Path) -> Path:
    """The same dataset as TFRecord, as TFDS names it: two shards, with 6 and 4 records."""
    builder = tfds.builder_from_directory(folder)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    copy.mkdir(parents=True)
    for split in builder.info.splits:
        records = list(builder.as_data_source(split, deserialize_method=raw))
        for shard, part in enumerate((records[:6], records[6:])):
            name = f"{builder.name}-{split}.tfrecord-{shard:05d}-of-00002"
            (copy / name).write_bytes(b"".join(map(frame, part)))
    for path in [folder / "features.json", *folder.glob("*.txt")]:
        shutil.copy(path, copy)
    info = (folder / "dataset_info.json").read_text()
    info = info.replace("array_record", "tfrecord").replace('"10"', '"6",\n"4"')
    (copy / "dataset_info.json").write_text(info)
    return copy


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    first = prepared(Encoded, root / "array_record")
    return {
        "array_record": first,
        "tfrecord": as_tfrecord(first, root / "tfrecord" / "encoded" / "1.0.0"),
    }


@pytest.mark.parametrize("kind", ["array_record", "tfrecord"])
@pytest.mark.parametrize(
    ("split", "part"),
    [("train", slice(None)), ("test[:70%]", slice(7)), ("train[3:8]", slice(3, 8))],
)
def test_encoded_pictures_of_a_split(folders, kind, split, part):
    stored = [
        index
        for record in TfdsSource(folders["array_record"], split=split.split("[")[0])._records
        for index, encoded in enumerate(ENCODED)
        if b"PNG %d" % index in record
    ]
    source = TfdsSource(folders[kind], split=split)
    expected = stored[part]
    assert len(source) == len(expected) and not source.skipped
    assert [source.read(index) for index in range(len(source))] == [ENCODED[i] for i in expected]
    assert source.labels is not None and source.labels.names == ("cat", "dog", "eel")
    assert source.labels.classes.tolist() == [index % 3 for index in expected]


@pytest.mark.parametrize("kind", ["array_record", "tfrecord"])
def test_by_name(folders, kind):
    data_dir = folders[kind].parents[1]
    source = TfdsSource("encoded", data_dir)
    assert len(source) == 10
    assert source.fingerprint() == TfdsSource(folders[kind]).fingerprint()
    assert source.fingerprint() != TfdsSource("encoded", data_dir, "test").fingerprint()


def test_a_damaged_tfrecord_dataset(folders, tmp_path):
    copy = as_tfrecord(folders["array_record"], tmp_path / "encoded" / "1.0.0")
    path = copy / "encoded-train.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-3])
    first = copy / "encoded-train.tfrecord-00000-of-00002"
    contents = bytearray(first.read_bytes())
    contents[index_frames(first).offsets[2] + 3] ^= 1
    first.write_bytes(contents)
    source = TfdsSource(copy)
    assert len(source) == 9
    assert [(name, "cut short" in why) for name, why in source.skipped] == [
        (f"{path.name}@00000003", True)
    ]
    with pytest.raises(Unreadable, match="checksum"):
        source.read(2)
    assert source.labels is not None and source.labels.classes[2] == -1
    first.unlink()
    assert "prepare it again" in complaint(lambda: TfdsSource(copy))


def test_pictures_as_tensors(tmp_path):
    source = TfdsSource(prepared(Pixels, tmp_path))
    assert source.labels is None
    levels = set()
    for index in range(3):
        found = source.read(index)
        assert isinstance(found, np.ndarray) and found.dtype == np.uint8
        assert found.shape == (4, 5, 3)
        levels.add(int(found.max()))
    assert levels == {0, 1, 2}


def test_datasets_that_cannot_be_used(folders, tmp_path):
    assert "text" in complaint(lambda: TfdsSource(prepared(Captions, tmp_path)))
    assert "train" in complaint(lambda: TfdsSource(folders["tfrecord"], split="valid"))
    assert "train" in complaint(lambda: TfdsSource(folders["tfrecord"], split="train[:9"))
    assert "dataset_info.json" in complaint(lambda: TfdsSource(tmp_path))
    assert "no_such_set" in complaint(lambda: TfdsSource("no_such_set", tmp_path))
    (tmp_path / "dataset_info.json").write_text("{")
    assert "open" in complaint(lambda: TfdsSource(tmp_path))


def test_what_tfds_cannot_prepare_here(tmp_path):
    message = complaint(lambda: TfdsSource("unpreparable", tmp_path))
    assert "tfds build unpreparable" in message and "this needs tensorflow" in message


WITHOUT_TENSORFLOW = """
import sys

class WithoutTensorflow:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "tensorflow":
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [WithoutTensorflow(finder) for finder in sys.meta_path]
from ganformer_jax.data.sources.prepared import TfdsSource
from ganformer_jax.data.sources.records import TfrecordSource
for folder in sys.argv[1:3]:
    source = TfdsSource(folder, split="train[:8]")
    assert isinstance(source.read(7), bytes) and source.labels.classes.shape == (8,)
assert TfrecordSource(sys.argv[3]).read(0).shape == (8, 8, 3)
assert not [name for name in sys.modules if name.startswith("tensorflow.")]
"""


def test_tensorflow_is_never_imported(folders, tmp_path):
    paths = [folders["array_record"], folders["tfrecord"], write_dataset(tmp_path / "cats")]
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, paths)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr

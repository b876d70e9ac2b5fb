"""Datasets that TFDS prepared, read without TensorFlow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from images import png
from tfrecords import complaint, frame, write_dataset

from ganformer_jax.data.sources.frames import index_frames
from ganformer_jax.data.sources.prepared import TfdsSource
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.evaluation import Reading, stored_images

REPOSITORY = Path(__file__).resolve().parents[1]

ENCODED = [b"\x89PNG %d" % index + bytes(index) for index in range(10)]


class Encoded(tfds.core.GeneratorBasedBuilder):
    """Encoded images that end in bytes of zero."""

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
    """Images as tensors, without classes."""

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
    """No images."""

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self):
        yield 0, {"text": "a"}


class Unpreparable(Captions):
    """Needs a package that is missing."""

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


def test_a_folder_of_datasets_is_for_names(folders):
    """Beside the folder of a dataset it has no effect, and is refused by `prepare`."""
    folder = folders["array_record"]
    assert TfdsSource(folder).options == {"split"}
    assert TfdsSource("encoded", folder.parents[1]).options == {"split", "tfds_dir"}


@pytest.mark.parametrize("kind", ["array_record", "tfrecord"])
@pytest.mark.parametrize(
    ("split", "part"),
    [("train", slice(None)), ("test[:70%]", slice(7)), ("train[3:8]", slice(3, 8))],
)
def test_encoded_images_of_a_split(folders, kind, split, part):
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


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("Broken pipe")])
def test_a_disk_that_is_gone_is_not_a_damaged_record(folders, monkeypatch, error):
    class Gone:
        def __getitem__(self, index):
            raise error

    source = TfdsSource(folders["array_record"])
    length = len(source)
    monkeypatch.setattr(source, "_records", Gone())
    for read in (lambda: source.read(length - 1), lambda: source.labels):
        with pytest.raises(UserError, match="run the same command to resume"):
            read()


def test_images_as_tensors(tmp_path):
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
    assert "tfds build unpreparable" in message and "this needs" in message


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


class Photos(Encoded):
    """Images of a size that the dataset does not say."""

    def _generate_examples(self):
        for index in range(10):
            yield index, {"image": png(index), "label": index % 3, "caption": "a"}


def test_datasets_of_any_kind_are_evaluated(tmp_path):
    tensors = stored_images(prepared(Pixels, tmp_path / "tensors"))
    assert sorted(tensors.read(range(3))[:, 0, 0, 0]) == [0, 1, 2]
    folder = prepared(Photos, tmp_path / "photos")
    for path in (folder, as_tfrecord(folder, tmp_path / "copy/photos/1.0.0")):
        found = stored_images(path, Reading(split="test"))
        assert found.count == 10 and sorted(found.read(range(10))[:, 0, 0, 0]) == [*range(10)]

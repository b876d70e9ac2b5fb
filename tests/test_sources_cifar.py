"""CIFAR's own files: images, classes and splits; damage and hostile pickles."""

import pickle
import struct

import numpy as np
import pytest
from published_archives import (
    cifar_files,
    cifar_images,
    python2_pickle,
    tar_bytes,
    write_cifar,
)

from ganformer_jax.cli import prepare as command
from ganformer_jax.data.sources import cifar
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.errors import UserError

KINDS = [(10, False), (10, True), (100, False), (100, True)]


def complaint(path, split="train") -> str:
    with pytest.raises(UserError) as raised:
        open_source(str(path), split=split)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 300
    return message


@pytest.mark.parametrize(("classes", "is_binary"), KINDS)
@pytest.mark.parametrize("place", ["renamed.tar.gz", "folder"])
def test_images_classes_and_names(tmp_path, classes, is_binary, place):
    path = write_cifar(tmp_path / place, classes, is_binary)
    with open_source(str(path)) as source:
        files = 5 if classes == 10 else 1
        assert len(source) == 3 * files and len(set(source.names)) == len(source)
        for index in range(len(source)):
            file, row = divmod(index, 3)
            expected = cifar_images(3, file)[row].reshape(3, 32, 32).transpose(1, 2, 0)
            found = source.read(index)
            assert isinstance(found, np.ndarray) and found.dtype == np.uint8
            np.testing.assert_array_equal(found, expected)
        assert source.labels is not None
        assert source.labels.names == tuple(f"name{number}" for number in range(classes))
        numbers = [(i + 7 * file) % classes for file in range(files) for i in range(3)]
        assert source.labels.classes.tolist() == numbers


def test_splits(tmp_path):
    path = write_cifar(tmp_path / "x.tar.gz")
    sources = {s: open_source(str(path), split=s) for s in ("train", "test", "train+test")}
    assert [len(source) for source in sources.values()] == [15, 3, 18]
    both = sources["train+test"]
    assert [*sources["train"].names, *sources["test"].names] == list(both.names)
    np.testing.assert_array_equal(both.read(17), sources["test"].read(2))
    assert len({source.fingerprint() for source in sources.values()}) == 3
    assert "did you mean test" in complaint(path, "tests")
    assert "choose --split from: test, train" in complaint(path, "9")
    assert "twice" in complaint(path, "train+train")


def test_the_command_takes_the_split_and_no_other_option(tmp_path):
    path = write_cifar(tmp_path / "x.tar.gz")
    options = command.Options(str(path), name="x", data_dir=tmp_path / "data", split="test")
    command.run(options)
    assert (tmp_path / "data/x/1.0.0/dataset_info.json").exists()
    with pytest.raises(UserError, match="--array has no effect on a CIFAR-10"):
        command.run(command.Options(str(path), name="y", data_dir=tmp_path, array="data"))


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("file", ["data_batch_3", "batches.meta"])
def test_nothing_in_a_pickle_is_run(tmp_path, file):
    harmed = tmp_path / "harmed"
    files = cifar_files(10, False) | {file: pickle.dumps({"data": Exploit(harmed)}, protocol=2)}
    path = write_cifar(tmp_path / "x.tar.gz", files=files)
    message = complaint(path)
    assert file in message and "not allowed" in message and not harmed.exists()
    pickle.loads(files[file])["data"].close()  # it would have been
    assert harmed.exists()


def test_a_text_copied_to_many_arrays_is_refused(tmp_path, monkeypatch):
    bomb = python2_pickle(np.zeros((1, 1 << 20), np.uint8))[2:-1]
    text = b"T" + struct.pack("<i", 1 << 20) + bytes(1 << 20)
    assert text in bomb
    again = bomb.replace(text, b"h\x00")
    stored = b"\x80\x02](" + bomb.replace(text, text + b"q\x00") + again * 5000 + b"e."
    files = cifar_files(10, False) | {"data_batch_1": stored}
    assert "more work" in complaint(write_cifar(tmp_path / "cifar", files=files))


def batch(**changes):
    values = {"labels": [0, 1, 2], "data": cifar_images(3, 0)} | changes
    return {"data_batch_1": python2_pickle({k: v for k, v in values.items() if v is not None})}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (batch(labels=[0, 1]), "2 classes for 3 images"),
        (batch(labels=[0, 1, 10]), "classes outside 0..9"),
        (batch(labels=[0, 1, "2"]), "no list of classes"),
        (batch(labels=None), "no list of classes"),
        (batch(data=np.zeros((3, 3071), np.uint8)), "no array of 32x32"),
        (batch(data="pixels"), "no array of 32x32"),
        ({"data_batch_1": python2_pickle([1])}, "not a pickled dict"),
        ({"data_batch_1": b""}, "cut short"),
        ({"data_batch_1": batch()["data_batch_1"][:4000]}, "cut short"),
        ({"batches.meta": python2_pickle({"label_names": ["one"]})}, "names of 10 classes"),
    ],
)
def test_batches_that_are_not_what_they_should_be(tmp_path, changed, words):
    files = cifar_files(10, False) | changed
    for place in ("x.tar.gz", "folder"):
        message = complaint(write_cifar(tmp_path / place, files=files))
        assert words in message and next(iter(changed)) in message


def test_binary_files_that_are_not_what_they_should_be(tmp_path):
    files = cifar_files(10, True)
    first = files["data_batch_1.bin"]
    for contents, words in [
        (first[:-1], "cut short"),
        (b"", "is empty"),
        (b"\xff" + first[1:], "classes outside 0..9"),
    ]:
        changed = files | {"data_batch_1.bin": contents}
        assert words in complaint(write_cifar(tmp_path / "x.tar.gz", 10, True, changed))
    changed = files | {"batches.meta.txt": b"one\n"}
    assert "names of 10" in complaint(write_cifar(tmp_path / "y.tar.gz", 10, True, changed))


def test_a_missing_batch_and_an_archive_that_ends_too_early(tmp_path):
    files = cifar_files(10, False)
    absent = {name: files[name] for name in files if name != "data_batch_4"}
    for place in ("x.tar.gz", "folder"):
        assert "no data_batch_4" in complaint(write_cifar(tmp_path / place, files=absent))
    path = write_cifar(tmp_path / "y.tar.gz")
    path.write_bytes(path.read_bytes()[:-40_000])
    assert "fetch it again" in complaint(path)


def test_files_too_large_for_cifar(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "MAX_BYTES", 5000)
    for place in ("x.tar.gz", "folder"):
        assert "too large" in complaint(write_cifar(tmp_path / place))


def test_other_archives_and_folders_are_not_taken_for_cifar(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_bytes({"cifar-10-batches-py.png": b""}))
    (tmp_path / "meta").write_bytes(b"")
    (tmp_path / "train").write_bytes(b"")
    assert cifar.find_layout(tmp_path / "x.tar") is None
    assert cifar.find_layout(tmp_path) is None

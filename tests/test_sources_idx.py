"""IDX files of MNIST and its relatives."""

import contextlib
import gzip
import struct

import numpy as np
import pytest
from published_archives import idx, idx_images, write_idx

from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.sources import idx as idx_module
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError


@pytest.fixture
def opened():
    """Open sources that are closed when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda path, **options: stack.enter_context(open_source(str(path), **options))


def complaint(path, split="train") -> str:
    with pytest.raises(UserError) as raised:
        open_source(str(path), split=split)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 300
    return message


@pytest.mark.parametrize("end", ["-idx{}-ubyte.gz", "-idx{}-ubyte", ".idx{}-ubyte"])
def test_images_and_classes(tmp_path, end):
    path = write_idx(tmp_path, end=end)
    with open_source(str(path)) as source:
        assert source.names == ("0", "1", "2", "3", "4") and not source.skipped
        for index in (3, 0, 4):
            np.testing.assert_array_equal(source.read(index), idx_images()[index])
        assert source.labels is not None and source.labels.names == ("0", "1", "2")
        assert source.labels.classes.tolist() == [0, 1, 2, 0, 1]


def test_labels_packed_differently_from_the_images(tmp_path, opened):
    path = write_idx(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(gzip.decompress(labels.read_bytes()))
    labels.unlink()
    assert opened(path).labels is not None
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    alone = opened(path)
    assert alone.labels is None and find_labels(alone, "auto") is None and len(alone) == 5


def test_a_folder_and_its_splits(tmp_path, opened):
    write_idx(tmp_path, "train", 5)
    write_idx(tmp_path, "t10k", 3, seed=1)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(idx_images()))  # unpacked beside it
    sources = {s: opened(tmp_path, split=s) for s in ("train", "test", "train+test")}
    assert [len(source) for source in sources.values()] == [5, 3, 8]
    both = sources["train+test"]
    np.testing.assert_array_equal(both.read(6), idx_images(3, 1)[1])
    assert both.labels is not None and both.labels.classes.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert len(set(both.names)) == 8
    assert "no split 'all'; choose --split from: test, train" in complaint(tmp_path, "all")


def test_emnist_is_upright_and_its_classes_have_characters(tmp_path, opened):
    path = write_idx(tmp_path, "emnist-letters-train", classes=[1, 2, 1, 2, 2])
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n")
    with open_source(str(path)) as source:
        np.testing.assert_array_equal(source.read(2), idx_images()[2].T)
        assert source.labels is not None and source.labels.names == ("Aa", "Bb")
        assert source.labels.classes.tolist() == [0, 1, 0, 1, 1]
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 999999999999\n")
    numbered = opened(path).labels
    assert numbered is not None and numbered.names == ("1", "2")


def test_several_datasets_in_a_folder_are_a_choice(tmp_path):
    write_idx(tmp_path, "emnist-letters-train")
    write_idx(tmp_path, "emnist-digits-train")
    message = complaint(tmp_path)
    assert "emnist-digits-train-images-idx3-ubyte.gz" in message and "name one" in message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\0\0\x0d\x03" + bytes(12), "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\x01" + bytes(12), "with 3 axes"),
        (idx(np.zeros((0, 8, 8), np.uint8)), "is empty"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 1 << 31, 1 << 31, 1 << 31), "too large"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 1 << 31, 1, 1), "too large"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 1 << 20, 28, 28), "cut short"),
    ],
)
def test_files_that_are_not_idx_or_claim_too_much(tmp_path, packed, contents, words):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(contents) if packed else contents)
    assert words in complaint(path)


def test_a_gzipped_file_that_ends_too_early(tmp_path):
    path = write_idx(tmp_path, count=100)
    path.write_bytes(path.read_bytes()[:-2000])
    with open_source(str(path)) as source:
        np.testing.assert_array_equal(source.read(0), idx_images(100)[0])
        with pytest.raises(Unreadable, match="cut short"):
            source.read(99)


def test_labels_that_do_not_fit(tmp_path, opened):
    path = write_idx(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    for contents, words in [
        (gzip.compress(idx(np.zeros(4, np.uint8))), "4 labels for 5 images"),
        (b"words", "not an IDX file"),
        (gzip.compress(idx(idx_images())), "with 1 axes"),
    ]:
        labels.write_bytes(contents)
        source = opened(path)
        with pytest.raises(UserError, match=f"{words}.*--labels none"):
            find_labels(source, "auto")
        assert find_labels(source, "none") is None


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(idx_module, "MAX_BYTES", 1 << 16)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((2, 512, 512), np.uint8))))
    assert "too large" in complaint(path)

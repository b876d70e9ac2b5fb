"""Images in .npy, .npz and HDF5 files."""

import errno
import sys
import threading

import h5py
import numpy as np
import pytest

from ganformer_jax.data.sources.arrays import ArraySource
from ganformer_jax.data.sources.source import MAX_CLASSES, Unreadable, labels_from
from ganformer_jax.errors import UserError


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def complaint(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message and len(message) < 500
    return message


def labels_of(source):
    assert source.labels is not None
    return source.labels


def write(path, **arrays):
    if path.suffix == ".npy":
        np.save(path, arrays["data"])
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.hdf5"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, ">u2", bool])
def test_images_come_as_stored(tmp_path, name, dtype):
    data = pixels(11, 6, 5, 3).astype(dtype)
    with ArraySource(write(tmp_path / name, data=data)) as source:
        assert len(source) == 11 and source.names[2] == "02" and source.labels is None
        assert list(source.names) == sorted(set(source.names))
        for index in (0, 7):
            found = source.read(index)
            assert isinstance(found, np.ndarray) and found.dtype == data.dtype
            np.testing.assert_array_equal(found, data[index])


@pytest.mark.parametrize(
    ("shape", "first"),
    [((4, 6, 5), False), ((4, 3, 6, 5), True), ((4, 3, 6, 3), False), ((4, 1, 6, 6), True)],
)
def test_channels_first_only_where_the_last_axis_cannot_be_channels(tmp_path, shape, first):
    data = pixels(*shape)
    found = ArraySource(write(tmp_path / "a.npy", data=data)).read(1)
    np.testing.assert_array_equal(found, data[1].transpose(1, 2, 0) if first else data[1])


def test_compressed_and_fortran_ordered_archives(tmp_path):
    data = np.asfortranarray(pixels(5, 6, 7, 3))
    np.savez_compressed(tmp_path / "small.npz", data=data)
    np.savez(tmp_path / "large.npz", other=np.zeros(3), data=data)
    for name in ("small.npz", "large.npz"):
        np.testing.assert_array_equal(ArraySource(tmp_path / name).read(3), data[3])


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_several_arrays_need_a_choice(tmp_path, name):
    path = write(tmp_path / name, one=pixels(3, 8, 8), two=pixels(4, 8, 8, 3))
    message = complaint(lambda: ArraySource(path))
    assert "--array NAME" in message and "one" in message and "two" in message
    assert len(ArraySource(path, array="two")) == 4
    assert "one" in complaint(lambda: ArraySource(path, array="three"))


def test_the_largest_resolution_of_several(tmp_path):
    arrays = {f"data{size}x{size}": pixels(3, 3, size, size) for size in (4, 16, 8)}
    source = ArraySource(write(tmp_path / "a.h5", **arrays))
    np.testing.assert_array_equal(source.read(2), arrays["data16x16"][2].transpose(1, 2, 0))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
def test_rows_of_numbers_are_to_be_reshaped(tmp_path, name):
    path = write(tmp_path / name, data=pixels(5, 48))
    assert "reshape" in complaint(lambda: ArraySource(path))


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
@pytest.mark.parametrize("label", ["label", "labels", "y", "target", "targets"])
def test_labels_and_their_names(tmp_path, name, label):
    classes = np.array([2, 0, 1, 2])
    labeled = {"images": pixels(4, 8, 8, 3), label: classes}
    labels = labels_of(ArraySource(write(tmp_path / name, **labeled)))
    assert labels.names == ("0", "1", "2") and labels.classes.tolist() == classes.tolist()
    names = np.array([b"cat", b"dog", b"eel"])
    (tmp_path / name).unlink()
    path = write(tmp_path / name, **labeled | {label: np.eye(3)[classes]}, class_names=names)
    with ArraySource(path) as source:
        assert labels_of(source).names == ("cat", "dog", "eel")
        assert labels_of(source).classes.tolist() == classes.tolist()


@pytest.mark.parametrize("name", ["a.npy", "a.h5"])
def test_labels_beside_the_file(tmp_path, name):
    path = write(tmp_path / name, data=pixels(3, 8, 8))
    before = ArraySource(path).fingerprint()
    np.save(tmp_path / "a-labels.npy", [1, 0, 1])
    with ArraySource(path) as source:
        assert labels_of(source).classes.tolist() == [1, 0, 1]
        assert source.fingerprint() != before
    np.save(tmp_path / "a-labels.npy", [1, 0])
    with ArraySource(path) as source:
        assert source.labels is None and "a-labels.npy does not hold" in str(source.label_error)


def test_labels_of_the_same_group(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for group, classes in (("test", [1, 0, 1]), ("train", [0, 1, 1])):
            file[f"{group}/x"], file[f"{group}/y"] = pixels(3, 8, 8), classes
        file["alone/x"] = pixels(3, 8, 8)
        file["alone/images"] = file["more/images"] = pixels(3, 8, 8)
    for group, classes in (("test", [1, 0, 1]), ("train", [0, 1, 1])):
        with ArraySource(path, array=f"{group}/x") as source:
            assert labels_of(source).classes.tolist() == classes
    with ArraySource(path, array="alone/x") as source:
        assert source.labels is None, "there is no telling which of the others"
    with ArraySource(path, array="alone/images") as source:
        assert source.labels is None and source.label_error is None, "images are not labels"


def test_words_for_more_images_than_there_can_be_classes(tmp_path):
    words = np.array(["dog", "cat"] * (MAX_CLASSES // 2 + 1), dtype=h5py.string_dtype())
    path = write(tmp_path / "a.h5", images=np.zeros((len(words), 2, 2), np.uint8), labels=words)
    with ArraySource(path) as source:
        assert labels_of(source).names == ("cat", "dog")
        assert labels_of(source).classes[-2:].tolist() == [1, 0]


def test_labels_as_scikit_learn_calls_them(tmp_path):
    path = write(tmp_path / "a.npz", X_train=pixels(3, 8, 8), Y_train=np.array([1, 0, 1]))
    with ArraySource(path) as source:
        assert labels_of(source).classes.tolist() == [1, 0, 1]


def test_labels_that_hold_objects_are_not_passed_over(tmp_path):
    labels = np.array(["b", "a", "b"], dtype=object)
    path = write(tmp_path / "a.npz", images=pixels(3, 8, 8), labels=labels)
    with ArraySource(path) as source:
        assert source.labels is None
        assert source.label_error == "the array labels holds Python objects"


def test_labels_of_the_same_part(tmp_path):
    arrays = {"x_train": pixels(3, 8, 8), "y_train": np.array([1, 0, 1])}
    arrays |= {"x_test": pixels(3, 8, 8), "y_test": np.array([0, 0, 1])}
    source = ArraySource(write(tmp_path / "a.npz", **arrays), array="x_test")
    assert labels_of(source).classes.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 2], [0, 2]),
        ([[1], [0]], [1, 0]),
        ([-1, 1], [-1, 0]),
        ([[0, 1], [0, 0]], [1, -1]),
        ([1.0, 0.0], [1, 0]),
        ([0.5, 1], None),
        ([np.nan, 1], None),
        ([-2, 1], None),
        ([0, 1 << 40], None),
        ([[1, 1], [0, 1]], None),
        ([0, 1, 2], None),
        ([-1, -1], None),
        (["b", "a"], [1, 0]),
        (["10", "9"], [1, 0]),
        (["a", ""], [0, -1]),
        ([" ", "a "], [-1, 0]),
        (["", ""], None),
        ([[b"b"], [b"b"]], [0, 0]),
        ([["a", "b"], ["a", "b"]], None),
    ],
)
def test_what_counts_as_labels(values, expected):
    labels = labels_from(np.array(values), 2, "here")
    assert (labels and labels.classes.tolist()) == expected


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
def test_damaged_files(tmp_path, name):
    path = write(tmp_path / name, data=pixels(30, 8, 8, 3))
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert name in complaint(lambda: ArraySource(path))
    path.write_bytes(b"GIF89a" * 100)
    assert name in complaint(lambda: ArraySource(path))


def test_objects_are_never_unpickled(tmp_path):
    objects = np.array([{"a": 1}, None] * 8, dtype=object).reshape(2, 2, 4)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", allow_pickle=True, data=objects)
    for name in ("a.npy", "a.npz"):
        assert "objects" in complaint(lambda name=name: ArraySource(tmp_path / name))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
def test_empty_arrays(tmp_path, name):
    path = write(tmp_path / name, data=np.zeros((0, 8, 8, 3)))
    assert complaint(lambda: ArraySource(path))


def test_other_files(tmp_path):
    assert "no file" in complaint(lambda: ArraySource(tmp_path / "absent.npy"))
    (tmp_path / "a.txt").write_text("a")
    assert ".npz" in complaint(lambda: ArraySource(tmp_path / "a.txt"))


def test_without_h5py(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", data=pixels(2, 8, 8))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert 'pip install "ganformer-jax[formats]"' in complaint(lambda: ArraySource(path))


def test_hdf5_reads_no_other_file(tmp_path):
    secret = write(tmp_path / "secret.h5", data=pixels(2, 8, 8, 3))
    raw = tmp_path / "secret.raw"
    raw.write_bytes(bytes(2 * 8 * 8))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(shape=(2, 8, 8, 3), dtype="u1")
        layout[:] = h5py.VirtualSource(str(secret), "data", shape=(2, 8, 8, 3))
        file.create_virtual_dataset("virtual", layout)
        place = [(str(raw), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("external", (2, 8, 8), "u1", external=place)
        file["linked"] = h5py.ExternalLink(str(secret), "/data")
        file["soft"] = h5py.SoftLink("/virtual")
    message = complaint(lambda: ArraySource(path))
    for name in ("virtual", "external", "linked", "soft"):
        assert name in message
        assert "not" in complaint(lambda name=name: ArraySource(path, array=name))
    assert complaint(lambda: ArraySource(path, array="linked/data"))
    with h5py.File(path, "a") as file:
        file["own"] = pixels(3, 8, 8)
    assert len(ArraySource(path)) == 3


def test_threads_read_one_hdf5_file(tmp_path):
    data = pixels(40, 8, 8, 3)
    wrong = []
    with ArraySource(write(tmp_path / "a.h5", data=data)) as source:

        def read(start):
            for index in range(start, 40, 4):
                if not np.array_equal(source.read(index), data[index]):
                    wrong.append(index)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert not wrong


def test_a_damaged_entry_is_unreadable(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data", data=pixels(4, 8, 8, 3), chunks=(1, 8, 8, 3), fletcher32=True
        )
        offset = data.id.get_chunk_info(2).byte_offset
    broken = bytearray(path.read_bytes())
    broken[offset] ^= 1
    path.write_bytes(broken)
    with ArraySource(path) as source:
        assert source.read(1).shape == (8, 8, 3)
        with pytest.raises(Unreadable):
            source.read(2)


def test_the_fingerprint_follows_the_contents(tmp_path):
    path = write(tmp_path / "a.npz", one=pixels(3, 8, 8), two=pixels(4, 8, 8, 3))
    one = ArraySource(path, array="one").fingerprint()
    assert one == ArraySource(path, array="one").fingerprint()
    assert one != ArraySource(path, array="two").fingerprint()
    write(path, one=pixels(3, 8, 8), two=pixels(5, 8, 8, 3))
    assert one != ArraySource(path, array="one").fingerprint()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.EIO, "several\nlines"), UserError),
        (OSError(errno.EMFILE, "Too many open files"), UserError),
        (RuntimeError("cannot read: Stale file handle"), UserError),
        (OSError("wrong checksum"), Unreadable),
        (OSError(errno.EINVAL, "a place before the file"), Unreadable),
    ],
)
def test_a_disk_that_is_gone_is_not_a_damaged_image(tmp_path, error, raised):
    class Pixels:
        def __getitem__(self, index):
            raise error

    with ArraySource(write(tmp_path / "a.h5", data=pixels(4, 8, 8, 3))) as source:
        source._pixels = Pixels()
        with pytest.raises(raised) as found:
            source.read(0)
    assert "\n" not in str(found.value)
    assert ("run the same command to resume" in str(found.value)) == (raised is UserError)

"""Cases of docs/notes/cases.md: what people give to `prepare` and `evaluate`, through both."""

import csv
import errno
import io
import json
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from command_line import call, complaint
from images import encoded, make_folder, make_tar, make_zip, png
from PIL import Image
from published_archives import write_cifar, write_idx
from tfrecords import write_dataset

from ganformer_jax.cli.evaluate import Options
from ganformer_jax.data import source_images
from ganformer_jax.data.batches import open_dataset
from ganformer_jax.data.decode import decode
from ganformer_jax.data.depth import narrow_range_warning
from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.source_images import SourceImages
from ganformer_jax.data.sources import archives, layouts, nested_tars, webdataset
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable, is_hidden, labels_from
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.evaluation import Reading, stored_images

FOREIGN = [
    ".ipynb_checkpoints/a.png",
    "cat/.ipynb_checkpoints/a-checkpoint.png",
    "._a.png",
    "Thumbs.db",
    ".DS_Store",
    "__MACOSX/cat/._a.png",
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.png",
    "$RECYCLE.BIN/a.png",
    "desktop.ini",
    "Icon\r",
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# Hidden and foreign files


@pytest.mark.parametrize("make", [make_folder, make_zip, make_tar])
def test_foreign_files_are_left_out_by_every_reader(tmp_path, make):
    members = {"cat/a.png": png(1), "cat/b.png": png(2)} | dict.fromkeys(FOREIGN, png(3))
    suffix = {make_folder: "", make_zip: ".zip", make_tar: ".tar"}[make]
    path = make(tmp_path / f"x{suffix}", members)
    with open_source(str(path)) as source:
        assert list(source.names) == ["cat/a.png", "cat/b.png"]
        assert {name for name, _ in source.skipped} == set(FOREIGN)
    found = stored_images(path)
    assert found.count == 2 and (found.read([0, 1])[:, 0, 0, 0] == [1, 2]).all()


def test_names_that_are_not_foreign():
    for name in ("a.png", "./a.png", "icons/a.png", "thumbs/db.png", "a..png", "MACOSX/a.png"):
        assert not is_hidden(name)


def test_copies_of_a_mac_beside_records(tmp_path):
    make_folder(tmp_path / "x", {"a.png": png(1), "._cats-r03.tfrecords": b"attributes"})
    with open_source(str(tmp_path / "x")) as source:
        assert list(source.names) == ["a.png"]
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 8, 8, 3), np.uint8))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as file:
        file.writestr("__MACOSX/._images.npy", b"attributes")
    with open_source(str(tmp_path / "x.npz")) as source:
        assert len(source) == 2


def test_images_beside_the_files_of_a_dataset_are_counted(tmp_path):
    beside = {"a.png": png(1), "b.JPG": png(2), ".c.png": png(3), "notes.txt": b"words"}
    write_idx(tmp_path / "idx")
    write_dataset(tmp_path / "records")
    write_cifar(tmp_path / "cifar")
    make_database(tmp_path / "lmdb", {"key": png(4)})
    for folder in sorted(tmp_path.iterdir()):
        with open_source(str(make_folder(folder, beside))) as source:
            reason = "an image beside the files of a dataset"
            assert source.skipped == [("a.png", reason), ("b.JPG", reason)], folder
    assert stored_images(tmp_path / "idx").count == 5


# Ranges of values


def scan(high=4095):
    return np.linspace(0, high, 64).reshape(8, 8).astype(np.uint16)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_12_bit_scans_are_pointed_out_and_scaled(tmp_path, capsys, form):
    make_folder(tmp_path / "scans", {f"a.{form.lower()}": encoded(Image.fromarray(scan()), form)})
    prepare = "prepare", "scans", "--channels", "1", "--name"
    code, out, err = call(capsys, *prepare, "dark")
    assert code == 0, err
    assert "use only values 0 to 4095 of 0 to 65535" in out and "--value-range 0 4095" in out
    code, again, _ = call(capsys, *prepare, "dark")
    assert code == 0 and "--value-range 0 4095" in again
    assert "holds another dataset (value_range was null" in complaint(
        capsys, *prepare, "dark", "--value-range", "0", "4095"
    )
    code, out, err = call(capsys, *prepare, "bright", "--value-range", "0", "4095")
    assert code == 0 and "warning" not in out and "values scaled by --value-range" in out
    found = stored_images(tmp_path / "data/bright").read([0])[0, ..., 0]
    np.testing.assert_array_equal(found, np.round(scan() / 4095.0 * 255).astype(np.uint8))


def test_scans_given_to_evaluate_are_pointed_out(tmp_path):
    folder = make_folder(tmp_path / "scans", {"a.png": encoded(Image.fromarray(scan()))})
    found = stored_images(folder)
    assert "use only values 0 to 4095" in str(found.warning)
    bright = stored_images(folder, Reading(value_range=(0, 4095)))
    assert bright.warning is None and bright.read([0]).max() == 255 > found.read([0]).max()
    assert bright.digest(1) != found.digest(1)


@pytest.mark.parametrize(
    ("deep_range", "advice"),
    [
        (None, None),
        ((0, 65535), None),
        ((3, 40000), None),
        ((0, 4095), "--value-range 0 4095"),
        ((10, 900), "--value-range 0 1023"),
        ((0, 0), "--value-range 0 1"),
        ((32000, 36000), "--value-range 32000 36000"),
        ((65535, 65535), "--value-range 65535 65536"),
    ],
)
def test_the_advice_for_a_range(deep_range, advice):
    said = narrow_range_warning(deep_range)
    assert said is None if advice is None else advice in str(said)


def test_a_range_for_files_of_other_depths():
    def pixels(image, value_range, form="PNG"):
        return np.asarray(decode(encoded(image, form), value_range).image)

    mask = Image.fromarray(np.array([[0, 1], [2, 9]], np.uint8))
    np.testing.assert_array_equal(pixels(mask, (0, 2)), [[0, 128], [255, 255]])
    np.testing.assert_array_equal(pixels(mask, (0, 4095)), np.asarray(mask))
    depth = Image.fromarray(np.array([[-1, 0.5, 3]], np.float32))
    np.testing.assert_array_equal(pixels(depth, (0, 1), "TIFF"), [[0, 128, 255]])
    with pytest.raises(Unreadable, match="floating-point pixels: .*--value-range"):
        decode(encoded(depth, "TIFF"))
    clear = Image.fromarray(np.array([[[1, 1, 1, 7]]], np.uint8))
    np.testing.assert_array_equal(pixels(clear, (0, 1)), [[[255, 255, 255, 7]]])


def deep_color(value):
    """Encode a PNG with three channels of 16 bits, which Pillow reads but does not write."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = b"".join(b"\0" + np.full(3 * 8, value, ">u2").tobytes() for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)


def test_color_of_16_bits():
    assert decode(deep_color(0x0FFF)).deep_range == (0x0F00, 0x0FFF)
    assert np.asarray(decode(deep_color(0xAB00)).image)[0, 0].tolist() == [0xAB] * 3
    with pytest.raises(Unreadable, match="16-bit color"):
        decode(deep_color(0x0FFF), (0, 4095))


def test_a_range_that_changes_nothing_is_pointed_out(tmp_path, capsys):
    make_folder(tmp_path / "x", {"a.png": png(1)})
    code, out, _ = call(capsys, "prepare", "x", "--name", "x", "--value-range", "0", "4095")
    assert code == 0 and "--value-range changed no image" in out


@pytest.mark.parametrize("dtype,high", [("uint8", 4095), ("bool", 255)])
def test_arrays_that_cannot_hold_white_are_left_alone(tmp_path, capsys, dtype, high):
    pixels = np.arange(2 * 8 * 8).reshape(2, 8, 8).astype(dtype)
    np.save(tmp_path / "x.npy", pixels)
    code, out, _ = call(
        capsys,
        "prepare",
        "x.npy",
        "--name",
        "x",
        "--value-range",
        "0",
        str(high),
        "--channels",
        "1",
    )
    assert code == 0 and "--value-range changed no image" in out
    source = open_dataset("data/x", tmp_path, size=(8, 8), channels=1)
    expected = pixels[1] * (255 if dtype == "bool" else 1)
    np.testing.assert_array_equal(source[1]["images"][..., 0], expected)


@pytest.mark.parametrize("dtype,high", [("float32", 255), ("uint16", 4095), ("uint8", 127)])
@pytest.mark.parametrize("channels", [3, 6])
def test_a_range_that_scales_an_array_is_no_mistake(tmp_path, capsys, dtype, high, channels):
    np.save(tmp_path / "x.npy", np.full((2, 8, 8, channels), high, dtype))
    code, out, _ = call(capsys, "prepare", "x.npy", "--name", "x", "--value-range", "0", str(high))
    assert code == 0 and "changed no image" not in out
    source = open_dataset("data/x", tmp_path, size=(8, 8), channels=channels)
    assert (source[0]["images"] == 255).all()


# Links


@pytest.fixture
def linked(tmp_path):
    """A folder of links to files and folders elsewhere, with loops."""
    make_folder(tmp_path / "store", {"a.png": png(1), "cats/b.png": png(2), ".x/c.png": png(3)})
    folder = tmp_path / "linked"
    (folder / "sub").mkdir(parents=True)
    links = {"a.png": "store/a.png", "cats": "store/cats", "again": "store/cats", "up": "."}
    links |= {"sub/here": "linked/sub", "sub/loop": "linked", "blob.png": "store/.x/c.png"}
    for name, target in links.items():
        (folder / name).symlink_to(tmp_path / target)
    (folder / "dead.png").symlink_to(tmp_path / "gone.png")
    return folder


def test_links_are_refused_by_name_and_followed_when_asked(linked, capsys):
    said = complaint(capsys, "prepare", str(linked), "--name", "x")
    assert "link out of the folder (--follow-links reads it)" in said
    with pytest.raises(UserError, match="--follow-links reads it"):
        stored_images(linked)
    source = FolderSource(linked, follow_links=True)
    # "up" leads to the folder above, so it shows the store once more; nothing is read in circles.
    assert [name for name in source.names if not name.startswith("up/")] == [
        "a.png",
        "again/b.png",
        "blob.png",
    ]
    assert dict(source.skipped)["cats"] == "link to a folder that another link leads to"
    assert dict(source.skipped)["sub/loop"] == "link to a folder that is read where it is"
    assert dict(source.skipped)["up/linked"] == "link to a folder that it is in"
    assert FolderSource(linked, follow_links=True).names == source.names
    code, out, err = call(capsys, "prepare", str(linked / "sub"), "--name", "x", "--follow-links")
    assert code == 0, err
    assert "images to train on" in out


def test_linked_images_are_evaluated_when_asked(linked):
    (linked / "up").unlink()
    (linked / "dead.png").unlink()
    found = stored_images(linked, Reading(follow_links=True))
    assert found.count == 3 and sorted(found.read(range(3))[:, 0, 0, 0]) == [1, 2, 3]


# Classes


def classes(tmp_path, labels):
    members = {f"{i}.png": png(i) for i in range(len(labels))}
    rows = [[f"{i}.png", label] for i, label in enumerate(labels)]
    members["dataset.json"] = json.dumps({"labels": rows}).encode()
    with open_source(str(make_zip(tmp_path / "x.zip", members))) as source:
        found = find_labels(source, "auto")
    assert found is not None
    return found.names, found.classes.tolist()


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([2010, 1990, 2000, 1990], ("1990", "2000", "2010"), [2, 0, 1, 0]),
        ([1, 2, 3], ("1", "2", "3"), [0, 1, 2]),
        ([2, 0, 1], ("0", "1", "2"), [2, 0, 1]),
        ([0, 1, 3], ("0", "1", "2", "3"), [0, 1, 3]),
        ([0, 9], ("0", "9"), [0, 1]),
        ([5, 5], ("5",), [0, 0]),
    ],
)
def test_numbers_of_classes(tmp_path, labels, names, expected):
    assert classes(tmp_path, labels) == (names, expected)
    found = labels_from(np.array(labels), len(labels), "an array")  # the same rule
    assert found and (found.names, found.classes.tolist()) == (names, expected)


def test_years_are_classes_in_json_and_csv_alike(tmp_path):
    with open("labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("0.png", 2010), ("1.png", 1990)])
    source = FolderSource(make_folder(tmp_path / "x", {"0.png": png(1), "1.png": png(2)}))
    of_csv = find_labels(source, "labels.csv")
    assert of_csv and (of_csv.names, of_csv.classes.tolist()) == classes(tmp_path, [2010, 1990])


def test_names_of_an_array_keep_classes_without_images():
    found = labels_from(np.array([3, 3]), 2, "here", ["a", "b", "c", "d"])
    assert found and found.names == ("a", "b", "c", "d") and found.classes.tolist() == [3, 3]


def test_one_hot_vectors_are_classes(tmp_path):
    labels = [[0, 1, 0], [1.0, 0.0, 0.0], [0, 0, 0], [0, 1, 0]]
    assert classes(tmp_path, labels) == (("0", "1", "2"), [1, 0, -1, 1])


@pytest.mark.parametrize(
    "labels",
    [
        [0.5, 1.5],
        [[1, 0], [0, 0, 1]],
        [[1, 0], 1],
        [[], []],
        [{"age": 3}, 1],
        [[[1]], [[0]]],
    ],
)
def test_other_labels_are_refused_in_one_line(tmp_path, labels):
    with pytest.raises(UserError, match="labels should be|of 2 and of 3|list of finite") as raised:
        classes(tmp_path, labels)
    assert "\n" not in str(raised.value)


# The same sources for `evaluate`


def test_evaluate_reads_what_prepare_reads(tmp_path):
    members = {f"{i}.png": png(i) for i in range(4)}
    folder = make_folder(tmp_path / "x", members)
    stacked = np.stack([np.full((8, 8, 3), i, np.uint8) for i in range(4)])
    np.savez(tmp_path / "x.npz", images=stacked)
    np.save(tmp_path / "gray.npy", stacked[..., 0] / np.float32(255))
    paths = [folder, make_zip(tmp_path / "x.zip", members), tmp_path / "x.npz"]
    paths += [make_tar(tmp_path / "x.tar.gz", members, "w:gz")]
    paths += [make_database(tmp_path / "x.lmdb", members)]
    for path in filter(None, paths):
        np.testing.assert_array_equal(stored_images(path).read(range(4)), stacked, str(path))
    found = stored_images(tmp_path / "gray.npy", Reading(value_range=(0, 1)))
    np.testing.assert_array_equal(found.read([2, 3]), stacked[2:])
    digests = {stored_images(path).digest(4) for path in paths[:2]}
    assert len(digests) == 1  # features of a folder serve for a zip of it
    np.savez(tmp_path / "x.npz", images=stacked + 1)
    assert stored_images(tmp_path / "x.npz").digest(4) != stored_images(folder).digest(4)


def make_database(path, members):
    try:
        import lmdb
    except ImportError:  # an optional package, of the extra `formats`
        return None
    with lmdb.open(str(path), map_size=1 << 20) as database:
        with database.begin(write=True) as transaction:
            for name, contents in members.items():
                transaction.put(name.encode(), contents)
    return path


def test_a_prepared_dataset_is_no_folder_of_images(tmp_path, capsys):
    make_folder(tmp_path / "x", {f"{i}.png": png(i) for i in range(3)})
    assert call(capsys, "prepare", "x", "--name", "x")[0] == 0
    for path in ("data/x", "data/x/1.0.0"):  # not its contact sheet
        assert stored_images(tmp_path / path).count == 3


def test_the_command_compares_a_zip_and_an_array(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    make_zip(
        tmp_path / "a.zip", {f"{i}.png": encoded(Image.fromarray(pixels[i])) for i in range(4)}
    )
    np.savez(tmp_path / "b.npz", pixels)
    code, out, err = call(
        capsys, "evaluate", "--fake", "a.zip", "--real", "b.npz", "--metrics", "swd"
    )
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["swd4"] == 0
    said = complaint(capsys, "evaluate", "--fake", "Nowhere/x", "--metrics", "is")
    assert "there is no Nowhere/x" in said
    assert Options().value_range is None


# Sizes


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_sizes_are_counted_by_headers(tmp_path, monkeypatch, kind):
    photo = Image.new("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    members = {f"{i}.png": encoded(photo) for i in range(5)}
    members |= {
        "5.jpg": encoded(photo, "JPEG", exif=exif),
        "6.png": encoded(Image.new("L", (9, 9))),
    }
    members |= {"7.tiff": encoded(photo, "TIFF", exif=exif)}
    if kind == "folder":
        path = make_folder(tmp_path / "x", members)
    else:
        path = make_zip(tmp_path / "x.zip", members)
    images = SourceImages(open_source(str(path)))
    decoded = []
    monkeypatch.setattr(
        source_images, "decode", lambda *stored: decoded.append(1) or decode(*stored)
    )
    with pytest.raises(UserError) as raised:
        images.read([0, 1, 6])
    said = str(raised.value)
    assert "5 of 6x4 such as" in said and "2 of 4x6 such as" in said and "1 of 9x9" in said
    assert "5.jpg" in said and "6.png" in said and len(decoded) == 4 and "\n" not in said
    monkeypatch.setattr(source_images, "MOST_SIZES", 2)
    with pytest.raises(UserError, match=r"2 of 6x4.*1 of 9x9.*\(among 3 images read\)"):
        images.read([6])


# From public threads


def test_suffixes_in_capitals_and_odd_names(tmp_path):
    names = ["A.JPG", "b.JpEg", 'c d/e\'f "g".PNG', "ünï/日本 🐈.WebP", "-x.bmp", "%20.tif"]
    forms = ["JPEG", "JPEG", "PNG", "WEBP", "BMP", "TIFF"]
    gray = Image.new("RGB", (8, 8), (7, 7, 7))
    members = {name: encoded(gray, form) for name, form in zip(names, forms, strict=True)}
    assert stored_images(make_folder(tmp_path / "x", members)).read(range(6)).shape[0] == 6
    assert stored_images(make_zip(tmp_path / "x.zip", members)).count == 6


def test_folders_without_images_are_no_classes(tmp_path):
    folder = make_folder(tmp_path / "x", {"cat/a.png": png(1), "dog/b.png": png(2)})
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes/read.txt").write_text("words")
    found = find_labels(FolderSource(folder), "folders")
    assert found and found.names == ("cat", "dog")


def test_ink_of_jpegs_and_palettes_with_transparency(tmp_path):
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    clear = Image.new("P", (8, 8))
    clear.putpalette([0, 0, 0, 255, 0, 0])
    members = {
        "ink.jpg": encoded(red.convert("CMYK"), "JPEG"),
        "clear.png": encoded(clear, transparency=b"\0\xff"),
        "la.png": encoded(Image.new("LA", (8, 8), (0, 0))),
        "bit.png": encoded(Image.new("1", (8, 8), 1)),
    }
    found = stored_images(make_folder(tmp_path / "x", members))
    white, clear, ink, la = found.read(range(4))  # in the order of the names
    assert (white == 255).all() and (clear == 255).all() and (la == 255).all()
    assert abs(ink.astype(int) - [255, 0, 0]).max() < 8


def test_a_truncated_image_is_named_and_not_filled_with_gray(tmp_path, capsys):
    whole = encoded(Image.effect_noise((64, 64), 90), "JPEG")
    make_folder(tmp_path / "x", {"a.jpg": whole, "b.jpg": whole[: len(whole) // 2]})
    code, out, _ = call(capsys, "prepare", "x", "--name", "x")
    assert code == 0 and "skipped 1 of 2" in out
    with pytest.raises(UserError, match=r"b\.jpg cannot be used: damaged"):
        stored_images(tmp_path / "x").read([0, 1])


def test_a_folder_that_cannot_be_listed_is_not_left_out_in_silence(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "x", {"a.png": png(1), "private/b.png": png(2)})
    scan_folder = os.scandir

    def denied(path):
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan_folder(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match="private cannot be used .cannot be listed: Permission"):
        stored_images(folder)


def test_a_disk_that_is_gone_while_a_folder_is_listed(tmp_path, monkeypatch):
    make_folder(tmp_path / "x", {"a.png": png(1), "more/b.png": png(2)})
    scan_folder = os.scandir

    def gone(path):
        if str(path).endswith("more"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return scan_folder(path)

    monkeypatch.setattr(os, "scandir", gone)
    with pytest.raises(UserError, match="more: Input/output error; .*to resume"):
        FolderSource(tmp_path / "x")


@pytest.mark.parametrize("kind", ["tar", "nested", "shard"])
@pytest.mark.parametrize("reads", [1, 4])
def test_a_disk_that_is_gone_while_a_tar_is_listed(tmp_path, monkeypatch, kind, reads):
    inner = make_tar(tmp_path / "inner.tar", {"a.png": png(1)}).read_bytes()
    members = {
        "tar": {f"{i}.png": png(i) for i in range(9)},
        "nested": {f"{i}.tar": inner for i in range(9)},
        "shard": {f"{i}.{end}": png(i) for i in range(9) for end in ("png", "cls")},
    }
    path = make_tar(tmp_path / "x.tar", members[kind])

    class Failing(io.BufferedReader):
        left = reads

        def read(self, size=-1):
            if not self.left:
                raise OSError(errno.EIO, "Input/output error")
            self.left -= 1
            return super().read(size)

    def open_failing(path):
        return Failing(io.FileIO(path)), False

    for module in (archives, layouts, nested_tars, webdataset):
        monkeypatch.setattr(module, "open_tar", open_failing)
    with pytest.raises(UserError, match="cannot read .*x.tar: Input/output error"):
        open_source(str(path))

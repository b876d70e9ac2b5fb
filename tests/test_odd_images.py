"""The same odd members through every source that holds files: the same pixels, the same skips."""

import io

import numpy as np
import pytest
from images import encoded, make_folder, make_tar, make_zip, pixel_bomb
from PIL import Image

from ganformer_jax.data.batches import open_dataset
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.spec import DatasetSpec

GRAY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOR = np.stack([GRAY, GRAY[::-1], GRAY.T], -1)
HUGE = np.zeros((2000, 3000, 3), np.uint8)
HUGE[:, 500:2500] = 90  # what the centered square keeps


def on_white():
    return np.concatenate([COLOR, np.full((8, 8, 1), 0, np.uint8)], -1)


GOOD = {  # name: contents, expected pixels
    "color.png": (encoded(Image.fromarray(COLOR)), COLOR),
    "gray.png": (encoded(Image.fromarray(GRAY)), GRAY[..., None].repeat(3, -1)),
    "clear.png": (encoded(Image.fromarray(on_white())), np.full((8, 8, 3), 255)),
    "deep.png": (
        encoded(Image.fromarray(GRAY.astype(np.uint16) << 8)),
        GRAY[..., None].repeat(3, -1),
    ),
    "print.tif": (encoded(Image.fromarray(COLOR).convert("CMYK"), "TIFF"), COLOR),
    "palette.gif": (
        encoded(Image.fromarray(GRAY).convert("P"), "GIF"),
        GRAY[..., None].repeat(3, -1),
    ),
    "dot.bmp": (encoded(Image.new("RGB", (1, 1), (7, 8, 9)), "BMP"), np.full((8, 8, 3), (7, 8, 9))),
    "huge.webp": (
        encoded(Image.fromarray(HUGE), "WEBP", lossless=True),
        np.full((8, 8, 3), 90),
    ),
    "wrong suffix.jpg": (encoded(Image.fromarray(COLOR)), COLOR),
    "ünïcödé/日本 🐈.png": (encoded(Image.fromarray(COLOR)), COLOR),
}
BAD = {
    "cut.png": (GOOD["color.png"][0][:60], "damaged"),
    "flipped.png": (
        GOOD["color.png"][0][:60] + b"\0\1\2" + GOOD["color.png"][0][63:],
        "damaged",
    ),
    "words.png": (b"these are words", "not an image"),
    "nothing.png": (b"", "empty file"),
    "bomb.png": (pixel_bomb(), "more than 128 megapixels"),
    "float.tif": (encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "floating-point"),
}
NOT_IMAGES = {"readme.txt": b"words", "table.csv": b"a,b"}
MEMBERS = {name: contents for name, (contents, _) in {**GOOD, **BAD}.items()} | NOT_IMAGES


def make(kind, path):
    if kind == "folder":
        return make_folder(path, MEMBERS)
    if kind == "zip":
        return make_zip(path, MEMBERS)
    if kind == "lmdb":
        lmdb = pytest.importorskip("lmdb", reason="an optional package, of the extra `formats`")
        with lmdb.open(str(path), map_size=1 << 26) as database:
            with database.begin(write=True) as transaction:
                for name, contents in MEMBERS.items():
                    transaction.put(name.encode(), contents)
        return path
    return make_tar(path, MEMBERS, {"tar": "w", "tar.gz": "w:gz"}[kind])


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "lmdb"])
def test_right_pixels_or_a_counted_reason(tmp_path, kind):
    path = make(kind, tmp_path / f"x.{kind}")
    with open_source(str(path)) as source:
        made = prepare(source, DatasetSpec("odd", Geometry(8, 8)), tmp_path / "data")
        stored = dict(source.skipped)
    found = open_dataset(made.folder, tmp_path, size=(8, 8))
    names = [found.record(i)["name"].item().decode() for i in range(len(found))]
    assert sorted(names) == sorted(GOOD)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(found[i]["images"], GOOD[name][1], err_msg=name)
    reasons = read_skipped(made.folder)
    assert set(reasons) == {*BAD, *NOT_IMAGES}
    for name, (_, words) in BAD.items():
        assert words in reasons[name]
    assert sum(made.report["skipped"].values()) + made.report["splits"]["train"] == len(MEMBERS)
    assert set(stored) <= {*NOT_IMAGES}


def read_skipped(folder):
    import csv

    with (folder / "skipped.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
@pytest.mark.parametrize(
    "pixels,value_range,geometry",
    [
        (GRAY[None], None, Geometry(8, 8, 1)),
        (COLOR[None], None, Geometry(8, 8)),
        (COLOR.transpose(2, 0, 1)[None], None, Geometry(8, 8)),
        (COLOR[None].astype(np.uint16) << 8, None, Geometry(8, 8)),
        (COLOR[None].astype(np.float32) / 255, (0.0, 1.0), Geometry(8, 8)),
        (COLOR[None].astype(np.int64), (0, 255), Geometry(8, 8)),
        (on_white()[None], None, Geometry(8, 8, 4)),
        (GRAY[None] > 99, None, Geometry(8, 8, 1)),
    ],
    ids=["gray", "color", "channels first", "16 bit", "float", "int", "opacity", "bool"],
)
def test_arrays_of_every_type(tmp_path, kind, pixels, value_range, geometry):
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        np.save(path, pixels)
    elif kind == "npz":
        np.savez_compressed(path, pixels)
    else:
        h5py = pytest.importorskip("h5py", reason="an optional package, of the extra `formats`")
        with h5py.File(path, "w") as file:
            file["images"] = pixels
    if pixels.shape[1:] == (8, 8):  # without channels, [4, H, W] could be one image
        pixels = pixels[..., None]
    with open_source(str(path)) as source:
        wish = DatasetSpec("odd", geometry, value_range=value_range)
        made = prepare(source, wish, tmp_path / "data")
    found = open_dataset(made.folder, tmp_path, size=(8, 8), channels=geometry.channels)
    expected = {
        np.dtype(np.uint16): lambda: (pixels[0] >> 8).astype(np.uint8),
        np.dtype(np.float32): lambda: COLOR,
        np.dtype(np.bool_): lambda: pixels[0].astype(np.uint8) * 255,
    }.get(pixels.dtype, lambda: pixels[0].astype(np.uint8))()
    if expected.shape[0] == 3:
        expected = expected.transpose(1, 2, 0)
    np.testing.assert_array_equal(found[0]["images"], expected)


def test_exif_in_an_archive(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    turned = Image.fromarray(COLOR).transpose(Image.Transpose.ROTATE_90)
    buffer = io.BytesIO()
    turned.save(buffer, "TIFF", exif=exif)
    path = make_zip(tmp_path / "x.zip", {"a.tif": buffer.getvalue()})
    with open_source(str(path)) as source:
        made = prepare(source, DatasetSpec("odd", Geometry(8, 8)), tmp_path / "data")
    np.testing.assert_array_equal(open_dataset(made.folder, "", size=(8, 8))[0]["images"], COLOR)
    assert made.report["notes"] == {"rotated to EXIF orientation": 1}

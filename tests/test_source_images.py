"""One reader of a folder of images: what it takes, how that is decoded, what it refuses."""

import os

import numpy as np
import pytest
from images import make_tar, png
from PIL import Image

from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.source_images import SourceImages
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.evaluation import stored_images
from ganformer_jax.pixels import as_rgb

RED, CLEAR = (255, 0, 0, 255), (0, 0, 0, 0)


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (4, 3), "blue") if pixels is None else Image.fromarray(pixels)
    image.save(path, **options)


def folder_images(path, **options):
    return SourceImages(FolderSource(path, **options))


def test_files_are_those_that_prepare_takes(tmp_path):
    for name in ("b.png", "a/z.JPG", "a.webp", "c.tiff", "d.bmp"):
        save(tmp_path / name)
    save(tmp_path / "without_suffix", format="PNG")
    for name in (".ipynb_checkpoints/b.png", "._b.png", "Thumbs.db", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not an image")
    images = folder_images(tmp_path)
    names = ["a.webp", "a/z.JPG", "b.png", "c.tiff", "d.bmp", "without_suffix"]
    assert images.names == names
    assert list(FolderSource(tmp_path).names) == names
    (tmp_path / "LICENSE").write_text("not an image, which prepare skips when it reads it")
    assert folder_images(tmp_path).count == images.count == 6
    assert images.read([0, 5]).shape == (2, 3, 4, 3)
    assert images.content(2) == (tmp_path / "b.png").read_bytes()
    assert images.name == str(tmp_path)


def test_opacity_orientation_and_depth(tmp_path):
    save(tmp_path / "a.png", np.array([[RED, CLEAR]] * 3, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    save(tmp_path / "b.png", np.array([[[9] * 3] * 3, [[0] * 3] * 3], np.uint8), exif=exif)
    save(tmp_path / "c.png", np.full((3, 2), 0x1234, np.uint16))
    opaque, turned, deep = folder_images(tmp_path).read(range(3))
    np.testing.assert_array_equal(opaque, [[[255, 0, 0], [255, 255, 255]]] * 3)
    np.testing.assert_array_equal(turned, [[[0] * 3, [9] * 3]] * 3)
    np.testing.assert_array_equal(deep, np.full((3, 2, 3), 0x12))


@pytest.mark.parametrize("channels", [2, 5])
def test_channels_are_shown_as_those_of_a_dataset_are(tmp_path, channels):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (3, 8, 8, channels), np.uint8)
    np.save(tmp_path / "bands.npy", pixels)
    source = open_source(str(tmp_path / "bands.npy"))
    prepare(source, DatasetSpec("bands", Geometry(8, 8, channels)), tmp_path / "data")
    expected = as_rgb(pixels)
    for where in (tmp_path / "bands.npy", tmp_path / "data" / "bands"):
        np.testing.assert_array_equal(stored_images(where).read(range(3)), expected)


def test_what_is_no_image_of_a_sample_does_not_stop_anything(tmp_path):
    members = {"0.png": png(1), "0.mask.png": png(2), "0.cls": b"1"}
    shard = make_tar(tmp_path / "shard.tar", members)
    assert stored_images(shard).count == 1
    inner = make_tar(tmp_path / "n1.tar", {"a.png": png(1)}).read_bytes()
    nested = make_tar(tmp_path / "nested.tar", {"n1.tar": inner, "README.txt": b"words"})
    assert stored_images(nested).count == 1


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        folder_images(tmp_path / "absent")
    with pytest.raises(UserError, match="no images in"):
        folder_images(tmp_path)
    save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:45])
    save(tmp_path / "in/c.png", np.zeros((4, 4, 3), np.uint8))
    images = folder_images(tmp_path / "in")
    with pytest.raises(UserError, match=r"in/b\.png cannot be used: damaged"):
        images.read([0, 1])
    with pytest.raises(UserError, match=r"1 of 4x3 such .*a\.png, 1 of 4x4 such .*c\.png"):
        images.read([0, 2])
    os.symlink(tmp_path / "elsewhere.png", tmp_path / "in/d.png")
    with pytest.raises(UserError, match=r"in/d\.png cannot be used .link out .*--follow-links"):
        folder_images(tmp_path / "in")

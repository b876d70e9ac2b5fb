"""Label images: for each image of a source, the segment that each pixel belongs to."""

from __future__ import annotations

import pathlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.data.decode import opened
from ganformer_jax.data.fit import Geometry, fit_labels
from ganformer_jax.data.orientation import turned_upright
from ganformer_jax.data.sources.folder import read_file
from ganformer_jax.data.sources.source import SUFFIXES, Source, Unreadable, checksum
from ganformer_jax.data.stored_values import storage_of
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import UInt8

MODES = ("L", "P", "1", "I", "I;16")
"""Pillow modes of label images; with a palette, the palette indices are the labels."""


def check_folder(folder: pathlib.Path) -> None:
    """Raise UserError unless this is a folder."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder} with segments")


class SegmentFolder:
    """A folder of label images: `b/c.png` has the labels of the image `b/c.jpg`.

    If the name of an entry does not end in the suffix of an image format, `.png` is added to it.

    Raises:
        UserError: If an image has no label image, or two images share one.
    """

    def __init__(self, folder: pathlib.Path, source: Source):
        check_folder(folder)
        self.folder = folder
        missing = [name for name in source.names if not self._path(name).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{self._path(missing[0])}{more} is missing: every image needs a label image"
            )
        path, images = Counter(map(self._path, source.names)).most_common(1)[0]
        if images > 1:
            raise UserError(
                f"{path} would have the labels of {images} images: give each image a name of its "
                "own, apart from the suffix"
            )
        self._names = source.names

    def fingerprint(self) -> str:
        """Return a checksum of sizes and times of the files, that changes if they change."""
        stats = (self._path(name).stat() for name in self._names)
        return checksum([f"{each.st_size} {each.st_mtime_ns}" for each in stats])

    def _path(self, name: str) -> pathlib.Path:
        path = self.folder / name
        is_image = path.suffix.lower() in SUFFIXES
        return path.with_suffix(".png") if is_image else path.with_name(f"{path.name}.png")

    def labels(
        self, name: str, size: tuple[int, int], geometry: Geometry
    ) -> UInt8[np.ndarray, "h w 1"]:
        """Return the labels of an image, cropped and resized as the image is.

        Args:
            name: Name of the image in its source.
            size: Width and height of the source image, upright.
            geometry: Geometry of the dataset.

        Raises:
            Unreadable: If the file cannot be read, or is no complete image.
            UserError: If it contains colors or labels outside 0 to 255, or has another size than
                the image.
        """
        path = self._path(name)
        mode, labels = _read(path)
        found = labels.shape[1], labels.shape[0]
        if mode not in MODES:
            raise UserError(f"{path} holds colors, not labels: it should be a gray PNG")
        if labels.min() < 0 or labels.max() > 255:
            raise UserError(f"{path} has label {labels.max()}; labels are 0 to 255")
        if found != size:
            raise UserError(
                f"{path} is {found[0]}x{found[1]} but its image is {size[0]}x{size[1]}: both "
                "should have the same size"
            )
        return fit_labels(labels.astype(np.uint8), geometry)


def _read(path: pathlib.Path) -> tuple[str, np.ndarray]:
    """Return the Pillow mode and the values [H, W] of a label image, upright; raise Unreadable."""
    try:
        with opened(read_file(path)) as image:
            mode, storage = image.mode, storage_of(image)
            image.load()
            return mode, storage.values(turned_upright(image))
    except Unreadable as error:
        raise Unreadable(f"label image: {error}") from error

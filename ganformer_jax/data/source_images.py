"""The images of a folder, decoded to one size: what metrics compare."""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.data.decode import decode, no_warnings
from ganformer_jax.data.fit import with_channels
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.source import Unreadable, refusal
from ganformer_jax.errors import UserError


class FolderImages:
    """Images of a folder and of the folders inside it, in the order of their paths, in color.

    Files are chosen and decoded as `prepare` does (sources/folder.py and decode.py): hidden files
    are left out, EXIF orientation is applied, and opacity is laid on white.

    Raises:
        UserError: If there is no such folder, no image is in it, or one cannot be used.

    Attributes:
        name: Path of the folder.
        paths: Paths of the images.
    """

    def __init__(self, path: pathlib.Path):
        self.name = str(path)
        self._source = FolderSource(path)
        for name, reason in self._source.skipped:
            if pathlib.PurePath(name).suffix and not refusal(name):
                raise UserError(f"{path / name} cannot be used ({reason}): replace or remove it")
        used = [i for i in range(len(self._source)) if _is_image(self._source, i)]
        self._source.names = [self._source.names[i] for i in used]
        self.paths = [path / name for name in self._source.names]
        if not self.paths:
            raise UserError(f"no images in {path}: looked for .png, .jpg, .webp and other formats")

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.paths)

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "m h w 3"]:
        """Decode images; raise UserError if one is damaged, or of another size than the first."""
        images = [self._decode(index) for index in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != self._first.shape:
                height, width, _ = image.shape
                raise UserError(
                    f"{self.paths[index]} is {width}x{height}, but {self.paths[0]} is "
                    f"{self._first.shape[1]}x{self._first.shape[0]}: resize all images to one "
                    "size first, as the filter decides the result"
                )
        return np.stack(images)

    def content(self, index: int) -> bytes:
        """Return a stored file, for checksums; raise UserError if it cannot be read."""
        with self._reported(index):
            return self._source.read(index)

    @functools.cached_property
    def _first(self) -> UInt8[np.ndarray, "h w 3"]:
        return self._decode(0)

    def _decode(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        with self._reported(index), no_warnings():
            image = decode(self._source.read(index)).image
        return np.asarray(with_channels(image, 3))

    @contextlib.contextmanager
    def _reported(self, index: int) -> Iterator[None]:
        try:
            yield
        except Unreadable as error:
            raise UserError(f"{self.paths[index]} cannot be used: {error}") from error


def _is_image(source: FolderSource, index: int) -> bool:
    """Tell by the suffix whether an entry should be an image; without one, by the contents."""
    if pathlib.PurePath(source.names[index]).suffix:
        return True
    try:
        decode(source.read(index))
    except Unreadable:
        return False
    return True

"""Sets of images that metrics compare: folders, and whatever can make an image by its number."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from ganformer_jax.errors import UserError
from ganformer_jax.pixels import as_rgb

if TYPE_CHECKING:
    from jaxtyping import UInt8

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class ImageSet(Protocol):
    """Images by number.

    Attributes:
        name: For people.
        count: How many there are; None where there is no end.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def count(self) -> int | None:
        """How many there are; None where there is no end."""
        ...

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "n height width 3"]:
        """Gives images of one size, in color."""
        ...

    def digest(self, count: int) -> str | None:
        """Checksum of the first so many images; None where they are made anew each time."""
        ...


@dataclasses.dataclass(frozen=True)
class Numbered:
    """Images that a function makes of their numbers.

    Attributes:
        name: For people.
        count: How many there are; None where there is no end.
        make: Numbers to uint8 images of one or three channels.
        content: Bytes that decide image i, for checksums; None if images are made anew.
    """

    name: str
    count: int | None
    make: Callable[[Sequence[int]], np.ndarray]
    content: Callable[[int], bytes] | None = None

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "n height width 3"]:
        """Gives images of one size, in color."""
        return as_rgb(self.make(indices))

    def digest(self, count: int) -> str | None:
        """Checksum of the first so many images; None where they are made anew each time."""
        return None if self.content is None else _digest(self.content, count)


class Folder:
    """The pictures in a folder and the folders inside it, in the order of their paths.

    Raises:
        UserError: If there is no such folder, or no picture in it.
    """

    def __init__(self, path: pathlib.Path):
        if not path.is_dir():
            raise UserError(f"no folder {path}")
        self.name = str(path)
        found = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        self.paths = sorted(found, key=lambda p: p.relative_to(path).as_posix())
        if not self.paths:
            raise UserError(f"no pictures in {path}: looked for {', '.join(SUFFIXES)}")

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.paths)

    @functools.cached_property
    def _size(self) -> tuple[int, int]:
        return _read_picture(self.paths[0]).shape[:2]

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "n height width 3"]:
        """Gives images in color; raises UserError if one is damaged or of another size."""
        pictures = [_read_picture(self.paths[index]) for index in indices]
        for index, picture in zip(indices, pictures, strict=True):
            if picture.shape[:2] != self._size:
                sizes = [f"{width}x{height}" for height, width in (picture.shape[:2], self._size)]
                raise UserError(
                    f"{self.paths[index]} is {sizes[0]}, but {self.paths[0]} is {sizes[1]}: bring "
                    "pictures to one size first, as the filter decides the result"
                )
        return np.stack(pictures)

    def digest(self, count: int) -> str:
        """Checksum of the first so many files."""
        return _digest(lambda index: self.paths[index].read_bytes(), count)


def _read_picture(path: pathlib.Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            if picture.mode not in _EIGHT_BITS:
                raise UserError(f"{path} has more than 8 bits a channel: convert it first")
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise UserError(f"{path} is damaged, or no picture") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _digest(content: Callable[[int], bytes], count: int) -> str:
    found = hashlib.sha256()
    for index in range(count):
        found.update(hashlib.sha256(content(index)).digest())
    return found.hexdigest()

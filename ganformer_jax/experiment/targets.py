"""Images to project, from files or any source of `prepare`, in the shape of a generator."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.fit_entry import fit_entry
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError, os_reason

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm")


class Entry(NamedTuple):
    """An image of a source."""

    name: str
    read: Callable[[], Any]
    """Returns the stored image: a file's content, or an array."""


class Targets(NamedTuple):
    """Images and their names."""

    images: UInt8[np.ndarray, "b h w c"]
    names: tuple[str, ...]


def read_targets(
    paths: Sequence[pathlib.Path],
    config: GeneratorConfig,
    count: int,
    split: str = "train",
    say: Callable[[str], None] = print,
) -> Targets:
    """Read the first `count` images, cropped at the center and resized as `prepare` does.

    Args:
        paths: Files of images; or one source of them.
        config: Config of the generator, whose image shape they get.
        count: Maximum number of images.
        split: Split of a dataset.
        say: Receives a line for each image that cannot be read.

    Raises:
        UserError: If no image can be read.
    """
    geometry = Geometry(*config.image_size, config.image_channels)
    read = ((entry, read_fitted(entry, geometry, say)) for entry in entries(paths, split))
    good = ((entry.name, pixels) for entry, pixels in read if pixels is not None)
    found = list(itertools.islice(good, count))
    if not found:
        raise UserError(f"no image could be read: {', '.join(map(str, paths))}")
    names, images = zip(*found, strict=True)
    return Targets(np.stack(images), names)


def read_fitted(
    entry: Entry, geometry: Geometry, say: Callable[[str], None]
) -> UInt8[np.ndarray, "h w c"] | None:
    """Return an image, cropped and resized; None, and a line to `say`, if it is unreadable."""
    try:
        return fit_entry(entry.read(), geometry).pixels_HxWxC
    except Unreadable as error:
        say(f"skipped {entry.name}: {error}")
        return None


def content_digest(entry: Entry) -> str | None:
    """Return a checksum of an image, 16 hexadecimal digits; None if it is unreadable."""
    try:
        stored = entry.read()
    except Unreadable:
        return None
    digest = hashlib.sha256()
    if isinstance(stored, np.ndarray):
        digest.update(f"{stored.dtype.str}{stored.shape}".encode())
        stored = stored.tobytes()
    digest.update(stored)
    return digest.hexdigest()[:16]


def entries(paths: Sequence[pathlib.Path], split: str = "train") -> Iterator[Entry]:
    """Yield the images without reading them.

    Args:
        paths: Files of images; or one source of them.
        split: Split of a dataset.

    Raises:
        UserError: If there is no such file or source.
    """
    if len(paths) == 1 and not (paths[0].is_file() and paths[0].suffix.lower() in IMAGE_SUFFIXES):
        source = open_source(os.fspath(paths[0]), split=split)
        for index, name in enumerate(source.names):
            yield Entry(name, functools.partial(source.read, index))
        return
    for path in paths:
        if not path.is_file():
            raise UserError(f"no file {path}: name image files, or one folder or other source")
        yield Entry(str(path), functools.partial(_read, path))


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error

"""Images to project: files, or whatever `prepare` reads, in the shape of a generator."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.fit_entry import fit_entry
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError, os_reason

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm")


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
        config: The generator, whose shape and channels they get.
        count: Number of images at most.
        split: Split of a dataset.
        say: Receives a line for each image that cannot be read.

    Raises:
        UserError: If no image can be read.
    """
    height, width = config.image_size
    geometry = Geometry(height, width, config.image_channels)
    images: list[np.ndarray] = []
    names: list[str] = []
    for name, read in _entries(paths, split):
        if len(images) == count:
            break
        try:
            images.append(fit_entry(read(), geometry).pixels_HxWxC)
        except Unreadable as error:
            say(f"skipped {name}: {error}")
        else:
            names.append(name)
    if not images:
        raise UserError(f"no image could be read: {', '.join(map(str, paths))}")
    return Targets(np.stack(images), tuple(names))


def _entries(paths: Sequence[pathlib.Path], split: str):
    """Yield the name of each image and a function that reads it."""
    if len(paths) == 1 and not (paths[0].is_file() and paths[0].suffix.lower() in IMAGE_SUFFIXES):
        source = open_source(os.fspath(paths[0]), split=split)
        for index, name in enumerate(source.names):
            yield name, lambda index=index: source.read(index)
        return
    for path in paths:
        if not path.is_file():
            raise UserError(f"no file {path}: name image files, or one folder or other source")
        yield str(path), lambda path=path: _read(path)


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error

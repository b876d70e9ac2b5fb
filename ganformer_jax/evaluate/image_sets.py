"""Sets of images that metrics compare: those of a source, of a dataset, or of a generator."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.data.batches import DatasetSource, read_images
from ganformer_jax.data.reading import read_all
from ganformer_jax.data.source_images import SourceImages
from ganformer_jax.data.sources.source import Source
from ganformer_jax.pixels import as_rgb

Sample = Callable[[Sequence[int]], UInt8[np.ndarray, "m h w c"]]
"""Images by index, of any number of channels, which `ImageSet.read` returns in color."""
_DECODING = b"2"  # version of how images of sources are decoded; part of their checksum


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images by index.

    Attributes:
        name: Name for messages and reports.
        count: Number of images; None if unlimited.
        sample: Function from indices to images of one size.
        content: Bytes that determine image i, for checksums; None for generated images.
        warning: What is odd about the images; None if nothing is.
        options: Options of `evaluate` that choose or change the images.
        has_8_bits: Of images that a range of values applies to, whether they are stored in 8 or
            fewer bits; None of others.
    """

    name: str
    count: int | None
    sample: Sample
    content: Callable[[int], bytes] | None = None
    warning: str | None = None
    options: frozenset[str] = frozenset()
    has_8_bits: bool | None = None

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "m h w 3"]:
        """Return images in color."""
        return as_rgb(self.sample(indices))

    def digest(self, count: int) -> str | None:
        """Return the checksum of the first `count` images; None for generated images."""
        if self.content is None:
            return None
        total = hashlib.sha256()
        for index in range(count):
            total.update(hashlib.sha256(self.content(index)).digest())
        return total.hexdigest()


def source_images(source: Source, value_range: tuple[float, float] | None = None) -> ImageSet:
    """Return the images of a source, in its order.

    Args:
        source: The source.
        value_range: Values of black and white, as `decode` takes them.

    Raises:
        UserError: If no image is in it, or one cannot be used.
    """
    images = SourceImages(source, value_range)

    def content(index: int) -> bytes:
        return _DECODING + images.content(index)

    return ImageSet(
        images.name,
        images.count,
        images.read,
        content,
        images.range_warning(),
        source.options | {"value_range"},
        images.has_8_bits,
    )


def dataset_images(source: DatasetSource) -> ImageSet:
    """Return the images of a split of a prepared dataset, in stored order."""
    return ImageSet(
        source.name,
        len(source),
        lambda indices: read_images(source, indices),
        lambda index: source.records[index],
        options=frozenset({"split"}),
    )


def sample_labels(source: DatasetSource, seeds: Sequence[int]) -> list[Any]:
    """Return labels for generated images: those of real images, in a fixed random order.

    Returns:
        Class numbers; or conditions, each float32 [Y].
    """
    return read_all(source.label, sample_indices(source, seeds))


def sample_indices(source: DatasetSource, seeds: Sequence[int]) -> list[int]:
    """Return which real images the labels of `sample_labels` are of."""
    order = np.random.default_rng(0).permutation(len(source))
    return [int(order[seed % len(order)]) for seed in seeds]

"""Sets of images that metrics compare: of a source, a dataset or a generator."""

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
"""Function from indices to images with any number of channels."""
_DECODING = b"2"  # version of the decoding of images of sources, part of their checksum


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images by index.

    Attributes:
        name: Name for messages and reports.
        count: Number of images; None if unlimited.
        sample: Function from indices to images of one size.
        content: Function from an index to bytes that determine the image, for checksums; None for
            generated images.
        warning: Warning about the images; None if there is none.
        options: Options of `evaluate` that select or change the images.
        has_8_bits: Whether images are stored with at most 8 bits per channel; None if a range of
            values does not apply to them.
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
        UserError: If it has no images, or one of them cannot be used.
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
    """Return labels for generated images: labels of real images, in a fixed random order.

    Returns:
        Class numbers; or conditions, each float32 [Y].
    """
    return read_all(source.label, sample_indices(source, seeds))


def sample_indices(source: DatasetSource, seeds: Sequence[int]) -> list[int]:
    """Return the indices of the real images whose labels `sample_labels` returns."""
    order = np.random.default_rng(0).permutation(len(source))
    return [int(order[seed % len(order)]) for seed in seeds]

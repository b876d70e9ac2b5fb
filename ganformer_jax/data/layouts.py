"""Images with label maps of their segments, stored as the feature `mask`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.data.batches import DatasetSource
from ganformer_jax.data.reading import read_all
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import UInt8

FEATURE = "mask"
"""Name of the feature with the label maps, where 0 is the background."""


@dataclass(frozen=True)
class LayoutSource:
    """The images of one split and their label maps, read by index.

    Attributes:
        source: The images.
        segments: Number of segments; labels are from 0 to `segments` - 1.

    Raises:
        UserError: If the dataset has no label maps; when one is read, if it has a larger label.
    """

    source: DatasetSource
    segments: int

    def __post_init__(self) -> None:
        if FEATURE not in self.source.features:
            raise UserError(
                f"{self.source.name} has no segments: prepare it with --segments, or use scenes"
            )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return `images`, uint8 [H, W, C], and their labels as `layouts`, uint8 [H, W]."""
        image = self.source[index]["images"]
        return {"images": image, "layouts": self.labels(index)}

    def check(self) -> None:
        """Read the label maps of all images, so that a wrong one is found before training."""
        read_all(lambda index: int(self.labels(index).max()), range(len(self)))

    def labels(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Return the label map of an image."""
        labels = self.source.part(index, (FEATURE,))[FEATURE][..., 0]
        largest = int(labels.max())
        if largest >= self.segments:
            raise UserError(
                f"{self.source.name} has an image with label {largest}, but planning has labels "
                f"0 to {self.segments - 1}: raise planning.steps or planning.step_segments"
            )
        if labels.shape != self.source.size:
            raise UserError(
                f"{self.source.name} has segments of {'x'.join(map(str, labels.shape))}: prepare "
                "it again"
            )
        return labels

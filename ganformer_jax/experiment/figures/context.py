"""Inputs of every figure of a trained generator."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.sampling import ImageLatents, Synthesized, Synthesizer
from ganformer_jax.visualize import image_grid

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

CELL = 96
"""Smallest width of an image in a figure, in pixels; small images are enlarged."""
SHOWN = 8
"""Images whose attention is drawn, at most."""


class Still(NamedTuple):
    """A figure.

    Attributes:
        name: Name of its file, without a suffix.
        image: uint8 [H, W, 3].
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]


class Video(NamedTuple):
    """A figure that moves.

    Attributes:
        name: Name of its file, without a suffix.
        frames: uint8 [H, W, 3] each, which are made as they are read.
        count: Number of frames.
    """

    name: str
    frames: Iterable[UInt8[np.ndarray, "h w 3"]]
    count: int


class Unsuitable(Exception):
    """A figure that the generator or the images cannot have; the message says why."""


@dataclasses.dataclass(frozen=True)
class FigureContext:
    """A generator and the images that figures show.

    Attributes:
        synthesizer: Makes images, with the noise of all figures.
        variables: Variables of the generator.
        latents: Latents of the images.
        z_BxKxD: Latents z that they were mapped from; None if the latents were read from a file.
        labels: Class number or condition of each image; None without labels.
        truncation_psi: Truncation psi of images that are mapped from z.
        truncation_cutoff: Number of layers to truncate, from the first; None for all.
        frames: Frames of a video from one image to the next.
        component: The component that per-component figures show, from 0; None for all.
    """

    synthesizer: Synthesizer
    variables: Mapping[str, Any]
    latents: ImageLatents
    z_BxKxD: Float[np.ndarray, "b k d"] | None = None
    labels: Sequence[Any] | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    frames: int = 60
    component: int | None = None

    @property
    def config(self) -> GeneratorConfig:
        """Config of the generator."""
        return self.synthesizer.config

    @functools.cached_property
    def made(self) -> Synthesized:
        """The images and, for a generator with attention, its maps."""
        attention = bool(self.config.attended_resolutions)
        synthesizer = dataclasses.replace(self.synthesizer, attention=attention)
        return synthesizer(self.variables, self.latents)

    @functools.cached_property
    def first(self) -> FigureContext:
        """The same with the first images only, `SHOWN` at most, so that attention fits memory."""
        return self if len(self.latents) <= SHOWN else self._of(slice(SHOWN))

    def _of(self, rows: slice) -> FigureContext:
        """Return the same with some of the images."""
        return dataclasses.replace(
            self,
            latents=self.latents.take(range(len(self.latents))[rows]),
            z_BxKxD=None if self.z_BxKxD is None else self.z_BxKxD[rows],
            labels=None if self.labels is None else self.labels[rows],
        )

    def batches(self) -> Iterator[FigureContext]:
        """Yield the images batch by batch, so that attention maps of all are never held at once."""
        count, size = len(self.latents), self.synthesizer.batch_size
        if count <= size:
            yield self  # which may have made its images
            return
        for start in range(0, count, size):
            yield self._of(slice(start, start + size))

    def images(self, latents: ImageLatents) -> UInt8[np.ndarray, "b h w c"]:
        """Make images of other latents."""
        return self.synthesizer(self.variables, latents).images

    def components(self) -> list[int]:
        """Return the components that figures show, from 0.

        Raises:
            Unsuitable: If the generator has none that images attend to.
        """
        self.need_attention()
        every = range(self.config.components)
        return list(every) if self.component is None else [self.component]

    def need_attention(self) -> None:
        """Raise `Unsuitable` if images do not attend to components."""
        if not self.config.attended_resolutions:
            raise Unsuitable("this generator has no attention")

    def need_images(self, count: int) -> None:
        """Raise `Unsuitable` if there are fewer images."""
        if len(self.latents) < count:
            raise Unsuitable(f"it needs {count} images: give more --seeds")


def lay_out(
    rows: Sequence[Sequence[UInt8[np.ndarray, "h w c"]]],
    headings: Sequence[str] = (),
    row_headings: Sequence[str] = (),
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay rows of images out under their headings, small images enlarged."""
    width = rows[0][0].shape[1]
    return image_grid(
        np.stack([image for row in rows for image in row]),
        len(rows[0]),
        padding=4,
        scale=max(1, math.ceil(CELL / width)),
        headings=headings,
        row_headings=row_headings,
    )

"""Latents, noise and masks from which images can be regenerated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt32


@dataclasses.dataclass(frozen=True)
class ImageLatents:
    """The latents of some images, on the host.

    Attributes:
        w_BxKxLxD: One latent for each component and, last, the global one, for every layer of the
            synthesis network; float32, truncated already.
        noise_seeds_B: Seed of each image's noise, uint32; only random noise reads it.
        mask_BxK: 0 hides a component from attention, 1 shows it; float32, without the global
            latent. None if all are visible.
        noise_maps: Noise of each image by the place of its layer, as a projection finds it,
            [B, H, W] each, in place of the generator's fixed noise; empty without.
        facts: Facts about each image, such as its seed, of values that JSON has.
        shift_BxKx2: Distances by which to move the place of each component, in columns and rows,
            where the longer side of the image is 2; float32, without the global latent. None for
            not at all.
        words: Number of words of a caption in w, between components and global latent.
        places: Whether components have places, as with `attention.places`: pixels then attend to
            nothing where no component is, so that all components may be hidden.
    """

    w_BxKxLxD: Float[np.ndarray, "b k l d"]
    noise_seeds_B: UInt32[np.ndarray, " b"]
    mask_BxK: Float[np.ndarray, "b k"] | None = None
    noise_maps: Mapping[str, Float[np.ndarray, "b h w"]] = dataclasses.field(default_factory=dict)
    facts: tuple[Mapping[str, Any], ...] = ()
    shift_BxKx2: Float[np.ndarray, "b k 2"] | None = None
    words: int = 0
    places: bool = False

    def __len__(self) -> int:
        return len(self.w_BxKxLxD)

    @property
    def components(self) -> int:
        """Number of latent components, without words and the global latent."""
        return self.w_BxKxLxD.shape[1] - 1 - self.words

    @property
    def own_w_BxKxLxD(self) -> Float[np.ndarray, "b k l d"]:
        """W without the words of captions."""
        if not self.words:
            return self.w_BxKxLxD
        return np.delete(self.w_BxKxLxD, np.s_[self.components : -1], 1)

    def take(self, rows: Sequence[int] | Int[np.ndarray, " m"]) -> ImageLatents:
        """Return the latents of these images, counted from 0, which may repeat.

        Raises:
            ValueError: If the rows are not a list of integers.
        """
        rows = np.asarray(rows if len(rows) else np.zeros(0, np.int64))
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(f"rows are {rows.dtype} {list(rows.shape)}: give a list of integers")
        return dataclasses.replace(
            self,
            w_BxKxLxD=self.w_BxKxLxD[rows],
            noise_seeds_B=self.noise_seeds_B[rows],
            mask_BxK=None if self.mask_BxK is None else self.mask_BxK[rows],
            noise_maps={name: noise[rows] for name, noise in self.noise_maps.items()},
            facts=tuple(self.facts[row] for row in rows) if self.facts else (),
            shift_BxKx2=None if self.shift_BxKx2 is None else self.shift_BxKx2[rows],
        )

    def with_w(self, w_BxKxLxD: Float[np.ndarray, "b k l d"]) -> ImageLatents:
        """Return other latents with the same noise and mask; facts no longer hold.

        A single latent serves all images, and several serve a single image's noise.

        Raises:
            ValueError: If w is of another shape, or of neither one image nor as many.
        """
        counts = {len(self), len(w_BxKxLxD)} - {1}
        if w_BxKxLxD.shape[1:] != self.w_BxKxLxD.shape[1:] or len(counts) > 1:
            wanted, given = list(self.w_BxKxLxD.shape), list(w_BxKxLxD.shape)
            raise ValueError(f"w is {given} for latents {wanted}: give one, or one for each image")
        count = max(len(self), len(w_BxKxLxD))
        whole = self.take(np.arange(count) % len(self))
        w_BxKxLxD = np.broadcast_to(w_BxKxLxD, (count, *w_BxKxLxD.shape[1:]))
        return dataclasses.replace(whole, w_BxKxLxD=np.asarray(w_BxKxLxD, np.float32), facts=())

    def without(self, component: int) -> ImageLatents:
        """Hide a component, counted from 0, from the attention of all images; facts stay.

        Raises:
            ValueError: If the number is not that of a component, or an image would have no visible
                one: without places, attention would be as if all were visible.
        """
        self._check(component)
        mask_BxK = self.mask_BxK
        if mask_BxK is None:
            mask_BxK = np.ones((len(self), self.components), np.float32)
        mask_BxK = mask_BxK.copy()
        mask_BxK[:, component] = 0
        count = int((mask_BxK.max(1) == 0).sum())
        if count and not self.places:
            raise ValueError(
                f"component {component + 1} is the last visible one in {count} of {len(self)} "
                "images"
            )
        return dataclasses.replace(self, mask_BxK=mask_BxK)

    def moved(self, component: int, columns: float, rows: float) -> ImageLatents:
        """Move the place of a component, counted from 0, in all images; facts stay.

        Only generators with `attention.places` have places.

        Args:
            component: The component.
            columns: Distance to the right; the longer side of the image is 2.
            rows: Distance down, in the same unit.

        Raises:
            ValueError: If the number is not that of a component.
        """
        self._check(component)
        shift_BxKx2 = self.shift_BxKx2
        if shift_BxKx2 is None:
            shift_BxKx2 = np.zeros((len(self), self.components, 2), np.float32)
        shift_BxKx2 = shift_BxKx2.copy()
        shift_BxKx2[:, component] += (columns, rows)
        return dataclasses.replace(self, shift_BxKx2=shift_BxKx2)

    def _check(self, component: int) -> None:
        if not 0 <= component < self.components:
            raise ValueError(f"component must be in 0..{self.components - 1}, got {component}")

"""The transformations of adaptive discriminator augmentation: names, presets, random numbers.

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (arXiv 2006.06676),
appendix B. Names, order and ranges are those of the published code (stylegan2-ada-pytorch).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from ganformer_jax.errors import did_you_mean

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Key

BANDS = 4
"""Frequency bands of the image filter."""

# The number of random numbers that each transformation takes of an image. Only append: with another
# order, other values would be drawn.
_COUNTS = {
    "xflip": 2,
    "rotate90": 2,
    "xint": 3,
    "scale": 2,
    "rotate": 4,
    "aniso": 2,
    "xfrac": 3,
    "brightness": 2,
    "contrast": 2,
    "lumaflip": 2,
    "hue": 2,
    "saturation": 2,
    "imgfilter": 2 * BANDS,
    "noise": 2,
    "cutout": 3,
}
TRANSFORMS = tuple(_COUNTS)
"""Names of the transformations, in the order in which they are applied."""

_GROUPS = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
_BY_LETTER = dict(zip("bgcfn", _GROUPS, strict=False))


def _presets() -> dict[str, tuple[str, ...]]:
    presets = dict(_GROUPS)
    for letters in ("bg", "bgc", "bgcf", "bgcfn"):
        presets[letters] = tuple(n for letter in letters for n in _GROUPS[_BY_LETTER[letter]])
    return presets | {"bgcfnc": (*presets["bgcfn"], "cutout")}


PRESETS = _presets()
"""Sets of transformations by their usual names. The paper's choice is `bgc`."""


def expand(names: str | Iterable[str]) -> dict[str, float]:
    """Return the transformations that presets and single names stand for, each at strength 1.

    Args:
        names: One or several of `PRESETS` and `TRANSFORMS`: "bgc", or ("blit", "cutout").

    Returns:
        Strength by name, in the order of `TRANSFORMS`: what `augment` takes.

    Raises:
        ValueError: A name is neither.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    check_names(names, (*TRANSFORMS, *PRESETS))
    found = {n for name in names for n in PRESETS.get(name, (name,))}
    return {name: 1.0 for name in TRANSFORMS if name in found}


def check_names(names: Iterable[str], known: Iterable[str] = TRANSFORMS) -> None:
    """Raise ValueError for a name that is not a known transformation, with the nearest one."""
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise ValueError(f"no transformation {name!r}: choose from {', '.join(known)}{near}")


def check_transforms(transforms: Mapping[str, float]) -> None:
    """Raise TypeError for names without strengths, and ValueError for unknown names."""
    if not isinstance(transforms, Mapping):
        raise TypeError('transforms are strengths by name: give expand(["bgc"])')
    check_names(transforms)


_ENDS = tuple(itertools.accumulate(_COUNTS.values()))
_COLUMNS = {name: (end - _COUNTS[name], end) for name, end in zip(_COUNTS, _ENDS, strict=True)}


class Draws(NamedTuple):
    """The random numbers of a batch, images first, whichever transformations use them."""

    uniform_BxN: Float[Array, "b n"]
    """Uniform in [0, 1)."""
    normal_BxHxWxC: Float[Array, "b h w c"] | None
    """Standard normal values of every pixel; None without `noise`."""


def draw(key: Key[Array, ""], shape: tuple[int, ...], transforms: Mapping[str, float]) -> Draws:
    """Draw the random numbers for images of shape [B, H, W, C].

    The numbers of a transformation do not depend on which other ones there are.

    Args:
        key: Decides all of them.
        shape: Shape of the images.
        transforms: Strength by name, as `augment` takes them.

    Raises:
        ValueError: An unknown transformation.
        TypeError: Names without strengths.
    """
    check_transforms(transforms)
    uniform_key, normal_key = jax.random.split(key)
    noisy = bool(transforms.get("noise"))
    normal = jax.random.normal(normal_key, shape) if noisy else None
    return Draws(jax.random.uniform(uniform_key, (shape[0], _ENDS[-1])), normal)


class Chances:
    """The random choices of each transformation, from the uniform numbers of a batch.

    Args:
        uniform_BxN: Of `Draws`.
        p: Probability of a transformation of strength 1.
        transforms: Strength by name.
        percentile: For comparison with published numbers: every choice takes this quantile, and
            every transformation is applied. As in the published code, normal values are then
            1 / sqrt(2) of their quantile.
    """

    def __init__(
        self,
        uniform_BxN: Float[Array, "b n"],
        p: Float[Array, ""] | float,
        transforms: Mapping[str, float],
        percentile: float | None = None,
    ):
        self._uniform_BxN, self._p, self._transforms = uniform_BxN, p, transforms
        self.percentile = percentile
        self._unit = 1.0 if percentile is not None else 2.0**0.5

    def has(self, name: str) -> bool:
        """Return whether a transformation can be applied at all."""
        return bool(self._transforms.get(name))

    def applied(self, name: str, column: int = 0) -> Bool[Array, " b"]:
        """Choose the images that a transformation is applied to."""
        return self.below(self.probability(name), name, column)

    def probability(self, name: str) -> Float[Array, ""] | float:
        """Return the probability of a transformation, which may be above 1."""
        return self._transforms[name] * self._p

    def below(
        self, probability: Float[Array, ""] | float, name: str, column: int
    ) -> Bool[Array, " b"]:
        """Choose images with a probability."""
        chosen_B = self._column(name, column) < probability
        return jnp.ones_like(chosen_B) if self.percentile is not None else chosen_B

    def uniform(self, name: str, column: int = 1) -> Float[Array, " b"]:
        """Return values in [0, 1)."""
        values_B = self._column(name, column)
        return values_B if self.percentile is None else jnp.full_like(values_B, self.percentile)

    def normal(self, name: str, column: int = 1) -> Float[Array, " b"]:
        """Return standard normal values."""
        edge = 1 - 2.0**-23
        values_B = jnp.clip(2 * self.uniform(name, column) - 1, -edge, edge)
        return self._unit * jax.scipy.special.erfinv(values_B)

    def half_normal(self, name: str, column: int = 1) -> Float[Array, " b"]:
        """Return absolute values of standard normal ones."""
        return self._unit * jax.scipy.special.erfinv(self.uniform(name, column))

    def _column(self, name: str, column: int) -> Float[Array, " b"]:
        start, _ = _COLUMNS[name]
        return self._uniform_BxN[:, start + column]

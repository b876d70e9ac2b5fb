"""Sliced Wasserstein distance between two sets of images, on a Laplacian pyramid.

T. Karras, T. Aila, S. Laine, J. Lehtinen, "Progressive Growing of GANs for Improved Quality,
Stability, and Variation", ICLR 2018 (arXiv 1710.10196), section 5. It needs no pretrained
network. The coarsest level compares large-scale structure, the finest one edges and noise. Sides
are halved until the shorter one has 16 to 31 pixels: 16x16 for images of 64x64, 16x32 for 64x128,
24x32 for 192x256.

The file reads bottom-up: pyramid, descriptors, distance of descriptors, distance of images.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key, UInt8

COARSEST = 16  # smallest shorter side of the coarsest level, in pixels
PATCH = 7  # height and width of a descriptor, in pixels
BINS = 1 << 14  # of the histograms over which distances are integrated
_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SMALLEST_STD = 0.01  # gray levels; a smaller deviation is rounding noise of a constant


def _blur(images_BxHxWxC: jax.Array, axis: int, stride: int) -> jax.Array:
    """Filter one axis with the binomial 5-tap kernel, mirrored at the borders."""
    length = images_BxHxWxC.shape[axis]
    widths = [(2, 2) if i == axis else (0, 0) for i in range(4)]
    padded = jnp.pad(images_BxHxWxC, widths, mode="reflect")
    shifted = [
        jax.lax.slice_in_dim(padded, start, start + length, stride, axis)
        for start in range(len(_TAPS))
    ]
    return jnp.tensordot(jnp.array(_TAPS), jnp.stack(shifted), axes=1, precision="highest")


def downsample(images_BxHxWxC: Float[Array, "b h w c"]) -> Float[Array, "b ... c"]:
    """Blur, and keep every second row and column."""
    return _blur(_blur(images_BxHxWxC, 1, 2), 2, 2)


def upsample(images_BxHxWxC: Float[Array, "b h w c"]) -> Float[Array, "b ... c"]:
    """Double height and width: insert zeros between the pixels, then blur and multiply by 4."""
    batch, height, width, channels = images_BxHxWxC.shape
    spread = jnp.zeros((batch, height, 2, width, 2, channels), images_BxHxWxC.dtype)
    spread = spread.at[:, :, 0, :, 0].set(4 * images_BxHxWxC)
    spread = spread.reshape(batch, 2 * height, 2 * width, channels)
    return _blur(_blur(spread, 1, 1), 2, 1)


def laplacian_pyramid(
    images_BxHxWxC: Float[Array, "b h w c"], levels: int
) -> list[Float[Array, "b ... c"]]:
    """Split images into bands of halving resolution.

    The last band is the low-pass image; each other band is the difference between its low-pass
    image and the upsampled next smaller one. Upsampling and adding, from the last band to the
    first, restores the images. Height and width must be divisible by 2 ** (levels - 1).
    """
    bands = []
    low = images_BxHxWxC
    for _ in range(levels - 1):
        smaller = downsample(low)
        bands.append(low - upsample(smaller))
        low = smaller
    return [*bands, low]


def patch_descriptors(
    band_BxHxWxC: Float[Array, "b h w c"], keys_B: Key[Array, " b"], count: int
) -> Float[Array, "m 7 7 c"]:
    """Cut `count` 7x7 patches from every image of one pyramid band.

    Positions are uniform and drawn with a key per image, so they do not depend on the batch.
    """
    _, height, width, channels = band_BxHxWxC.shape
    highest = jnp.array([height - PATCH, width - PATCH])

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (*corner, 0), (PATCH, PATCH, channels))

    def describe(image: jax.Array, key: jax.Array) -> jax.Array:
        corners = jax.random.randint(key, (count, 2), 0, highest[None] + 1)
        return jax.vmap(partial(cut, image))(corners)

    patches = jax.vmap(describe)(band_BxHxWxC, keys_B)
    return patches.reshape(-1, PATCH, PATCH, channels)


def normalize_descriptors(
    descriptors_Mx7x7xC: Float[Array, "m 7 7 c"], reference_Mx7x7xC: Float[Array, "m 7 7 c"]
) -> Float[Array, "m d"]:
    """Flatten descriptors after normalizing each channel by the reference's mean and deviation."""
    mean = jnp.mean(reference_Mx7x7xC, axis=(0, 1, 2), keepdims=True)
    std = jnp.std(reference_Mx7x7xC, axis=(0, 1, 2), keepdims=True)
    scaled = (descriptors_Mx7x7xC - mean) / jnp.maximum(std, _SMALLEST_STD)
    return scaled.reshape(len(scaled), -1)


def wasserstein_1d(
    real_M: Float[Array, " m"], fake_M: Float[Array, " m"], bins: int = BINS
) -> Float[Array, ""]:
    """Return the first Wasserstein distance of two samples of equal size.

    It is the area between the two cumulative distributions, which for equal sizes is the mean of
    `|sort(real) - sort(fake)|`. The area is integrated over equal bins between the smallest and the
    largest number, with an error below one bin width, because on a CPU a histogram takes a
    hundredth of the time of a sort.
    """
    low = jnp.minimum(jnp.min(real_M), jnp.min(fake_M))
    high = jnp.maximum(jnp.max(real_M), jnp.max(fake_M))
    width = jnp.maximum((high - low) / (bins - 1), jnp.finfo(real_M.dtype).tiny)

    def bin_of(values: jax.Array) -> jax.Array:
        nearest = jnp.round((values - low) / width).astype(jnp.int32)
        return jnp.clip(nearest, 0, bins - 1)

    difference = jnp.zeros(bins, jnp.int32).at[bin_of(real_M)].add(1).at[bin_of(fake_M)].add(-1)
    areas = jnp.abs(jnp.cumsum(difference)).astype(real_M.dtype)
    return width * jnp.sum(areas / real_M.shape[0])


def sliced_distance(
    real_MxD: Float[Array, "m d"],
    fake_MxD: Float[Array, "m d"],
    key: Key[Array, ""],
    *,
    projections: int = 512,
    group: int = 64,
) -> Float[Array, ""]:
    """Return the mean of `wasserstein_1d` over random directions on the unit sphere.

    The paper uses 512 projections. Their number must be a multiple of `group`, or smaller; one
    group at a time, 2 * M * group numbers, is in memory.
    """
    group = min(group, projections)
    directions = jax.random.normal(key, (projections, real_MxD.shape[1]), real_MxD.dtype)
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)

    def group_distance(directions_MxD: jax.Array) -> jax.Array:
        project = partial(jnp.matmul, directions_MxD, precision="highest")
        pairs = (project(real_MxD.T), project(fake_MxD.T))
        return jax.lax.map(lambda pair: wasserstein_1d(*pair), pairs)

    groups = directions.reshape(projections // group, group, -1)
    return jnp.mean(jax.lax.map(group_distance, groups))


@partial(jax.jit, static_argnames=("levels", "level", "count"))
def _describe_batch(
    images_BxHxWxC: jax.Array,
    indices_B: jax.Array,
    key: jax.Array,
    levels: int,
    level: int,
    count: int,
) -> jax.Array:
    """Return descriptors of one pyramid level of one batch of uint8 images."""
    bands = laplacian_pyramid(images_BxHxWxC.astype(jnp.float32), levels)
    keys_B = jax.vmap(partial(jax.random.fold_in, key))(indices_B)
    return patch_descriptors(bands[level], keys_B, count)


def _describe(
    images_BxHxWxC: np.ndarray, key: jax.Array, levels: int, level: int, count: int, batch: int
) -> jax.Array:
    """Return descriptors of one pyramid level of all images, a batch at a time."""
    total = len(images_BxHxWxC)
    batch = min(batch, total)
    descriptors = []
    for start in range(0, total, batch):
        # The last batch is padded with repeats, so that one program serves all batches.
        indices_B = np.minimum(np.arange(start, start + batch), total - 1)
        rows = _describe_batch(images_BxHxWxC[indices_B], indices_B, key, levels, level, count)
        descriptors.append(rows[: (total - start) * count])
    return jnp.concatenate(descriptors)


@partial(jax.jit, static_argnames=("projections", "normalize_by"))
def _level_distance(
    real_Mx7x7xC: jax.Array,
    fake_Mx7x7xC: jax.Array,
    key: jax.Array,
    projections: int,
    normalize_by: str,
) -> jax.Array:
    reference = real_Mx7x7xC if normalize_by == "real" else fake_Mx7x7xC
    real_MxD = normalize_descriptors(real_Mx7x7xC, real_Mx7x7xC)
    fake_MxD = normalize_descriptors(fake_Mx7x7xC, reference)
    return sliced_distance(real_MxD, fake_MxD, key, projections=projections)


def _resolutions(real_BxHxWxC: np.ndarray, fake_BxHxWxC: np.ndarray) -> list[int]:
    """Return the longer sides of the pyramid levels, finest first; raise ValueError if unfit."""
    for name, images in (("real", real_BxHxWxC), ("fake", fake_BxHxWxC)):
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
            raise ValueError(
                f"{name} images must be uint8 [batch, height, width, channels], "
                f"got {images.dtype} {list(images.shape)}"
            )
    if real_BxHxWxC.shape != fake_BxHxWxC.shape:
        # The bias depends on the number of images, so the sets must have the same size.
        raise ValueError(
            "sliced Wasserstein distance needs equally many real and fake images, of one size: "
            f"got {list(real_BxHxWxC.shape)} real and {list(fake_BxHxWxC.shape)} fake"
        )
    height, width = real_BxHxWxC.shape[1:3]
    halvings = max(min(height, width) // COARSEST, 1).bit_length() - 1
    if min(height, width) < COARSEST or (height | width) % (1 << halvings):
        raise ValueError(
            f"images must be at least {COARSEST} pixels high and wide, and halve evenly until the "
            f"shorter side is below {2 * COARSEST}: got {height}x{width}"
        )
    return [max(height, width) >> i for i in range(halvings + 1)]


def sliced_wasserstein(
    real_BxHxWxC: UInt8[ArrayLike, "b h w c"],
    fake_BxHxWxC: UInt8[ArrayLike, "b h w c"],
    key: Key[Array, ""],
    *,
    descriptors_per_image: int = 128,
    projections: int = 512,
    normalize_by: Literal["each", "real"] = "each",
    batch_size: int = 256,
) -> dict[str, float]:
    """Return the distance of generated from real images (arXiv 1710.10196, section 5).

    The defaults are those of the paper, which uses 16,384 images. The estimate is biased upward,
    more so for fewer images: compare values only at equal counts, and with the distance between two
    halves of the real images. The result depends on the key, but not on the batch size.

    The images of both sets stay in memory, and of each pyramid level all descriptors, which for
    color images take 75 kB per image twice, before and after normalization.

    Args:
        real_BxHxWxC: Uint8 images in 0..255, with sides that halve evenly until the shorter one
            has 16 to 31 pixels.
        fake_BxHxWxC: Equally many generated images of the same size.
        key: Random key of the positions of descriptors, which are the same in the i-th real and
            the i-th fake image, and of the directions of projections. It should be a key of
            Threefry, jax's default: with others, positions depend on the batch.
        descriptors_per_image: Number of 7x7 patches per image and pyramid level.
        projections: Random directions per level: a multiple of 64, or fewer than 64.
        normalize_by: Set whose channel means and deviations normalize the fake descriptors.
            "each", as in the paper, normalizes each set by itself, so a tint or contrast that all
            fake images share has no effect; with "real" it has.
        batch_size: Number of images whose pyramids are held in memory at once.

    Returns:
        "swd_<side>" for each level from the finest to the coarsest, by its longer side, and their
        mean as "swd"; all times 1,000, as in the paper. 0 is best.

    Raises:
        ValueError: If the sets differ in shape, are not uint8, or have sides that do not halve, or
            an option is out of range.
    """
    real, fake = np.asarray(real_BxHxWxC), np.asarray(fake_BxHxWxC)
    sides = _resolutions(real, fake)
    if normalize_by not in ("each", "real"):
        raise ValueError(f"normalize_by must be 'each' or 'real', got {normalize_by!r}")
    least = min(descriptors_per_image, projections, batch_size)
    if least < 1 or projections % min(64, projections):
        raise ValueError(
            "descriptors_per_image, projections and batch_size must be positive, and projections "
            f"a multiple of 64 or fewer: got {descriptors_per_image}, {projections}, {batch_size}"
        )
    result = {}
    for level, side in enumerate(sides):
        place_key, direction_key = jax.random.split(jax.random.fold_in(key, level))
        options = place_key, len(sides), level, descriptors_per_image, batch_size
        descriptors = _describe(real, *options), _describe(fake, *options)
        distance = _level_distance(*descriptors, direction_key, projections, normalize_by)
        result[f"swd_{side}"] = 1000 * float(distance)
    return {**result, "swd": sum(result.values()) / len(result)}

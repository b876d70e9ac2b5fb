"""A small network that finds the objects of scenes, learned from true masks and classes.

It labels generated images, whose objects nobody knows. Objects are found as B. Cheng et al.,
"Panoptic-DeepLab", CVPR 2020 (arXiv 1911.10194) find them: each pixel says whether it belongs to an
object and how far away that object's center is, a map says where centers are, and pixels join the
center they point to. The network is a U-Net (O. Ronneberger et al., arXiv 1505.04597).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.ndimage
from tqdm import tqdm

from ganformer_jax.pixels import from_uint8
from ganformer_jax.scenes.truth import KINDS, Truth, describe
from ganformer_jax.scenes.world import MAX_OBJECTS

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, UInt8

WIDTH = 16  # channels at full resolution, doubled with every halving
SPREAD = 0.04  # of a center on the map of centers, in image widths
LEAST_CENTER = 0.25  # height of what counts as a center
STEPS, BATCH, LEARNING_RATE = 1200, 32, 4e-3


class Seen(NamedTuple):
    """What the network says of every pixel."""

    foreground: Float[Array, "batch height width"]
    """Logit of belonging to an object."""
    centers: Float[Array, "batch height width"]
    """1 at the center of an object, less around it."""
    offsets: Float[Array, "batch height width 2"]
    """Rows and columns to the center of its object, in image widths."""
    classes: tuple[Float[Array, "batch height width classes"], ...]
    """Logits of its object's class, for each of `KINDS`."""


class _Convolutions(nn.Module):
    """Two convolutions, normalized over groups of channels."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.Conv(self.features, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.GroupNorm(num_groups=None, group_size=8)(x))
        return x


class SceneReader(nn.Module):
    """Images in 0..255 to `Seen`; sides must be divisible by 8."""

    @nn.compact
    def __call__(self, images_BxHxWx3: UInt8[Array, "batch height width 3"]) -> Seen:
        """Reads images."""
        height, width = images_BxHxWx3.shape[1:3]
        axes = jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width)
        places = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)
        places = jnp.broadcast_to(places[None], (*images_BxHxWx3.shape[:3], 2))
        image = jnp.concatenate([from_uint8(images_BxHxWx3), places], -1)
        x, kept = image, []
        for level in range(3):
            x = _Convolutions(WIDTH << level)(x)
            kept.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = _Convolutions(WIDTH << 3)(x)
        for level in reversed(range(3)):
            x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
            x = _Convolutions(WIDTH << level)(jnp.concatenate([x, kept[level]], -1))
        # Normalization hides what the colors are, so the image itself is looked at again.
        x = nn.gelu(nn.Conv(4 * WIDTH, (1, 1))(jnp.concatenate([x, image], -1)))
        sizes = [1, 1, 2, *map(len, KINDS.values())]
        parts = jnp.split(nn.Conv(sum(sizes), (1, 1))(x), np.cumsum(sizes)[:-1], -1)
        return Seen(parts[0][..., 0], parts[1][..., 0], parts[2], tuple(parts[3:]))


@dataclasses.dataclass(frozen=True)
class TrainedReader:
    """A network and its weights."""

    network: SceneReader
    params: Mapping[str, Any]

    def __call__(
        self, images_NxHxWx3: UInt8[np.ndarray, "n height width 3"], batch_size: int = 64
    ) -> tuple[Int[np.ndarray, "n height width"], Float[np.ndarray, "n attributes"]]:
        """Finds objects, numbered from 1, and `ATTRIBUTES`."""
        objects, attributes = [], []
        for start in range(0, len(images_NxHxWx3), batch_size):
            part = images_NxHxWx3[start : start + batch_size]
            taken = np.arange(batch_size) % len(part)
            seen = jax.device_get(_read(self.network, self.params, part[taken]))
            for row in range(len(part)):
                of_image = jax.tree.map(lambda array, row=row: array[row], seen)
                found = group_pixels(*of_image[:3])
                objects.append(found)
                attributes.append(describe(found, classify(found, of_image.classes)))
        return np.stack(objects), np.stack(attributes)


def train_reader(truth: Truth, *, steps: int = STEPS, seed: int = 0) -> TrainedReader:
    """Trains a network on scenes, with Adam and a learning rate that falls to nothing.

    Args:
        truth: Real scenes.
        steps: Updates, of 32 images each.
        seed: Of the weights and of the order of the images.
    """
    network = SceneReader()
    params = jax.jit(network.init)(jax.random.key(seed), truth.images[:1])
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))
    state = optimizer.init(params)
    random = np.random.default_rng(seed)
    with tqdm(total=steps, unit=" steps", desc="learning to find objects") as bar:
        for _ in range(steps):
            rows = random.integers(0, len(truth.images), BATCH)
            batch = Truth(*(array[rows] for array in truth))
            params, state = _update(network, optimizer, params, state, batch)
            bar.update()
    return TrainedReader(network, params)


@functools.partial(jax.jit, static_argnums=0)
def _read(network: SceneReader, params: Mapping[str, Any], images: Any) -> Any:
    return network.apply(params, images)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def _update(network: SceneReader, optimizer: Any, params: Any, state: Any, batch: Truth) -> Any:
    gradients = jax.grad(lambda p: reading_loss(network.apply(p, batch.images), batch))(params)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(params, updates), state


def reading_loss(seen: Any, truth: Truth) -> Float[Array, ""]:
    """Cross-entropy of foreground and classes, squares of centers, distances of offsets."""
    masks, classes = jnp.asarray(truth.masks, jnp.int32), jnp.asarray(truth.classes)
    centers, offsets = targets(masks)
    inside = (masks > 0).astype(jnp.float32)

    def mean_inside(values_BxHxW: jax.Array) -> jax.Array:
        return (values_BxHxW * inside).sum() / jnp.maximum(inside.sum(), 1)

    loss = 10 * optax.sigmoid_binary_cross_entropy(seen.foreground, inside).mean()
    loss += 100 * jnp.square(seen.centers - centers).mean()
    loss += 20 * mean_inside(jnp.abs(seen.offsets - offsets).sum(-1))
    for kind, logits in enumerate(seen.classes):
        flat = jnp.maximum(masks - 1, 0).reshape(len(masks), -1)
        labels = jnp.take_along_axis(classes[..., kind], flat, 1).reshape(masks.shape)
        cross = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        loss += mean_inside(cross)
    return loss


def targets(
    masks_BxHxW: Int[Array, "batch height width"],
) -> tuple[Float[Array, "batch height width"], Float[Array, "batch height width 2"]]:
    """The map of centers and each pixel's offset to its object's, of true masks."""
    height, width = masks_BxHxW.shape[1:]
    numbers = jnp.arange(1, MAX_OBJECTS + 1).reshape(1, -1, 1, 1)
    own_BxOxHxW = (masks_BxHxW[:, None] == numbers).astype(jnp.float32)
    area_BxO = own_BxOxHxW.sum((2, 3))
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    places_HxWx2 = jnp.stack([rows, columns], -1) / width
    sums = jnp.einsum("bohw,hwc->boc", own_BxOxHxW, places_HxWx2, precision="highest")
    center_BxOx2 = sums / jnp.maximum(area_BxO, 1)[..., None]
    away = center_BxOx2[:, :, None, None] - places_HxWx2[None, None]
    heights = jnp.exp(-jnp.square(away).sum(-1) / (2 * SPREAD**2))
    centers = (heights * (area_BxO > 0)[:, :, None, None]).max(1)
    return centers, (away * own_BxOxHxW[..., None]).sum(1)


def group_pixels(
    foreground_HxW: Float[np.ndarray, "height width"],
    centers_HxW: Float[np.ndarray, "height width"],
    offsets_HxWx2: Float[np.ndarray, "height width 2"],
) -> Int[np.ndarray, "height width"]:
    """Numbers objects from 1: pixels of the foreground join the center nearest to their guess."""
    width = centers_HxW.shape[1]
    around = max(3, int(2 * SPREAD * width) | 1)
    highest = scipy.ndimage.maximum_filter(centers_HxW, around)
    peaks = np.argwhere((centers_HxW == highest) & (centers_HxW > LEAST_CENTER))
    objects = np.zeros(centers_HxW.shape, np.int32)
    inside = foreground_HxW > 0
    if not len(peaks):
        objects[inside] = 1
        return objects
    guesses = np.argwhere(inside) + offsets_HxWx2[inside] * width
    distances = np.linalg.norm(guesses[:, None] - peaks[None], axis=-1)
    objects[inside] = 1 + distances.argmin(1)
    return objects


def classify(
    objects_HxW: Int[np.ndarray, "height width"],
    logits: Sequence[Float[np.ndarray, "height width classes"]],
) -> Int[np.ndarray, "objects kinds"]:
    """Classes of each object: for each kind the one with most support from its pixels."""
    classes = np.zeros((objects_HxW.max(initial=0), len(logits)), np.int32)
    for number in np.unique(objects_HxW[objects_HxW > 0]):
        own = objects_HxW == number
        classes[number - 1] = [support[own].mean(0).argmax() for support in logits]
    return classes

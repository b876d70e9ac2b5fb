"""Panoptic segmentation of scenes: a small U-Net trained on true masks and classes.

It labels generated images, which have no ground truth. Objects are found as in B. Cheng et al.,
"Panoptic-DeepLab", CVPR 2020 (arXiv 1911.10194): the network predicts which pixels belong to
objects, a heatmap of object centers, and each pixel's offset to the center of its object; each
pixel is assigned to the nearest center. The U-Net follows O. Ronneberger et al. (arXiv 1505.04597).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy  # its submodules are loaded on first use
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from ganformer_jax.pixels import from_uint8
from ganformer_jax.scenes.layout import OBJECT_ATTRIBUTES, SceneLabels, image_attributes

WIDTH = 16  # channels at full resolution, doubled with every halving
SIGMA = 0.04  # standard deviation of a center on the heatmap, in image widths
CENTER_THRESHOLD = 0.25  # smallest value of a center on the heatmap
STEPS, BATCH, LEARNING_RATE = 1200, 32, 4e-3


class PanopticOutput(NamedTuple):
    """Predictions for every pixel."""

    foreground: Float[Array, "b h w"]  # logit of belonging to an object
    centers: Float[Array, "b h w"]  # heatmap: 1 at the center of an object, less around it
    offsets: Float[Array, "b h w 2"]  # rows and columns to the object's center, in image widths
    classes: tuple[Float[Array, "b h w y"], ...]  # logits, for each of `OBJECT_ATTRIBUTES`


class _Convolutions(nn.Module):  # the class name is part of the names of cached weights
    """Two convolutions, each with group normalization and ReLU."""

    features: int

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
        for _ in range(2):
            x_BxHxWxC = nn.Conv(self.features, (3, 3), use_bias=False)(x_BxHxWxC)
            x_BxHxWxC = nn.relu(nn.GroupNorm(num_groups=None, group_size=8)(x_BxHxWxC))
        return x_BxHxWxC


class PanopticNetwork(nn.Module):
    """U-Net from uint8 images, with sides divisible by 8, to `PanopticOutput`."""

    @nn.compact
    def __call__(self, images_BxHxWx3: UInt8[Array, "b h w 3"]) -> PanopticOutput:
        """Predict foreground, centers, offsets and classes."""
        height, width = images_BxHxWx3.shape[1:3]
        axes = jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width)
        grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)
        grid = jnp.broadcast_to(grid[None], (*images_BxHxWx3.shape[:3], 2))
        image = jnp.concatenate([from_uint8(images_BxHxWx3), grid], -1)
        x, skips = image, []
        for level in range(3):
            x = _Convolutions(WIDTH << level)(x)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = _Convolutions(WIDTH << 3)(x)
        for level in reversed(range(3)):
            x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
            x = _Convolutions(WIDTH << level)(jnp.concatenate([x, skips[level]], -1))
        # Normalization removes absolute colors, so the heads see the image again.
        x = nn.gelu(nn.Conv(4 * WIDTH, (1, 1))(jnp.concatenate([x, image], -1)))
        sizes = [1, 1, 2, *map(len, OBJECT_ATTRIBUTES.values())]
        heads = jnp.split(nn.Conv(sum(sizes), (1, 1))(x), np.cumsum(sizes)[:-1], -1)
        return PanopticOutput(heads[0][..., 0], heads[1][..., 0], heads[2], tuple(heads[3:]))


class ReadScene(NamedTuple):
    """Predicted contents of an image."""

    objects_HxW: Int[np.ndarray, "h w"]
    """Object of each pixel, from 1; 0 for the background. Some objects may have no pixels."""
    classes_QxA: Int[np.ndarray, "q a"]
    """Class of each object for each of `OBJECT_ATTRIBUTES`."""


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """A panoptic network and its weights."""

    network: PanopticNetwork
    params: Mapping[str, Any]
    batch_size: int = 64

    def __call__(
        self, images_BxHxWx3: UInt8[np.ndarray, "b h w 3"]
    ) -> tuple[Int[np.ndarray, "b h w"], Float[np.ndarray, "b a"]]:
        """Return objects, numbered from 1 in each image, and `IMAGE_ATTRIBUTES`."""
        found = self.read(images_BxHxWx3)
        attributes = [image_attributes(objects, classes) for objects, classes in found]
        return np.stack([objects for objects, _ in found]), np.stack(attributes)

    def read(self, images_BxHxWx3: UInt8[np.ndarray, "b h w 3"]) -> list[ReadScene]:
        """Return the predicted contents of each image."""
        found = []
        for start in range(0, len(images_BxHxWx3), self.batch_size):
            batch = images_BxHxWx3[start : start + self.batch_size]
            filled = batch[np.arange(self.batch_size) % len(batch)]  # one size, so one compilation
            output = jax.device_get(_predict(self.network, self.params, filled))
            for row in range(len(batch)):
                of_image = jax.tree.map(lambda array, row=row: array[row], output)
                objects_HxW = group_pixels(*of_image[:3])
                classes_QxA = classify_objects(objects_HxW, of_image.classes)
                found.append(ReadScene(objects_HxW, classes_QxA))
        return found


def train_segmenter(labels: SceneLabels, *, steps: int = STEPS, seed: int = 0) -> Segmenter:
    """Train a network with Adam and a cosine learning rate schedule.

    Args:
        labels: Scenes with their ground truth.
        steps: Number of steps.
        seed: Seed of the weights and of the order of the images.
    """
    network = PanopticNetwork()
    params = jax.jit(network.init)(jax.random.key(seed), labels.images[:1])
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))
    state = optimizer.init(params)
    random = np.random.default_rng(seed)
    for _ in tqdm(range(steps), unit=" steps", desc="training the segmentation network"):
        rows = random.integers(0, len(labels.images), BATCH)
        batch = SceneLabels(*(array[rows] for array in labels))
        params, state = _update(network, optimizer, params, state, batch)
    return Segmenter(network, params)


@functools.partial(jax.jit, static_argnums=0)
def _predict(network: PanopticNetwork, params: Mapping[str, Any], images: Any) -> Any:
    return network.apply(params, images)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def _update(
    network: PanopticNetwork, optimizer: Any, params: Any, state: Any, batch: SceneLabels
) -> Any:
    gradients = jax.grad(lambda p: panoptic_loss(network.apply(p, batch.images), batch))(params)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(params, updates), state


def panoptic_loss(output: Any, labels: SceneLabels) -> Float[Array, ""]:
    """Return the loss of a batch.

    It is the weighted sum of the cross-entropies of foreground and classes, the squared error of
    the heatmap and the absolute error of offsets. Offsets and classes count only at pixels of
    objects.
    """
    masks, classes = jnp.asarray(labels.masks, jnp.int32), jnp.asarray(labels.classes)
    centers, offsets = panoptic_targets(masks, classes.shape[1])
    inside = (masks > 0).astype(jnp.float32)

    def mean_inside(values_BxHxW: jax.Array) -> jax.Array:
        return (values_BxHxW * inside).sum() / jnp.maximum(inside.sum(), 1)

    loss = 10 * optax.sigmoid_binary_cross_entropy(output.foreground, inside).mean()
    loss += 100 * jnp.square(output.centers - centers).mean()
    loss += 20 * mean_inside(jnp.abs(output.offsets - offsets).sum(-1))
    object_BxP = jnp.maximum(masks - 1, 0).reshape(len(masks), -1)
    for attribute, logits in enumerate(output.classes):
        labels_BxP = jnp.take_along_axis(classes[..., attribute], object_BxP, 1)
        labels_BxHxW = labels_BxP.reshape(masks.shape)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels_BxHxW)
        loss += mean_inside(cross_entropy)
    return loss


def panoptic_targets(
    masks_BxHxW: Int[Array, "b h w"], count: int
) -> tuple[Float[Array, "b h w"], Float[Array, "b h w 2"]]:
    """Return the heatmap of centers and the offsets of true masks of at most `count` objects."""
    height, width = masks_BxHxW.shape[1:]
    numbers = jnp.arange(1, count + 1).reshape(1, -1, 1, 1)
    own_BxQxHxW = (masks_BxHxW[:, None] == numbers).astype(jnp.float32)
    area_BxQ = own_BxQxHxW.sum((2, 3))
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    grid_HxWx2 = jnp.stack([rows, columns], -1) / width
    sums = jnp.einsum("bqhw,hwc->bqc", own_BxQxHxW, grid_HxWx2, precision="highest")
    center_BxQx2 = sums / jnp.maximum(area_BxQ, 1)[..., None]
    offset_BxQxHxWx2 = center_BxQx2[:, :, None, None] - grid_HxWx2[None, None]
    heat_BxQxHxW = jnp.exp(-jnp.square(offset_BxQxHxWx2).sum(-1) / (2 * SIGMA**2))
    heatmap = (heat_BxQxHxW * (area_BxQ > 0)[:, :, None, None]).max(1)
    return heatmap, (offset_BxQxHxWx2 * own_BxQxHxW[..., None]).sum(1)


def group_pixels(
    foreground_HxW: Float[np.ndarray, "h w"],
    centers_HxW: Float[np.ndarray, "h w"],
    offsets_HxWx2: Float[np.ndarray, "h w 2"],
) -> Int[np.ndarray, "h w"]:
    """Assign each foreground pixel to the center nearest to where its offset points.

    Returns:
        The object of each pixel, from 1; 0 for the background. If the heatmap has no center, the
        foreground is one object.
    """
    width = centers_HxW.shape[1]
    window = max(3, int(2 * SIGMA * width) | 1)
    is_peak = centers_HxW == scipy.ndimage.maximum_filter(centers_HxW, window)
    peaks_Qx2 = np.argwhere(is_peak & (centers_HxW > CENTER_THRESHOLD))
    objects = np.zeros(centers_HxW.shape, np.int32)
    inside = foreground_HxW > 0
    if not len(peaks_Qx2):
        objects[inside] = 1
        return objects
    targets_Px2 = np.argwhere(inside) + offsets_HxWx2[inside] * width
    distances_PxQ = np.linalg.norm(targets_Px2[:, None] - peaks_Qx2[None], axis=-1)
    objects[inside] = 1 + distances_PxQ.argmin(1)
    return objects


def classify_objects(
    objects_HxW: Int[np.ndarray, "h w"], logits: Sequence[Float[np.ndarray, "h w y"]]
) -> Int[np.ndarray, "q a"]:
    """Return the class ids of each object: for each attribute, the class with the highest mean."""
    classes = np.zeros((objects_HxW.max(initial=0), len(logits)), np.int32)
    for number in np.unique(objects_HxW[objects_HxW > 0]):
        own = objects_HxW == number
        classes[number - 1] = [of_attribute[own].mean(0).argmax() for of_attribute in logits]
    return classes

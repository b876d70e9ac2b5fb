"""Learned perceptual image patch similarity (LPIPS), a distance of two images, with VGG-16.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The Unreasonable Effectiveness of Deep
Features as a Perceptual Metric", CVPR 2018 (arXiv 1801.03924), section 3 and equation 1; version
0.1 of its weights. The network is configuration D of K. Simonyan, A. Zisserman, "Very Deep
Convolutional Networks for Large-Scale Image Recognition", ICLR 2015 (arXiv 1409.1556).
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions; LPIPS compares the features at the end of each stage."""
_MEAN = np.array([-0.030, -0.088, -0.188], np.float32).reshape(1, 1, 1, 3)
_STD = np.array([0.458, 0.448, 0.450], np.float32).reshape(1, 1, 1, 3)
_EPSILON = 1e-10
SMALLEST = 16  # smallest height and width in pixels, as the network halves them four times


class VGG16(nn.Module):
    """The convolutions of VGG-16, in five stages separated by pooling."""

    @nn.compact
    def __call__(self, images_BxHxWx3: Float[Array, "b h w 3"]) -> list[Float[Array, "b ... c"]]:
        """Return the features at the end of each stage, for images in -1..1."""
        x = (images_BxHxWx3 - _MEAN) / _STD
        features = []
        for stage, widths in enumerate(STAGES):
            x = nn.max_pool(x, (2, 2), (2, 2)) if stage else x
            for i, width in enumerate(widths):
                conv = nn.Conv(width, (3, 3), padding=1, precision="highest", name=f"{stage}_{i}")
                x = nn.relu(conv(x))
            features.append(x)
        return features


def lpips_variables(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Convert arrays with PyTorch's names to the variables of `lpips`.

    Args:
        weights: "features.<i>.weight" and "features.<i>.bias" of torchvision's VGG-16 (its
            "classifier" is ignored), and "lin<i>.model.1.weight" of LPIPS.

    Raises:
        ValueError: If names are missing or unknown, a shape is wrong, or a value is not finite.
    """
    params: dict[str, Any] = {}
    remaining = {k: array for k, array in weights.items() if not k.startswith("classifier.")}
    channels, index = 3, 0
    for stage, widths in enumerate(STAGES):
        for i, width in enumerate(widths):
            kernel_OIHW = _take(remaining, f"features.{index}.weight", (width, channels, 3, 3))
            bias = _take(remaining, f"features.{index}.bias", (width,))
            params[f"{stage}_{i}"] = {"kernel": kernel_OIHW.transpose(2, 3, 1, 0), "bias": bias}
            channels, index = width, index + 2
        index += 1
    channel_weights = [
        _take(remaining, f"lin{stage}.model.1.weight", (1, widths[-1], 1, 1)).reshape(-1)
        for stage, widths in enumerate(STAGES)
    ]
    if remaining:
        raise ValueError(f"these are not weights of LPIPS on VGG-16: unknown {min(remaining)}")
    return {"params": params, "channel_weights": channel_weights}


def _take(remaining: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in remaining:
        raise ValueError(f"these are not weights of LPIPS on VGG-16: missing {name}")
    array = np.asarray(remaining.pop(name), np.float32)
    if array.shape != shape:
        raise ValueError(f"{name} is {list(array.shape)}, should be {list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array


@jax.jit
def lpips(
    variables: Mapping[str, Any],
    one_BxHxWx3: Float[Array, "b h w 3"],
    other_BxHxWx3: Float[Array, "b h w 3"],
) -> Float[Array, " b"]:
    """Return the distance of each pair of images (equation 1).

    Args:
        variables: Result of `lpips_variables`.
        one_BxHxWx3: Images in -1..1, at least 16 pixels high and wide.
        other_BxHxWx3: The second image of each pair.

    Raises:
        ValueError: If the shapes differ, or the images are too small.
        TypeError: If they are not floating point.
    """
    for images in (one_BxHxWx3, other_BxHxWx3):
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(f"images must be floating point, in -1..1, not {images.dtype}")
    shape = one_BxHxWx3.shape
    if shape != other_BxHxWx3.shape or len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"LPIPS compares images of one size with three channels: got {list(shape)} and "
            f"{list(other_BxHxWx3.shape)}"
        )
    if min(shape[1:3]) < SMALLEST:
        raise ValueError(
            f"LPIPS needs images of {SMALLEST}x{SMALLEST} or more, got {shape[1]}x{shape[2]}"
        )
    params = {"params": variables["params"]}
    features = [VGG16().apply(params, images) for images in (one_BxHxWx3, other_BxHxWx3)]
    distance_B = jnp.zeros(shape[0])
    for weights_C, one, other in zip(variables["channel_weights"], *features, strict=True):
        pixels = one.shape[1] * one.shape[2]
        difference = jnp.square(_unit(one) - _unit(other))
        distance_B += jnp.einsum("bhwc,c->b", difference, weights_C, precision="highest") / pixels
    return distance_B


def _unit(x_BxHxWxC: jax.Array) -> jax.Array:
    """Scale the channels at each position to length one."""
    return x_BxHxWxC / (jnp.linalg.norm(x_BxHxWxC, axis=-1, keepdims=True) + _EPSILON)

"""Learned perceptual distance of two pictures (LPIPS), on VGG-16.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The Unreasonable Effectiveness of Deep
Features as a Perceptual Metric", CVPR 2018 (arXiv 1801.03924), section 3 and equation 1; version
0.1 of its weights. The network: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for
Large-Scale Image Recognition", ICLR 2015 (arXiv 1409.1556), configuration D.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions; distances are taken at the end of each stage."""
_MEAN = np.array([-0.030, -0.088, -0.188], np.float32).reshape(1, 1, 1, 3)
_STD = np.array([0.458, 0.448, 0.450], np.float32).reshape(1, 1, 1, 3)
_EPSILON = 1e-10
SMALLEST = 16  # pixels a side: four halvings


class VGG16(nn.Module):
    """The convolutions of VGG-16, in the five stages between its poolings."""

    @nn.compact
    def __call__(
        self, images_BxHxWx3: Float[Array, "batch height width 3"]
    ) -> list[Float[Array, "batch height_i width_i channels_i"]]:
        """Takes pictures in -1..1 to what each stage ends with."""
        x = (images_BxHxWx3 - _MEAN) / _STD
        ends = []
        for stage, widths in enumerate(STAGES):
            x = nn.max_pool(x, (2, 2), (2, 2)) if stage else x
            for i, width in enumerate(widths):
                conv = nn.Conv(width, (3, 3), padding=1, precision="highest", name=f"{stage}_{i}")
                x = nn.relu(conv(x))
            ends.append(x)
        return ends


def lpips_variables(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the variables of `lpips` out of arrays by their PyTorch names.

    Args:
        weights: "features.<i>.weight" and "features.<i>.bias" of torchvision's VGG-16 (its
            "classifier" may be there), and "lin<i>.model.1.weight" of LPIPS.

    Raises:
        ValueError: Names or shapes that are missing, too many or wrong, or values not finite.
    """
    params: dict[str, Any] = {}
    left = {name: array for name, array in weights.items() if not name.startswith("classifier.")}
    channels, index = 3, 0
    for stage, widths in enumerate(STAGES):
        for i, width in enumerate(widths):
            kernel_OIHW = _take(left, f"features.{index}.weight", (width, channels, 3, 3))
            bias = _take(left, f"features.{index}.bias", (width,))
            params[f"{stage}_{i}"] = {"kernel": kernel_OIHW.transpose(2, 3, 1, 0), "bias": bias}
            channels, index = width, index + 2
        index += 1
    shares = [
        _take(left, f"lin{stage}.model.1.weight", (1, widths[-1], 1, 1)).reshape(-1)
        for stage, widths in enumerate(STAGES)
    ]
    if left:
        raise ValueError(f"these are not weights of LPIPS on VGG-16: unknown {min(left)}")
    return {"params": params, "shares": shares}


def _take(left: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in left:
        raise ValueError(f"these are not weights of LPIPS on VGG-16: missing {name}")
    array = np.asarray(left.pop(name), np.float32)
    if array.shape != shape:
        raise ValueError(f"{name} is {list(array.shape)}, should be {list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array


@jax.jit
def lpips(
    variables: Mapping[str, Any],
    one_BxHxWx3: Float[Array, "batch height width 3"],
    other_BxHxWx3: Float[Array, "batch height width 3"],
) -> Float[Array, " batch"]:
    """Distance of each picture to the one at its place in the other batch (equation 1).

    Args:
        variables: What `lpips_variables` makes.
        one_BxHxWx3: Pictures in -1..1, at least 16 pixels a side.
        other_BxHxWx3: As many more of the same size.

    Raises:
        ValueError: If shapes differ, or pictures are too small.
    """
    shape = one_BxHxWx3.shape
    if shape != other_BxHxWx3.shape or len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"LPIPS compares pictures of one size in three colors: got {list(shape)} and "
            f"{list(other_BxHxWx3.shape)}"
        )
    if min(shape[1:3]) < SMALLEST:
        raise ValueError(f"LPIPS needs {SMALLEST} pixels a side, got {shape[1]}x{shape[2]}")
    ends = [VGG16().apply({"params": variables["params"]}, x) for x in (one_BxHxWx3, other_BxHxWx3)]
    distance = jnp.zeros(shape[0])
    for share, one, other in zip(variables["shares"], *ends, strict=True):
        pixels = one.shape[1] * one.shape[2]
        difference = jnp.square(_unit(one) - _unit(other))
        distance += jnp.einsum("bhwc,c->b", difference, share, precision="highest") / pixels
    return distance


def _unit(x_BxHxWxC: jax.Array) -> jax.Array:
    """Scales the channels of each place to length one."""
    return x_BxHxWxC / (jnp.linalg.norm(x_BxHxWxC, axis=-1, keepdims=True) + _EPSILON)

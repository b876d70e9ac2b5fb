"""The Inception network of FID, from images to features.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception Architecture for
Computer Vision", CVPR 2016 (arXiv 1512.00567), as TensorFlow trained it in December 2015 and as FID
(arXiv 1706.08500) and the Inception score (arXiv 1606.03498) use it. It differs from later copies:
images are resized as in TensorFlow 1, average pooling does not count the padding, the last block
uses max pooling, and there are 1,008 classes.

Normalizations have fixed statistics, so they are folded into the kernels when weights are loaded
(`inception_variables`). Submodules have the names of the PyTorch conversion. The file reads
bottom-up: resizing, blocks, network.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

SIDE = 299  # height and width of the network's input, pixels
CLASSES = 1008
WIDTHS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008, "logits": 1008}
"""Widths of the features by name, in the order of their layers."""
EPSILON = 1e-3  # added to the variances of the normalizations


def resize_as_tensorflow_1(
    images_BxHxWxC: Float[Array, "b h w c"], side: int = SIDE
) -> Float[Array, "b ... c"]:
    """Resize bilinearly to [B, side, side, C], without antialiasing, as FID is defined.

    Output pixel i samples the input at i * input_size / output_size: no half-pixel offsets.
    """
    return _resize_axis(_resize_axis(images_BxHxWxC, 2, side), 1, side)


def _resize_axis(images_BxHxWxC: jax.Array, axis: int, side: int) -> jax.Array:
    length = images_BxHxWxC.shape[axis]
    places = np.arange(side, dtype=np.float32) * np.float32(length / side)
    low = places.astype(np.int32)
    high = np.minimum(low + 1, length - 1)
    share = np.expand_dims(places - low, [i for i in range(4) if i != axis])
    below, above = (jnp.take(images_BxHxWxC, index, axis) for index in (low, high))
    return below + (above - below) * share


def prepare(images_BxHxWx3: UInt8[Array, "b h w 3"]) -> Float[Array, "b 299 299 3"]:
    """Resize and scale images of any size to the network's input, about -1..1.

    As in the published FID, images that are not square are stretched to a square.
    """
    return (resize_as_tensorflow_1(images_BxHxWx3.astype(jnp.float32)) - 128) / 128


class _ConvNorm(nn.Module):
    """Convolution with folded normalization, and ReLU."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    valid: bool = False
    """Do not pad; by default padding preserves the size."""

    @nn.compact
    def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
        height, width = (0 if self.valid else (side - 1) // 2 for side in self.kernel)
        padding, strides = ((height, height), (width, width)), (self.stride, self.stride)
        conv = nn.Conv(
            self.features, self.kernel, strides, padding, precision="highest", name="conv"
        )
        return nn.relu(conv(x_BxHxWxC))


def _halve(x_BxHxWxC: jax.Array) -> jax.Array:
    return nn.max_pool(x_BxHxWxC, (3, 3), (2, 2))


def _average(x_BxHxWxC: jax.Array) -> jax.Array:
    return nn.avg_pool(x_BxHxWxC, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _concatenate(*branches: jax.Array) -> jax.Array:
    return jnp.concatenate(branches, axis=-1)


class _Mixed35(nn.Module):
    """Block of the 35x35 grid: branches of 1x1, 5x5 and two 3x3 convolutions, and pooling."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = _ConvNorm(48, name="branch5x5_1")(x)
        double = _ConvNorm(64, name="branch3x3dbl_1")(x)
        double = _ConvNorm(96, (3, 3), name="branch3x3dbl_2")(double)
        return _concatenate(
            _ConvNorm(64, name="branch1x1")(x),
            _ConvNorm(64, (5, 5), name="branch5x5_2")(wide),
            _ConvNorm(96, (3, 3), name="branch3x3dbl_3")(double),
            _ConvNorm(self.pool_features, name="branch_pool")(_average(x)),
        )


class _Reduce35(nn.Module):
    """Reduction from the 35x35 to the 17x17 grid."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        double = _ConvNorm(64, name="branch3x3dbl_1")(x)
        double = _ConvNorm(96, (3, 3), name="branch3x3dbl_2")(double)
        return _concatenate(
            _ConvNorm(384, (3, 3), 2, valid=True, name="branch3x3")(x),
            _ConvNorm(96, (3, 3), 2, valid=True, name="branch3x3dbl_3")(double),
            _halve(x),
        )


class _Mixed17(nn.Module):
    """Block of the 17x17 grid: 7x7 convolutions factored into 1x7 and 7x1, and pooling."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        row, column, width = (1, 7), (7, 1), self.width
        single = _ConvNorm(width, name="branch7x7_1")(x)
        single = _ConvNorm(width, row, name="branch7x7_2")(single)
        double = _ConvNorm(width, name="branch7x7dbl_1")(x)
        double = _ConvNorm(width, column, name="branch7x7dbl_2")(double)
        double = _ConvNorm(width, row, name="branch7x7dbl_3")(double)
        double = _ConvNorm(width, column, name="branch7x7dbl_4")(double)
        return _concatenate(
            _ConvNorm(192, name="branch1x1")(x),
            _ConvNorm(192, column, name="branch7x7_3")(single),
            _ConvNorm(192, row, name="branch7x7dbl_5")(double),
            _ConvNorm(192, name="branch_pool")(_average(x)),
        )


class _Reduce17(nn.Module):
    """Reduction from the 17x17 to the 8x8 grid."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        small = _ConvNorm(192, name="branch3x3_1")(x)
        large = _ConvNorm(192, name="branch7x7x3_1")(x)
        large = _ConvNorm(192, (1, 7), name="branch7x7x3_2")(large)
        large = _ConvNorm(192, (7, 1), name="branch7x7x3_3")(large)
        return _concatenate(
            _ConvNorm(320, (3, 3), 2, valid=True, name="branch3x3_2")(small),
            _ConvNorm(192, (3, 3), 2, valid=True, name="branch7x7x3_4")(large),
            _halve(x),
        )


class _Mixed8(nn.Module):
    """Block of the 8x8 grid, whose branches split; the last block uses max pooling."""

    max_pooling: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fork = _ConvNorm(384, name="branch3x3_1")(x)
        double = _ConvNorm(448, name="branch3x3dbl_1")(x)
        double = _ConvNorm(384, (3, 3), name="branch3x3dbl_2")(double)
        pooled = nn.max_pool(x, (3, 3), (1, 1), "SAME") if self.max_pooling else _average(x)
        return _concatenate(
            _ConvNorm(320, name="branch1x1")(x),
            _ConvNorm(384, (1, 3), name="branch3x3_2a")(fork),
            _ConvNorm(384, (3, 1), name="branch3x3_2b")(fork),
            _ConvNorm(384, (1, 3), name="branch3x3dbl_3a")(double),
            _ConvNorm(384, (3, 1), name="branch3x3dbl_3b")(double),
            _ConvNorm(192, name="branch_pool")(pooled),
        )


class Inception(nn.Module):
    """Inception V3 of FID."""

    @nn.compact
    def __call__(
        self, x_Bx299x299x3: Float[Array, "b 299 299 3"]
    ) -> dict[str, Float[Array, "b d"]]:
        """Return features, averaged over positions, of images resized by `prepare`.

        Returns:
            Float32 [B, D], by name as in `WIDTHS`; "logits_unbiased" lacks the bias of "logits".
        """
        out = {}
        x = _ConvNorm(32, (3, 3), 2, valid=True, name="Conv2d_1a_3x3")(x_Bx299x299x3)
        x = _ConvNorm(32, (3, 3), valid=True, name="Conv2d_2a_3x3")(x)
        x = _halve(_ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(x))
        out["64"] = x.mean((1, 2))
        x = _ConvNorm(80, name="Conv2d_3b_1x1")(x)
        x = _halve(_ConvNorm(192, (3, 3), valid=True, name="Conv2d_4a_3x3")(x))
        out["192"] = x.mean((1, 2))
        for letter, pool_features in zip("bcd", (32, 64, 64), strict=True):
            x = _Mixed35(pool_features, name=f"Mixed_5{letter}")(x)
        x = _Reduce35(name="Mixed_6a")(x)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x = _Mixed17(width, name=f"Mixed_6{letter}")(x)
        out["768"] = x.mean((1, 2))
        x = _Reduce17(name="Mixed_7a")(x)
        x = _Mixed8(name="Mixed_7b")(x)
        x = _Mixed8(max_pooling=True, name="Mixed_7c")(x)
        out["2048"] = x.mean((1, 2))
        dense = nn.Dense(CLASSES, use_bias=False, precision="highest", name="fc")
        out["logits_unbiased"] = dense(out["2048"])
        bias = self.param("fc_bias", nn.initializers.zeros, (CLASSES,))
        out["logits"] = out["logits_unbiased"] + bias[None]
        return out

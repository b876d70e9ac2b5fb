"""Features of the Inception network, computed in batches on one or more devices."""

import functools
import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from ganformer_jax.metrics.inception import EPSILON, SIDE, WIDTHS, Inception, prepare

_NORM = ("weight", "bias", "running_mean", "running_var")
_UNUSED = "num_batches_tracked"  # a counter of training


def inception_features(
    weights: Mapping[str, Any], images_BxHxWx3: UInt8[ArrayLike, "b h w 3"]
) -> dict[str, Float[np.ndarray, "b d"]]:
    """Return all features of FID's Inception.

    Args:
        weights: Arrays with the names of the PyTorch conversion (`weight_shapes`), or the result of
            `random_weights`.
        images_BxHxWx3: Images of one size, in 0..255.

    Returns:
        Float32 [B, D] under "64", "192", "768", "2048", "logits_unbiased" and "logits".

    Raises:
        ValueError: If the weights are not those of this network, or the images are not uint8 with
            three channels.
    """
    images = check_images(images_BxHxWx3)
    return FeatureExtractor(weights, batch_size=min(32, len(images)))(images)


class FeatureExtractor:
    """Inception with its weights on the devices, for many batches.

    Args:
        weights: Weights as in `inception_features`.
        names: Features to compute; layers after the last of them are not run.
        batch_size: Images per batch; the last batch is padded, so that only one program is
            compiled.
        sharding: Sharding of a batch over devices; by default one device is used.

    Raises:
        ValueError: If the weights are not those of this network, or a feature is unknown.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        names: Iterable[str] = tuple(WIDTHS),
        batch_size: int = 32,
        sharding: jax.sharding.NamedSharding | None = None,
    ):
        self.names = tuple(names)
        if not self.names or not set(self.names) <= set(WIDTHS):
            raise ValueError(f"features are {', '.join(WIDTHS)}; got {', '.join(self.names)}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.batch_size, self._sharding = batch_size, sharding
        replicated = None
        if sharding is not None:
            replicated = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        self._variables = jax.device_put(inception_variables(weights), replicated)

    def __call__(
        self, images_MxHxWx3: UInt8[ArrayLike, "m h w 3"]
    ) -> dict[str, Float[np.ndarray, "m d"]]:
        """Return features of any number of images; raise ValueError like `inception_features`."""
        images = check_images(images_MxHxWx3)
        starts = range(0, len(images), self.batch_size)
        batches = [self._batch(images[start : start + self.batch_size]) for start in starts]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in self.names}

    def _batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        padded = images[np.arange(self.batch_size) % len(images)]
        resized = _prepare(jax.device_put(padded, self._sharding))
        features = jax.device_get(_features(self.names, self._variables, resized))
        return {name: values[: len(images)] for name, values in features.items()}


def check_images(images_BxHxWx3: ArrayLike) -> np.ndarray:
    """Return images in NumPy; raise ValueError unless they are uint8 [B, H, W, 3] with B > 0."""
    images = np.asarray(images_BxHxWx3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
        raise ValueError(
            "images must be uint8 [batch, height, width, 3] in 0..255, got "
            f"{images.dtype} {list(images.shape)}"
        )
    return images


_prepare = jax.jit(prepare)  # separate, so that the network is compiled once for all sizes


@functools.partial(jax.jit, static_argnums=0)
def _features(
    names: tuple[str, ...], variables: Any, x_Bx299x299x3: jax.Array
) -> dict[str, jax.Array]:
    features = Inception().apply(variables, x_Bx299x299x3)
    assert isinstance(features, dict)
    return {name: features[name] for name in names}


# Weights, by the names of the PyTorch conversion


@functools.cache
def weight_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of the PyTorch conversion; kernels are OIHW."""
    images = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    template = jax.eval_shape(Inception().init, jax.random.key(0), images)["params"]
    shapes: dict[str, tuple[int, ...]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(template):
        *modules, kind = [entry.key for entry in path]
        name = ".".join(modules[:-1])
        if kind == "kernel" and leaf.ndim == 4:
            shapes[f"{name}.conv.weight"] = tuple(leaf.shape[i] for i in (3, 2, 0, 1))
            shapes |= {f"{name}.bn.{array}": leaf.shape[3:] for array in _NORM}
        elif kind == "kernel":
            shapes["fc.weight"] = leaf.shape[::-1]
    shapes["fc.bias"] = template["fc_bias"].shape
    return shapes


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Draw random weights, for images that are unlike those of ImageNet.

    M. F. Naeem, S. J. Oh, Y. Uh, Y. Choi, J. Yoo, "Reliable Fidelity and Diversity Metrics for
    Generative Models", ICML 2020 (arXiv 2002.09797), section 4.

    Each array is drawn with NumPy's PCG64, seeded with `seed` and the CRC-32 of the array's name,
    so it is the same on every machine. Kernels preserve variance (He et al. 2015).

    Args:
        seed: Random seed; metrics with different seeds are not comparable.

    Returns:
        Float32 arrays with the names and shapes of `weight_shapes`.
    """
    return {name: _draw(seed, name, shape) for name, shape in weight_shapes().items()}


def _draw(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith((".running_var", ".bn.weight")):
        drawn = random.uniform(0.5, 1.5, shape)
    elif ".bn." in name:
        drawn = 0.1 * random.standard_normal(shape)
    elif name.startswith("fc."):
        drawn = 0.05 * random.standard_normal(shape)
    else:
        drawn = math.sqrt(2 / math.prod(shape[1:])) * random.standard_normal(shape)
    return drawn.astype(np.float32)


def inception_variables(weights: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Convert arrays by their PyTorch names to the variables of `Inception`.

    Every normalization is folded, in float64, into the convolution before it.

    Args:
        weights: Arrays with exactly the names and shapes of `weight_shapes`.

    Raises:
        ValueError: If names are missing or unknown, a shape is wrong, or a value is not finite.
    """
    arrays = _checked(weights)
    params: dict[str, Any] = {}
    for name in arrays:
        if name.endswith(".conv.weight"):
            path = name.removesuffix(".conv.weight")
            *blocks, layer = path.split(".")
            tree = functools.reduce(lambda tree, block: tree.setdefault(block, {}), blocks, params)
            tree[layer] = {"conv": _folded_convolution(arrays, path)}
    params["fc"] = {"kernel": arrays["fc.weight"].T.astype(np.float32)}
    params["fc_bias"] = arrays["fc.bias"].astype(np.float32)
    return {"params": params}


def _folded_convolution(arrays: Mapping[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    kernel_OIHW = arrays[f"{path}.conv.weight"].astype(np.float64)
    gain, bias, mean, variance = (arrays[f"{path}.bn.{name}"].astype(np.float64) for name in _NORM)
    scale = gain / np.sqrt(variance + EPSILON)
    kernel_HWIO = kernel_OIHW.transpose(2, 3, 1, 0) * scale
    return {
        "kernel": kernel_HWIO.astype(np.float32),
        "bias": (bias - mean * scale).astype(np.float32),
    }


def _checked(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    shapes = weight_shapes()
    arrays = {k: np.asarray(array) for k, array in weights.items() if not k.endswith(_UNUSED)}
    missing, unknown = sorted(shapes.keys() - arrays), sorted(arrays.keys() - shapes)
    if missing or unknown:
        raise ValueError(
            "these are not the weights of FID's Inception: "
            f"missing {_some(missing)}, unknown {_some(unknown)}"
        )
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            raise ValueError(f"{name} is {list(array.shape)}, should be {list(shapes[name])}")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite floats")
        if name.endswith(".running_var") and array.min() < 0:
            raise ValueError(f"{name} holds a negative variance")
    return arrays


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")

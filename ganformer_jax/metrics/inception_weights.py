"""Weights of the Inception network, by the names of the PyTorch conversion."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.metrics.inception import EPSILON, SIDE, Inception

_NORM = ("weight", "bias", "running_mean", "running_var")
_UNUSED = "num_batches_tracked"  # a counter of training


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
    """Draw random weights, for images unlike those of ImageNet.

    M. F. Naeem, S. J. Oh, Y. Uh, Y. Choi, J. Yoo, "Reliable Fidelity and Diversity Metrics for
    Generative Models", ICML 2020 (arXiv 2002.09797), section 4.

    Each array is drawn by NumPy's PCG64, seeded with `seed` and the CRC-32 of the array's name, so
    that it is the same on every machine. Kernels preserve variance (He et al. 2015).

    Args:
        seed: Random seed; numbers of different seeds do not compare.

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
    arrays = {
        name: np.asarray(array) for name, array in weights.items() if not name.endswith(_UNUSED)
    }
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

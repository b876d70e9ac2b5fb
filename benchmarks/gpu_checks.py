"""Compare the forms that accelerators have of their own with those of the CPU, for `gpu.py`.

Values, gradients and gradients of a gradient, in float32 of the highest precision, in the device's
own float32 (TF32 on GPUs) and in bfloat16; jax runs both sides in this process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.nn import resample
from ganformer_jax.nn.attention import BipartiteAttention, KMeans

TAPS = (1, 3, 3, 1)
BATCH, SIZE, CHANNELS = 4, 32, 64
PIXELS, COMPONENTS = 256, 8
LIMITS = {"float32": 3e-5, "default": 2e-2, "bfloat16": 5e-2}
"""Largest difference, relative to the largest value of the CPU."""


def forms() -> dict[str, Callable[..., Any]]:
    """Return functions of an image and a kernel, or of image features and components."""
    return {
        "upsample": lambda x, k: resample.upsample(x, TAPS),
        "downsample": lambda x, k: resample.downsample(x, TAPS),
        "convolve": resample.convolve,
        "upsample_convolve": lambda x, k: resample.upsample_convolve(x, k, TAPS),
        "convolve_downsample": lambda x, k: resample.convolve_downsample(x, k, TAPS),
        "simplex attention": _attention(None),
        "duplex attention": _attention(KMeans()),
    }


def _attention(kmeans: KMeans | None) -> Callable[..., Any]:
    module = BipartiteAttention(integration="both", norm="layer", kmeans=kmeans)

    def attend(x_BxFxC: Any, y_BxTxD: Any) -> Any:
        variables = jax.tree.map(
            lambda leaf: jnp.sin(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape),
            jax.eval_shape(module.init, jax.random.key(0), x_BxFxC, y_BxTxD),
        )
        return module.apply(variables, x_BxFxC, y_BxTxD)[0]  # pyright: ignore[reportIndexIssue]

    return attend


def arguments(name: str) -> tuple[Any, Any]:
    shapes = (BATCH, SIZE, SIZE, CHANNELS), (3, 3, CHANNELS, CHANNELS)
    if "attention" in name:
        shapes = (BATCH, PIXELS, CHANNELS), (BATCH, COMPONENTS, CHANNELS)
    keys = jax.random.split(jax.random.key(0), 2)
    x, y = (jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))
    return x, y if "attention" in name else y / math.sqrt(9 * CHANNELS)


def orders(form: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Return the form, its gradients, and gradients of the first gradient's square, as in R1."""

    def loss(*arrays: Any) -> Any:
        return jnp.sum(jnp.sin(form(*arrays).astype(jnp.float32)))

    def penalty(*arrays: Any) -> Any:
        return jnp.sum(jnp.square(jax.grad(loss)(*arrays).astype(jnp.float32)))

    return {"value": form, "gradients": jax.grad(loss, (0, 1)), "second": jax.grad(penalty, (0, 1))}


def all_checks() -> Iterator[dict[str, Any]]:
    """Yield the largest relative error of each form, by precision and order."""
    device, host = jax.devices()[0], jax.devices("cpu")[0]
    for name, form in forms().items():
        given = arguments(name)
        row: dict[str, Any] = {"form": name}
        passed = True
        for precision, limit in LIMITS.items():
            dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
            level = "highest" if precision == "float32" else "default"
            cast = [array.astype(dtype) for array in given]
            for order, function in orders(form).items():
                with jax.default_matmul_precision("highest"):
                    exact = _run(function, [a.astype(jnp.float32) for a in cast], host)
                with jax.default_matmul_precision(level):
                    error = relative_error(_run(function, cast, device), exact)
                row[f"{order}, {precision}"] = f"{error:.1e}"
                passed &= error <= limit
        yield row | {"passed": passed}


def _run(function: Callable[..., Any], arrays: list[Any], device: Any) -> list[Any]:
    placed = [jax.device_put(array, device) for array in arrays]
    outs = jax.tree.leaves(jax.jit(function)(*placed))
    return [jax.device_get(out).astype("float64") for out in outs]


def relative_error(found: list[Any], exact: list[Any]) -> float:
    """Return the largest error, relative to the largest value; NaN if there is one anywhere."""
    pairs = zip(found, exact, strict=True)
    errors = [float(abs(a - b).max()) / max(float(abs(b).max()), 1e-30) for a, b in pairs]
    return float(np.max(errors))  # Python's `max` would drop NaN

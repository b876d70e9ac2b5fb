"""Directions in the weights that read w, without images or labels.

Y. Shen, B. Zhou, "Closed-Form Factorization of Latent Semantics in GANs" (SeFa), CVPR 2021, arXiv
2007.06600, section 3: of all unit steps n in w, the first eigenvector of A^T A changes A w, what
the next layers read, the most; the others follow in order. Kernels here are [D, O], so A is their
transpose.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models import num_layers
from ganformer_jax.models.by_seed import apply_sampling
from ganformer_jax.nn.layers import EqualizedDense

if TYPE_CHECKING:
    from jaxtyping import Float

Kernels = dict[tuple[str, ...], Any]
"""Kernels of dense layers as they are used, by the path of the layer."""


class Reader(NamedTuple):
    """A linear map that a layer applies to w.

    Attributes:
        kernel_DxO: Its kernel, with the scale that the layer gives it.
        layer: The layer whose latent it reads, from 0.
    """

    kernel_DxO: Float[np.ndarray, "d o"]
    layer: int


class Factors(NamedTuple):
    """Directions, strongest first.

    Attributes:
        vectors_MxD: Orthogonal unit vectors, each with its largest entry positive.
        strengths_M: Length of the change that readers get for a unit step.
    """

    vectors_MxD: Float[np.ndarray, "m d"]
    strengths_M: Float[np.ndarray, " m"]


def factorize(readers: Sequence[Reader], count: int) -> Factors:
    """Return the directions that most change the input that layers read from w.

    Args:
        readers: One or more.
        count: Maximum number of directions.

    Raises:
        ValueError: If there are no readers.
    """
    if not readers:
        raise ValueError("nothing reads this latent")
    kernel_DxO = np.concatenate([reader.kernel_DxO for reader in readers], 1).astype(np.float64)
    squares_D, vectors_DxD = np.linalg.eigh(kernel_DxO @ kernel_DxO.T)
    vectors_MxD = vectors_DxD.T[::-1][:count]
    largest = np.take_along_axis(vectors_MxD, np.abs(vectors_MxD).argmax(1)[:, None], 1)
    strengths = np.sqrt(np.maximum(squares_D[::-1][:count], 0))
    return Factors((vectors_MxD * np.sign(largest)).astype(np.float32), strengths)


def global_readers(config: GeneratorConfig, variables: Mapping[str, Any]) -> list[Reader]:
    """Return the layers that read the global latent: styles of convolutions, and the stem.

    The list is empty if convolutions have no style and the stem is learned.
    """
    kernels = _kernels(config, variables)
    found = []
    for place, layer in _places(config):
        for rest in (("style",), ("convolution", "style"), ("dense",)):
            if (*place, *rest) in kernels:
                found.append(Reader(kernels[(*place, *rest)], layer))
    return found


def component_readers(config: GeneratorConfig, variables: Mapping[str, Any]) -> list[Reader]:
    """Return the maps that read the latent of a component, which all components share.

    For each attention layer and head they are the gains and biases of positions that attend to this
    component alone (values times modulation) and, where scores compare queries with keys, the key.
    Where components are updated from layer to layer, only the first attention layer reads w itself.
    The map to the component's place, if it has one, comes last. Gates are left out.
    """
    kernels, heads = _kernels(config, variables), config.attention.heads
    updated = config.components_attend_image or config.components_attend_components
    found = []
    for place, layer in _places(config):
        top_down = *place, "attention", "top_down"
        if (*top_down, "values") not in kernels or (updated and found):
            continue
        values_DxC, modulation_CxO = (kernels[(*top_down, n)] for n in ("values", "modulation"))
        halves = np.split(values_DxC, heads, 1), np.split(modulation_CxO, heads)
        of_heads = [values @ modulation for values, modulation in zip(*halves, strict=True)]
        found += [Reader(kernel_DxO, layer) for kernel_DxO in of_heads]
        if (*top_down, "keys") in kernels:
            width = values_DxC.shape[1] // heads  # scores are divided by its root
            found.append(Reader(kernels[(*top_down, "keys")] / math.sqrt(width), layer))
    if ("places", "latents") in kernels:
        found.append(Reader(kernels["places", "latents"], int(config.synthesis.stem != "constant")))
    return found


def _places(config: GeneratorConfig) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield paths of the modules that read w, and the layer whose latent each reads."""
    yield ("stem",), 0
    layer = int(config.synthesis.stem != "constant")
    for resolution in config.resolutions:
        block = f"block_{resolution}"
        for index in (1,) if resolution == max(config.base_grid) else (0, 1):
            yield (block, f"layer_{index}"), layer
            layer += 1
        if resolution == config.resolution and config.synthesis.last_convolution:
            yield (block, "last_convolution"), layer
            layer += 1
        yield (block, "to_image"), layer


def _kernels(config: GeneratorConfig, variables: Mapping[str, Any]) -> Kernels:
    """Return the kernels of the synthesis network's dense layers, as the layers scale them."""
    found = jax.device_get(_captured(config, variables))
    flat, _ = jax.tree_util.tree_flatten_with_path(found)
    kernels = {}
    for path, array in flat:
        keys = [getattr(entry, "key", getattr(entry, "idx", None)) for entry in path]
        place, (_, _, which) = keys[:-3], keys[-3:]  # "weights", call, kernel or bias
        if which == 0:
            kernels[tuple(place)] = np.asarray(array)
    return kernels


@functools.partial(jax.jit, static_argnums=0)
def _captured(config: GeneratorConfig, variables: Mapping[str, Any]) -> Any:
    _, state = apply_sampling(
        config,
        variables,
        jnp.zeros((1, config.num_w, num_layers(config), config.w_size)),
        noise="none",
        method="synthesize",
        mutable=["intermediates"],
        capture_intermediates=lambda module, method: (
            isinstance(module, EqualizedDense) and method == "weights"
        ),
    )
    return state["intermediates"]["synthesis"]

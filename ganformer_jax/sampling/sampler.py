"""Images from a trained generator, by seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models import component_maps
from ganformer_jax.models.by_seed import generate_by_seed
from ganformer_jax.models.input_checks import refuse_network
from ganformer_jax.pixels import to_uint8
from ganformer_jax.sampling.labels import ImageLabels, check_labels, label_vectors
from ganformer_jax.sampling.seeds import check_batch_size, seed_array

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, UInt8


ALL_LAYERS = 2**30
"""As many layers to truncate as no generator has."""


class Samples(NamedTuple):
    """Images of some seeds and what the generator computed for them, on the host."""

    images: UInt8[np.ndarray, "b h w c"]
    """Images, uint8 in 0..255."""
    w: Float[np.ndarray, "b k d"]
    """Output of the mapping network, float32, before truncation."""
    attention: tuple[Float[np.ndarray, "b k n h w"], ...]
    """Attention maps of each layer, coarse to fine, each at its resolution; empty unless asked."""


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Draws images by seed; image i depends on seed i alone, not on the other seeds.

    Another batch size can change a few pixels by one level. Activations are float32, also of a
    generator that trained in bfloat16, whose roundings would show in pixels, and matrix products
    have the highest precision on every device.

    Attributes:
        config: Config of the generator.
        batch_size: Images per batch, 1 or more; the last batch is padded.
        noise: "random" draws noise by seed, "const" is the same for every image. By default
            "random", as in training; a `Synthesizer` has "const", so give both the same.
        attention: Return attention maps, which take memory.
        batch_sharding: Sharding of a batch over devices; the variables must be on the same ones.

    Raises:
        ValueError: The batch size is below 1.
        TypeError: `config` is a network.
    """

    config: GeneratorConfig
    batch_size: int = 16
    noise: Literal["random", "const", "none"] = "random"
    attention: bool = False
    batch_sharding: jax.sharding.Sharding | None = None

    def __post_init__(self):
        refuse_network(self.config)
        check_batch_size(self.batch_size)

    def __call__(
        self,
        variables: Mapping[str, Any],
        seeds: Iterable[int],
        labels: ImageLabels | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Samples:
        """Generate one image for each seed.

        Args:
            variables: Variables of the generator, as `load` returns them.
            seeds: Integers from 0 to 2^32 - 1.
            labels: If the generator is conditional, the class of each image, or its condition: as
                many finite numbers as the generator's `label_size`, of a caption its tokens.
            truncation_psi: Truncation psi; below 1 trades variety for quality, 0 gives the mean
                image.
            truncation_cutoff: Number of layers to truncate, from the first; by default all.

        Raises:
            ValueError: If there are no seeds, or labels are missing, superfluous, of another shape
                or out of range.
        """
        drawn = seed_array(seeds)
        batches = self._batches(variables, drawn, labels, truncation_psi, truncation_cutoff)
        outs = [jax.device_get(out) for out in batches]
        return Samples(*jax.tree.map(lambda *a: np.concatenate(a)[: drawn.size], *outs))

    def images(
        self,
        variables: Mapping[str, Any],
        seeds: Iterable[int],
        labels: ImageLabels | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> UInt8[np.ndarray, "b h w c"]:
        """Generate images only: as a call, by the same program, but nothing else leaves devices."""
        batches = self.stream(variables, seeds, labels, truncation_psi, truncation_cutoff)
        return np.concatenate(list(batches))

    def stream(
        self,
        variables: Mapping[str, Any],
        seeds: Iterable[int],
        labels: ImageLabels | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
        """Yield the images of one batch after the other, while the next is computed.

        The last batch may be smaller. For arguments and errors see the call.
        """
        drawn = seed_array(seeds)
        batches = self._batches(variables, drawn, labels, truncation_psi, truncation_cutoff)
        ahead = next(batches)[0]
        for start in range(0, drawn.size, self.batch_size):
            images, ahead = ahead, next(batches, (None,))[0]
            yield jax.device_get(images)[: drawn.size - start]

    def lower(self, variables: Mapping[str, Any]) -> jax.stages.Lowered:
        """Trace the program of one batch, to compile it ahead of time.

        Compiled, it takes the variables, seeds (uint32 [B]), labels (float32 [B, label_size]:
        one-hot classes or conditions), truncation psi (float32) and the number of layers to
        truncate (int32, `ALL_LAYERS` for all), and returns the fields of `Samples`, on the devices.

        Args:
            variables: Variables of the generator, or their shapes, dtypes and shardings.
        """
        shapes = ((), np.uint32), ((self.config.label_size,), np.float32)
        seeds_B, labels_BxY = (
            jax.ShapeDtypeStruct((self.batch_size, *shape), dtype, sharding=self.batch_sharding)
            for shape, dtype in shapes
        )
        psi, cutoff = (jax.ShapeDtypeStruct((), dtype) for dtype in (np.float32, np.int32))
        return _generate.lower(self, variables, seeds_B, labels_BxY, psi, cutoff)

    def _batches(
        self,
        variables: Mapping[str, Any],
        drawn: np.ndarray,
        labels: ImageLabels | None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Yield what `_generate` returns for each batch; the last batch is padded."""
        vocabulary = self.config.text.vocabulary
        given = check_labels(self.config.label_size, labels, drawn.size, vocabulary)
        psi, cutoff = place_truncation(truncation_psi, truncation_cutoff)
        for start in range(0, drawn.size, self.batch_size):
            taken = np.arange(start, start + self.batch_size) % drawn.size
            inputs = drawn[taken], label_vectors(self.config.label_size, given[taken])
            seeds_B, labels_BxY = jax.device_put(inputs, self.batch_sharding)
            yield _generate(self, variables, seeds_B, labels_BxY, psi, cutoff)


def place_truncation(psi: float, cutoff: int | None) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Put truncation psi, and the number of layers to truncate, on a device."""
    layers = ALL_LAYERS if cutoff is None else cutoff
    return jax.device_put((np.float32(psi), np.int32(layers)))  # explicitly, for transfer guards


@functools.partial(jax.jit, static_argnums=0)
@jax.default_matmul_precision("highest")
def _generate(
    sampler: Sampler,
    variables: Mapping[str, Any],
    seeds_B: Int[Array, " b"],
    labels_BxY: Float[Array, "b y"],
    psi: Float[Array, ""],
    cutoff: Int[Array, ""],
) -> tuple[Any, Any, Any]:
    images_BxHxWxC, out = generate_by_seed(
        sampler.config, variables, seeds_B, labels_BxY, sampler.noise, psi, cutoff
    )
    return to_uint8(images_BxHxWxC), out["w"], component_maps(out) if sampler.attention else ()

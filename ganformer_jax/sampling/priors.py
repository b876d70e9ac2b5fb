"""Images from a trained prior, by seed, and reconstructions of given images."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.models.code_prior import (
    code_logits,
    codes_of,
    cross_entropy,
    decode_codes,
    in_float32,
    prefix_tokens,
    sample_codes,
)
from ganformer_jax.pixels import from_uint8, to_uint8
from ganformer_jax.random_keys import seeded_key
from ganformer_jax.sampling.labels import ImageLabels, check_labels, label_vectors
from ganformer_jax.sampling.seeds import check_batch_size, seed_array

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

Variables = Mapping[str, Any]
"""The fields "autoencoder", "codebook" and "transformer" of a `PriorState`."""


@dataclasses.dataclass(frozen=True)
class PriorSampler:
    """Draws images by seed; image i depends on seed i alone, not on the other seeds.

    Activations are float32, and matrix products have the highest precision.

    Attributes:
        config: The experiment.
        batch_size: Images per batch; the last batch is padded.
        top_k: Number of most probable codes to draw from; 0 for all.
        batch_sharding: Sharding of a batch over devices; the variables must be on the same ones.

    Raises:
        ValueError: If `batch_size` or `top_k` is out of range.
    """

    config: PriorConfig
    batch_size: int = 64
    top_k: int = 0
    batch_sharding: jax.sharding.Sharding | None = None

    def __post_init__(self):
        check_batch_size(self.batch_size)
        entries = self.config.codebook.entries
        if not 0 <= self.top_k <= entries:
            raise ValueError(f"top_k is {self.top_k}; it should be from 0 to {entries}")

    def stream(
        self,
        variables: Variables,
        seeds: Sequence[int],
        labels: Sequence[Any] | None = None,
        temperature: float = 1.0,
    ) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
        """Yield the images of one batch after the other; the last batch may be smaller.

        Args:
            variables: Variables of the prior.
            seeds: Integers from 0 to 2^32 - 1.
            labels: If the prior is conditional, the class of each image, or the tokens of its
                caption.
            temperature: Divisor of the logits, finite and 0 or more; with 0 the most probable code
                is chosen.

        Raises:
            ValueError: If there are no seeds, labels are missing, superfluous or out of range, or
                the temperature is.
        """
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; it should be 0 or more")
        drawn, size = seed_array(seeds), self.config.prior.label_size
        given = self._check_labels(labels, drawn.size)
        for start in range(0, drawn.size, self.batch_size):
            taken = np.arange(start, start + self.batch_size) % drawn.size
            inputs = drawn[taken], label_vectors(size, given[taken])
            seeds_B, labels_BxY = jax.device_put(inputs, self.batch_sharding)
            images = _generate(self, variables, seeds_B, labels_BxY, jnp.float32(temperature))
            yield jax.device_get(images)[: drawn.size - start]

    def images(
        self,
        variables: Variables,
        seeds: Sequence[int],
        labels: Sequence[Any] | None = None,
        temperature: float = 1.0,
    ) -> UInt8[np.ndarray, "b h w c"]:
        """Generate one image for each seed; for arguments and errors see `stream`."""
        return np.concatenate(list(self.stream(variables, seeds, labels, temperature)))

    def lower(self, variables: Variables) -> jax.stages.Lowered:
        """Trace the program of samples, for variables or for their shapes."""
        shapes = ((), np.uint32), ((self.config.prior.label_size,), np.float32)
        seeds_B, labels_BxY = (
            jax.ShapeDtypeStruct((self.batch_size, *shape), dtype, sharding=self.batch_sharding)
            for shape, dtype in shapes
        )
        temperature = jax.ShapeDtypeStruct((), np.float32)
        return _generate.lower(self, variables, seeds_B, labels_BxY, temperature)

    def reconstruct(
        self, variables: Variables, images_MxHxWxC: UInt8[np.ndarray, "m h w c"]
    ) -> tuple[UInt8[np.ndarray, "m h w c"], Int[np.ndarray, "m t"]]:
        """Return images that went through the codes, and these codes, row by row.

        Raises:
            ValueError: If there are no images, or they are of another size than the config's.
            TypeError: If they are not uint8.
        """
        options = self.config.autoencoder
        size = *options.image_size, options.image_channels
        if not len(images_MxHxWxC) or images_MxHxWxC.shape[1:] != size:
            shape = list(images_MxHxWxC.shape)
            raise ValueError(f"images {shape}: give one or more of {list(size)}")
        codes_MxT = self._codes(variables, images_MxHxWxC)
        parts = [_decode(self, variables, codes) for codes in self._batches(codes_MxT)]
        return self._joined(parts, len(codes_MxT)), codes_MxT

    def nats(
        self,
        variables: Variables,
        codes_MxT: Int[np.ndarray, "m t"],
        labels: Sequence[Any] | None = None,
    ) -> Float[np.ndarray, " m"]:
        """Return the cross-entropy of a code, averaged over those of each image, in nats."""
        given = self._check_labels(labels, len(codes_MxT))
        vectors = label_vectors(self.config.prior.label_size, given)
        batches = zip(self._batches(codes_MxT), self._batches(vectors), strict=True)
        parts = [_nats(self, variables, *batch) for batch in batches]
        return self._joined(parts, len(codes_MxT))

    def _check_labels(self, labels: ImageLabels | None, count: int) -> np.ndarray:
        options = self.config.prior
        return check_labels(options.label_size, labels, count, options.vocabulary)

    def _codes(self, variables: Variables, images: np.ndarray) -> np.ndarray:
        parts = [_encode(self, variables, batch) for batch in self._batches(images)]
        return self._joined(parts, len(images))

    def _batches(self, rows: np.ndarray) -> Iterator[jax.Array]:
        """Yield batches on the devices; the last one is filled up with rows from the start."""
        for start in range(0, len(rows), self.batch_size):
            taken = np.arange(start, start + self.batch_size) % len(rows)
            yield jax.device_put(rows[taken], self.batch_sharding)

    def _joined(self, parts: Sequence[jax.Array], count: int) -> np.ndarray:
        return np.concatenate(jax.device_get(parts))[:count]


def _program(function: Any) -> Any:
    """Compile a function of a sampler for its settings, in float32 with the highest precision."""

    def run(sampler: PriorSampler, *inputs: Any) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return function(in_float32(sampler.config), sampler, *inputs)

    run.__name__ = function.__name__
    return functools.partial(jax.jit, static_argnums=0)(run)


@_program
def _generate(
    config: PriorConfig,
    sampler: PriorSampler,
    variables: Variables,
    seeds_B: jax.Array,
    labels_BxY: jax.Array,
    temperature: jax.Array,
) -> jax.Array:
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(seeded_key(0), seeds_B)
    prefix_BxT = prefix_tokens(config, labels_BxY, len(labels_BxY))
    drawing = temperature, sampler.top_k
    codes_BxT = sample_codes(config, variables["transformer"], prefix_BxT, keys_B, *drawing)
    entries = variables["codebook"].entries
    return to_uint8(decode_codes(config, variables["autoencoder"], entries, codes_BxT))


@_program
def _encode(
    config: PriorConfig, sampler: PriorSampler, variables: Variables, images_BxHxWxC: jax.Array
) -> jax.Array:
    entries = variables["codebook"].entries
    return codes_of(config, variables["autoencoder"], entries, from_uint8(images_BxHxWxC))


@_program
def _decode(
    config: PriorConfig, sampler: PriorSampler, variables: Variables, codes_BxT: jax.Array
) -> jax.Array:
    entries = variables["codebook"].entries
    return to_uint8(decode_codes(config, variables["autoencoder"], entries, codes_BxT))


@_program
def _nats(
    config: PriorConfig,
    sampler: PriorSampler,
    variables: Variables,
    codes_BxT: jax.Array,
    labels_BxY: jax.Array,
) -> jax.Array:
    prefix_BxT = prefix_tokens(config, labels_BxY, len(labels_BxY))
    logits = code_logits(config, variables["transformer"], prefix_BxT, codes_BxT)
    return cross_entropy(logits, codes_BxT)

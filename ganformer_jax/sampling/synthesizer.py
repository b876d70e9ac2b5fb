"""Images from latents, and latents from seeds or from z."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models import broadcast_layers, component_maps, num_layers, truncate_w
from ganformer_jax.models.by_seed import apply_sampling, draw_z
from ganformer_jax.models.input_checks import refuse_network
from ganformer_jax.models.noise_maps import with_noise_maps
from ganformer_jax.pixels import to_uint8
from ganformer_jax.sampling.labels import ImageLabels, check_labels, label_vectors
from ganformer_jax.sampling.latents import ImageLatents
from ganformer_jax.sampling.sampler import place_truncation
from ganformer_jax.sampling.seeds import check_batch_size, seed_array

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, UInt8


class Synthesized(NamedTuple):
    """Images of latents, on the host."""

    images: UInt8[np.ndarray, "b h w c"]
    """Images, uint8 in 0..255."""
    attention: tuple[Float[np.ndarray, "b k n h w"], ...]
    """Attention maps of each layer, coarse to fine, each at its resolution; empty unless asked."""


@dataclasses.dataclass(frozen=True)
class Synthesizer:
    """Makes images of latents; image i depends on latents i alone, not on the others.

    The same latents and weights give the same images on the same machine. Activations are float32,
    and matrix products have the highest precision, as a `Sampler` has them; its images of a seed
    are, with the same `noise`, the same but for a few pixels, by one level.

    Attributes:
        config: Config of the generator.
        batch_size: Images per batch, 1 or more; the last batch is padded.
        noise: "random" draws noise by each image's noise seed, "const" is the same for every image.
            By default "const", so that images differ by their latents alone; a `Sampler` has
            "random", so give both the same for the same images.
        attention: Return attention maps, which take memory.
        batch_sharding: Sharding of a batch over devices; the variables must be on the same ones.

    Raises:
        ValueError: The batch size is below 1.
        TypeError: `config` is a network.
    """

    config: GeneratorConfig
    batch_size: int = 16
    noise: Literal["random", "const", "none"] = "const"
    attention: bool = False
    batch_sharding: jax.sharding.Sharding | None = None

    def __post_init__(self):
        refuse_network(self.config)
        check_batch_size(self.batch_size)

    def z(self, seeds: Iterable[int]) -> Float[np.ndarray, "b k d"]:
        """Return the z of seeds from 0 to 2^32 - 1: those of a `Sampler`."""
        drawn = seed_array(seeds)
        if not drawn.size:
            raise ValueError("no seeds")
        batches = [_draw(self, self._placed(drawn[rows])) for rows in self._rows(drawn.size)]
        return np.concatenate(jax.device_get(batches))[: drawn.size]

    def map(
        self,
        variables: Mapping[str, Any],
        z_BxKxD: Float[np.ndarray, "b k d"],
        labels: ImageLabels | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[np.ndarray, "b k l d"]:
        """Map z to w, truncated, for every layer; arguments and errors are those of a `Sampler`."""
        if not len(z_BxKxD):
            raise ValueError("no z")
        size, vocabulary = self.config.label_size, self.config.text.vocabulary
        vectors = label_vectors(size, check_labels(size, labels, len(z_BxKxD), vocabulary))
        psi, cutoff = place_truncation(truncation_psi, truncation_cutoff)
        batches = [
            _map(self, variables, *self._placed((z_BxKxD[rows], vectors[rows])), psi, cutoff)
            for rows in self._rows(len(z_BxKxD))
        ]
        return np.concatenate(jax.device_get(batches))[: len(z_BxKxD)]

    def latents(
        self,
        variables: Mapping[str, Any],
        seeds: Iterable[int],
        labels: ImageLabels | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> ImageLatents:
        """Return the latents of seeds; arguments and errors are those of a `Sampler`."""
        drawn = seed_array(seeds)
        w_BxKxLxD = self.map(variables, self.z(drawn), labels, truncation_psi, truncation_cutoff)
        truncation: dict[str, Any] = {"truncation_psi": float(truncation_psi)}
        if truncation_cutoff is not None:
            truncation["truncation_cutoff"] = int(truncation_cutoff)
        facts = tuple({"seed": int(seed)} | truncation for seed in drawn)
        words, places = self.config.words, self.config.attention.places
        return ImageLatents(w_BxKxLxD, drawn, facts=facts, words=words, places=places)

    def __call__(self, variables: Mapping[str, Any], latents: ImageLatents) -> Synthesized:
        """Make an image of each latent.

        Args:
            variables: Variables of the generator, as `load` returns them.
            latents: Latents of one or more images.

        Raises:
            ValueError: If there are none.
        """
        if not len(latents):
            raise ValueError("no latents")
        batches = list(self._batches(variables, latents))
        return Synthesized(*jax.tree.map(lambda *a: np.concatenate(a)[: len(latents)], *batches))

    def _batches(
        self, variables: Mapping[str, Any], latents: ImageLatents
    ) -> Iterator[tuple[Any, Any]]:
        for rows in self._rows(len(latents)):
            some = latents.take(rows)
            given = (
                some.w_BxKxLxD,
                some.noise_seeds_B,
                some.mask_BxK,
                some.shift_BxKx2,
                some.noise_maps,
            )
            yield jax.device_get(_synthesize(self, variables, *self._placed(given)))

    def _rows(self, count: int) -> Iterator[np.ndarray]:
        """Yield the rows of each batch; the last is padded with the first rows."""
        for start in range(0, count, self.batch_size):
            yield np.arange(start, start + self.batch_size) % count

    def _placed(self, arrays: Any) -> Any:
        return jax.device_put(arrays, self.batch_sharding)


@functools.partial(jax.jit, static_argnums=0)
def _draw(synthesizer: Synthesizer, seeds_B: Int[Array, " b"]) -> Float[Array, "b k d"]:
    return draw_z(synthesizer.config, seeds_B)


@functools.partial(jax.jit, static_argnums=0)
@jax.default_matmul_precision("highest")
def _map(
    synthesizer: Synthesizer,
    variables: Mapping[str, Any],
    z_BxKxD: Float[Array, "b k d"],
    labels_BxY: Float[Array, "b y"],
    psi: Float[Array, ""],
    cutoff: Int[Array, ""],
) -> Float[Array, "b k l d"]:
    config = synthesizer.config
    labels = labels_BxY if config.label_size else None
    w_BxKxD = apply_sampling(config, variables, z_BxKxD, labels, method="map")
    w_BxKxLxD = broadcast_layers(w_BxKxD, num_layers(config))
    return truncate_w(config, w_BxKxLxD, variables["moments"]["w_average"], psi, cutoff)


@functools.partial(jax.jit, static_argnums=0)
@jax.default_matmul_precision("highest")
def _synthesize(
    synthesizer: Synthesizer,
    variables: Mapping[str, Any],
    w_BxKxLxD: Float[Array, "b k l d"],
    noise_seeds_B: Int[Array, " b"],
    mask_BxK: Float[Array, "b k"] | None,
    shift_BxKx2: Float[Array, "b k 2"] | None,
    noise_maps: Mapping[str, Float[Array, "b h w"]],
) -> tuple[Any, Any]:
    variables = with_noise_maps(variables, noise_maps) if noise_maps else variables
    images_BxHxWxC, out = apply_sampling(
        synthesizer.config,
        variables,
        w_BxKxLxD,
        noise=synthesizer.noise,
        noise_seeds_B=noise_seeds_B,
        component_mask_BxK=mask_BxK,
        component_shift_BxKx2=shift_BxKx2,
        method="synthesize",
    )
    return to_uint8(images_BxHxWxC), component_maps(out) if synthesizer.attention else ()

"""Generator: mapping and synthesis network over shared positions of the latent components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models import latents, synthesis
from ganformer_jax.models.mapping import MappingNetwork

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

NOISE_MODES = ("random", "const", "none")


class Generator(nn.Module):
    """z to images: GANformer, or StyleGAN2 or a plain GAN where there are no components.

    Variables: "params", trained; "constants", fixed noise and position grids; "moments", the
    running mean of w as `w_average`. Random streams: "noise" for noise="random"; with train=True
    "dropout" and "components".
    """

    config: GeneratorConfig

    def setup(self) -> None:
        """Make the parts that all methods share."""
        config = self.config
        self.mapping = MappingNetwork(config)
        self.synthesis = synthesis.SynthesisNetwork(config)
        self.w_average = self.variable("moments", "w_average", jnp.zeros, (config.w_size,))
        if config.reads_latent_positions:
            shape = (config.components, config.w_size)
            self.latent_positions = self.param("latent_positions", jax.random.uniform, shape)
        else:
            self.latent_positions = None

    @property
    def num_layers(self) -> int:
        """Latents a component has, one for each layer of the synthesis network."""
        return synthesis.num_layers(self.config)

    def __call__(
        self,
        z_BxKxD: Float[Array, "b k d"],
        labels_BxC: Float[Array, "b c"] | None = None,
        *,
        truncation_psi: float | Float[Array, ""] = 1.0,
        truncation_cutoff: int | Int[Array, ""] | None = None,
        noise: str = "random",
        noise_seeds_B: Int[Array, " b"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "b h w c"], dict[str, Any]]:
        """Generate images.

        Args:
            z_BxKxD: Normally distributed latents: the components and, last, the global one.
            labels_BxC: One-hot labels of a conditional generator.
            truncation_psi: Below 1 trades variety for quality.
            truncation_cutoff: Truncate only the first layers.
            noise: "random", "const" or "none".
            noise_seeds_B: Random noise of an image is decided by its seed, whatever the batch.
            train: Apply attention and component dropout.

        Returns:
            Images, float32, nominally in [-1, 1]; and a dict of `w` [B, K, W], before truncation,
            and `attention`, per layer [B, components, heads, H, W] at the layer's resolution.

        Raises:
            ValueError: An unknown noise mode, or latents of another shape.
        """
        mask = self._component_mask(z_BxKxD.shape[0], train)
        w_BxKxW = self._map(z_BxKxD, labels_BxC, mask, train)
        w_BxKxLxW = latents.broadcast_layers(w_BxKxW, self.num_layers)
        if not (isinstance(truncation_psi, float | int) and truncation_psi == 1):
            w_BxKxLxW = latents.truncate(
                w_BxKxLxW, self.w_average.value, truncation_psi, truncation_cutoff
            )
        images, maps = self._synthesize(w_BxKxLxW, mask, (noise, noise_seeds_B), train)
        return images, {"w": w_BxKxW, "attention": maps}

    def map(
        self,
        z_BxKxD: Float[Array, "b k d"],
        labels_BxC: Float[Array, "b c"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b k w"]:
        """Mapping network alone; same arguments as for images."""
        mask = self._component_mask(z_BxKxD.shape[0], train)
        return self._map(z_BxKxD, labels_BxC, mask, train)

    def synthesize(
        self,
        w_BxKxLxW: Float[Array, "b k l w"],
        *,
        noise: str = "random",
        noise_seeds_B: Int[Array, " b"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "b h w c"], dict[str, Any]]:
        """Synthesis network alone, from a latent for every component and layer.

        Given the same random streams as `map`, it hides the same components.
        """
        mask = self._component_mask(w_BxKxLxW.shape[0], train)
        images, maps = self._synthesize(w_BxKxLxW, mask, (noise, noise_seeds_B), train)
        return images, {"attention": maps}

    def _map(self, z_BxKxD, labels_BxC, mask_BxT, train: bool) -> Array:
        expected = (self.config.num_latents, self.config.z_size)
        if z_BxKxD.shape[1:] != expected:
            raise ValueError(
                f"z should be [batch, {expected[0]}, {expected[1]}], not {z_BxKxD.shape}"
            )
        return self.mapping(
            z_BxKxD, labels_BxC, self.latent_positions, mask_BxT=mask_BxT, train=train
        )

    def _synthesize(self, w_BxKxLxW, mask_BxT, noise: tuple[str, Array | None], train: bool):
        if noise[0] not in NOISE_MODES:
            raise ValueError(f"noise should be one of {', '.join(NOISE_MODES)}, not {noise[0]!r}")
        call = synthesis.Call(*noise, self.latent_positions, mask_BxT, train)
        return self.synthesis(w_BxKxLxW, call)

    def _component_mask(self, batch: int, train: bool) -> Array | None:
        """1 for components that attention sees, 0 for those dropped; None if all are seen."""
        rate = self.config.component_dropout
        if not (train and rate and self.config.components):
            return None
        shape = (batch, self.config.components)
        kept = jax.random.bernoulli(self.make_rng("components"), 1.0 - rate, shape)
        return kept.astype(jnp.float32)


def stack_attention(
    maps: Sequence[Float[Array, "b t n h w"]], resolution: int | tuple[int, int]
) -> Float[Array, "b t l n height width"]:
    """Attention maps of all layers at one resolution, by repeating pixels.

    Args:
        maps: `out["attention"]` of a generator, [B, components, heads, H, W] each.
        resolution: Height and width to bring them to, or the longer of both; a multiple of each.

    Raises:
        ValueError: There are no maps, or a map does not fill the resolution evenly.
    """
    if not maps:
        raise ValueError("this generator has no attention layers, so no maps to stack")
    stacked = []
    for attention in maps:
        height, width = attention.shape[-2:]
        longer = resolution if isinstance(resolution, int) else max(resolution)
        repeats = longer // max(height, width)
        filled = height * repeats, width * repeats
        if max(filled) != longer or not (isinstance(resolution, int) or filled == resolution):
            wanted = longer if isinstance(resolution, int) else "x".join(map(str, resolution))
            raise ValueError(f"attention maps of {height}x{width} do not fill {wanted}")
        stacked.append(jnp.repeat(jnp.repeat(attention, repeats, -1), repeats, -2))
    return jnp.stack(stacked, 2)

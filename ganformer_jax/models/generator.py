"""Generator: mapping and synthesis network over shared positions of the latent components."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import choose
from ganformer_jax.models import latents, synthesis
from ganformer_jax.models.captions import insert_words, read_captions
from ganformer_jax.models.dcgan import DCGANSynthesis
from ganformer_jax.models.input_checks import (
    check_generator_labels,
    check_labels,
    check_seeds,
    check_shape,
)
from ganformer_jax.models.mapping import MappingNetwork, direct_latents
from ganformer_jax.models.sagan import SAGANSynthesis
from ganformer_jax.models.text_encoder import TextEncoder
from ganformer_jax.nn.layers import EqualizedDense
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

NOISE_MODES = ("random", "const", "none")


class Generator(nn.Module):
    """z to images: a GANformer or, without components, a StyleGAN2, a plain GAN or a k-GAN.

    `config.network` makes it a DCGAN or a SAGAN, which have running statistics and singular
    vectors in the collection "batch_stats": it must be mutable in calls with train=True.

    Variables: "params", trained; "constants", fixed noise and position grids; "moments", the
    running mean of w as `w_average`, which truncation needs and `gan_updates` keep: calls do not
    change it. Random streams: "noise" for noise="random"; with train=True
    "dropout", and "components" for component dropout.

    Attributes:
        config: The generator.
        rematerialize: Compute each block again for its gradients, which saves memory; the
            variables and results are the same.
        axis_name: The mapped axis of devices that share the batch, for batch normalization.
    """

    config: GeneratorConfig
    rematerialize: bool = False
    axis_name: str | None = None

    def setup(self) -> None:
        """Create what all methods share."""
        config = self.config
        networks = {
            "ganformer": synthesis.SynthesisNetwork,
            "dcgan": functools.partial(DCGANSynthesis, axis_name=self.axis_name),
            "sagan": functools.partial(SAGANSynthesis, axis_name=self.axis_name),
        }
        network = choose("the generator's network", config.network, networks)
        self.synthesis = network(config, self.rematerialize)
        if config.network == "ganformer":
            self.mapping = MappingNetwork(config)
        self.w_average = self.variable("moments", "w_average", jnp.zeros, (config.w_size,))
        if config.text.vocabulary:
            self.text = TextEncoder(config.text)
        if config.words:
            self.words = EqualizedDense(config.w_size)
        if config.reads_latent_positions:
            shape = (config.num_local_latents, config.w_size)
            self.latent_positions = self.param("latent_positions", jax.random.uniform, shape)
        else:
            self.latent_positions = None

    @property
    def num_layers(self) -> int:
        """Number of layers that read a latent of each component: `ganformer_jax.num_layers`."""
        return synthesis.num_layers(self.config)

    def __call__(
        self,
        z_BxKxD: Float[Array, "b k d"],
        labels_BxY: Float[Array, "b y"] | None = None,
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
            labels_BxY: One-hot labels, conditions, or tokens of captions, of a conditional
                generator.
            truncation_psi: Below 1 trades variety for quality.
            truncation_cutoff: Truncate only the first layers.
            noise: "random", "const" or "none".
            noise_seeds_B: Seed of each image's random noise, an integer; the noise then depends on
                nothing else in the batch.
            train: Apply attention and component dropout, and normalize batches by their own
                statistics.

        Returns:
            Images, float32, nominally in [-1, 1]; and a dict of `w` [B, K, D], before truncation,
            and `attention`, per layer [B, K, N, H, W] at the layer's resolution; where images are
            merged, `shares` too, the share [B, K, H, W] of each at every position; with captions,
            `words` too, per layer [B, T, N, H, W].

        Raises:
            ValueError: An unknown noise mode, or arguments of another shape.
            TypeError: Seeds that are not integers.
        """
        mask_BxK = self.component_mask(z_BxKxD.shape[0]) if train else None
        w_BxKxD = self.map(z_BxKxD, labels_BxY, component_mask_BxK=mask_BxK, train=train)
        w_BxKxLxD = latents.broadcast_layers(w_BxKxD, self.num_layers)
        if not (isinstance(truncation_psi, float | int) and truncation_psi == 1):
            w_BxKxLxD = latents.truncate_w(
                self.config, w_BxKxLxD, self.w_average.value, truncation_psi, truncation_cutoff
            )
        images_BxHxWxC, out = self.synthesize(
            w_BxKxLxD,
            noise=noise,
            noise_seeds_B=noise_seeds_B,
            component_mask_BxK=mask_BxK,
            train=train,
        )
        return images_BxHxWxC, {"w": w_BxKxD} | out

    def component_mask(
        self, batch: int, microbatch: Microbatch = FULL_BATCH
    ) -> Float[Array, "b k"] | None:
        """Draw which components attention sees in training, from the "components" stream.

        Args:
            batch: Number of images.
            microbatch: Microbatch of gradient accumulation that these images are;
                masks are drawn for the full batch.

        Returns:
            0 for hidden and 1 for visible components, for `map` and `synthesize`; None without
            component dropout.
        """
        rate = self.config.component_dropout
        if not (rate and self.config.components):
            return None
        shape = (batch, self.config.components)
        key = self.make_rng("components")
        visible = microbatch.draw(functools.partial(jax.random.bernoulli, key, 1.0 - rate), shape)
        return visible.astype(jnp.float32)

    def map(
        self,
        z_BxKxD: Float[Array, "b k d"],
        labels_BxY: Float[Array, "b y"] | None = None,
        *,
        component_mask_BxK: Float[Array, "b k"] | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> Float[Array, "b k d"]:
        """Map z to w.

        Args:
            z_BxKxD: Normally distributed latents: the components and, last, the global one.
            labels_BxY: One-hot labels, conditions, or tokens of captions, of a conditional
                generator.
            component_mask_BxK: Mask that `component_mask` returns; None shows all components.
            train: Apply attention dropout.
            microbatch: Microbatch of gradient accumulation that these images are;
                dropout is drawn for the full batch.

        Returns:
            One w for each component, one for each word of a caption, zeros for padding, and, last,
            the global one; float32, as everything here is computed in float32.

        Raises:
            ValueError: Latents, labels or a mask of another shape, labels of a generator without
                any, or none for one with labels or captions.
        """
        expected = (self.config.num_latents, self.config.z_size)
        if z_BxKxD.shape[1:] != expected:
            raise ValueError(
                f"z should be [batch, {expected[0]}, {expected[1]}], not {z_BxKxD.shape}"
            )
        batch, z_BxKxD = z_BxKxD.shape[0], jnp.asarray(z_BxKxD, jnp.float32)
        if self.config.text.vocabulary:
            check_labels(labels_BxY, batch)
        else:
            check_generator_labels(labels_BxY, batch, self.config.label_size)
        check_shape("component mask", component_mask_BxK, (batch, self.config.components))
        if self.config.network != "ganformer":
            return direct_latents(self.config, z_BxKxD, labels_BxY)
        caption = None
        if self.config.text.vocabulary:
            caption = read_captions(self.text, labels_BxY)
            labels_BxY = caption.vector_BxD
        w_BxKxD = self.mapping(
            z_BxKxD,
            labels_BxY,
            self.latent_positions,
            mask_BxK=component_mask_BxK,
            caption=caption,
            train=train,
            microbatch=microbatch,
        )
        if caption is None or not self.config.words:
            return w_BxKxD
        words_BxTxD = self.words(caption.tokens_BxTxD) * caption.visible_BxT[..., None]
        return insert_words(w_BxKxD, words_BxTxD)

    def synthesize(
        self,
        w_BxKxLxD: Float[Array, "b k l d"],
        *,
        noise: str = "random",
        noise_seeds_B: Int[Array, " b"] | None = None,
        component_mask_BxK: Float[Array, "b k"] | None = None,
        component_shift_BxKx2: Float[Array, "b k 2"] | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> tuple[Float[Array, "b h w c"], dict[str, Any]]:
        """Generate images from w.

        Args:
            w_BxKxLxD: A latent for every component and layer, words included; words of zeros are
                not attended to.
            noise: "random", "const" or "none".
            noise_seeds_B: Seed of each image's random noise, as in a call.
            component_mask_BxK: The mask that `map` was given.
            component_shift_BxKx2: Distances by which to move the place of each component, in
                columns and rows, with `attention.places`; the longer side of the image is 2.
            train: Apply attention dropout, and normalize batches by their own statistics.
            microbatch: Microbatch of gradient accumulation that these images are;
                noise and dropout are drawn for the full batch.

        Returns:
            Images, float32, and a dict of `attention`, `shares` and `words`, as from a call.

        Raises:
            ValueError: Arguments of another shape, an unknown noise mode, components without places
                to move, or a mask for a k-GAN, which has no components.
            TypeError: Seeds that are not integers.
        """
        if noise not in NOISE_MODES:
            raise ValueError(f"noise should be one of {', '.join(NOISE_MODES)}, not {noise!r}")
        wanted = self.config.num_w, self.num_layers, self.config.w_size
        if w_BxKxLxD.shape[1:] != wanted:
            shape = list(w_BxKxLxD.shape)
            raise ValueError(f"latents {shape}: give [batch, {', '.join(map(str, wanted))}]")
        if component_mask_BxK is not None and self.config.merge.images:
            raise ValueError("a k-GAN has no components that can be hidden")
        if component_shift_BxKx2 is not None and not self.config.attention.places:
            raise ValueError("components without places cannot be moved: see attention.places")
        if jnp.issubdtype(w_BxKxLxD.dtype, jnp.floating):
            w_BxKxLxD = jnp.asarray(w_BxKxLxD, jnp.float32)
        batch, components = w_BxKxLxD.shape[0], self.config.components
        check_seeds(noise_seeds_B, batch)
        check_shape("component mask", component_mask_BxK, (batch, components))
        check_shape("component shift", component_shift_BxKx2, (batch, components, 2))
        context = synthesis.SynthesisContext(
            noise,
            noise_seeds_B,
            position_KxD=self.latent_positions,
            shift_BxKx2=component_shift_BxKx2,
            mask_BxK=component_mask_BxK,
            train=train,
            microbatch=microbatch,
        )
        return self.synthesis(w_BxKxLxD, context)


def component_maps(out: Mapping[str, Any]) -> tuple[Float[Array, "b k n h w"], ...]:
    """Return where components act, from what a generator returns beside images.

    These are the attention maps or, where images are merged, their shares as one map of one head.
    """
    shares_BxKxHxW = out.get("shares")
    return out["attention"] if shares_BxKxHxW is None else (shares_BxKxHxW[:, :, None],)


def stack_attention(
    maps: Sequence[Float[Array, "b k n h w"]], resolution: int | tuple[int, int]
) -> Float[Array, "b k l n h2 w2"]:
    """Stack the attention maps of all layers at one resolution, by repeating pixels.

    Args:
        maps: `out["attention"]` of a generator, [B, K, N, H, W] each.
        resolution: Height and width to bring them to, or the longer of both; a multiple of those
            of each map.

    Returns:
        Maps of all attention layers at that resolution.

    Raises:
        ValueError: There are no maps, or a map is of another rank or does not fill the resolution
            evenly.
    """
    if not len(maps):
        raise ValueError("this generator has no attention layers, so no maps to stack")
    stacked, sides = [], tuple(operator.index(side) for side in np.ravel(resolution))
    for attention in maps:
        if attention.ndim != 5:
            raise ValueError(f"attention maps {list(attention.shape)}: give [B, K, N, H, W]")
        height, width = attention.shape[-2:]
        repeats = max(sides) // max(height, width)
        filled = height * repeats, width * repeats
        if max(filled) != max(sides) or (len(sides) > 1 and filled != sides):
            wanted = "x".join(map(str, sides))
            raise ValueError(f"attention maps of {height}x{width} do not fill {wanted}")
        stacked.append(jnp.repeat(jnp.repeat(attention, repeats, -1), repeats, -2))
    return jnp.stack(stacked, 2)

"""Execution: styles of segments and a layout to an image (arXiv 2111.08960).

The synthesis network of a GANformer, where pixels attend to the styles of their segments: the
layout is the attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import MappingConfig
from ganformer_jax.config.ganformer2 import ExecutionConfig
from ganformer_jax.models.attention_layer import SynthesisContext
from ganformer_jax.models.input_checks import check_shape
from ganformer_jax.models.latents import broadcast_layers
from ganformer_jax.models.mapping import MappingBranch
from ganformer_jax.models.synthesis import SynthesisNetwork, num_layers
from ganformer_jax.nn.layers import rms_normalize

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Executor(nn.Module):
    """Style latents and a layout to images.

    Variables: "params", trained; "constants", fixed noise and position grids. The stream "noise" is
    for `noise` "random".

    Attributes:
        config: Execution.
        segments: Segments of a layout.
    """

    config: ExecutionConfig
    segments: int

    @nn.compact
    def __call__(
        self,
        z_BxKxD: Float[Array, "b k d"],
        layout_BxHxWxK: Float[Array, "b h w k"],
        noise: str = "random",
        noise_seeds_B: Int[Array, " b"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """Generate images, float32, nominally in [-1, 1].

        Args:
            z_BxKxD: Normally distributed style latents of the segments and, last, of the image.
            layout_BxHxWxK: The layout.
            noise: "random", "const" or "none".
            noise_seeds_B: Seed of each image's random noise.

        Raises:
            ValueError: If arguments are of another shape.
        """
        styles = z_BxKxD.shape[0], self.segments + 1, self.config.style_size
        check_shape("styles", z_BxKxD, styles)
        generator = self.config.generator(self.segments)
        mapping, width = MappingConfig(self_attention=False), generator.w_size
        z_BxKxD = rms_normalize(z_BxKxD)
        # Segments are mapped alike, but for what says that the first one is the background.
        background = (jnp.arange(self.segments) == 0).astype(jnp.float32)
        kind_Kx2 = jnp.stack([background, 1.0 - background], -1) * (width / 2) ** 0.5
        kind_BxKx2 = jnp.broadcast_to(kind_Kx2[None], (z_BxKxD.shape[0], *kind_Kx2.shape))
        own_BxKxD = jnp.concatenate([z_BxKxD[:, : self.segments], kind_BxKx2], -1)
        w_BxKxD = MappingBranch(mapping, width, name="segments")(own_BxKxD)
        if self.config.global_style:
            whole_Bx1xD = MappingBranch(mapping, width, name="global")(z_BxKxD[:, -1:])
        else:
            whole_Bx1xD = jnp.zeros_like(w_BxKxD[:, :1])
        w_BxKxD = jnp.concatenate([w_BxKxD, whole_Bx1xD], 1)
        context = SynthesisContext(noise, noise_seeds_B, layout_BxHxWxK=layout_BxHxWxK)
        synthesis = SynthesisNetwork(generator, name="synthesis")
        images, _ = synthesis(broadcast_layers(w_BxKxD, num_layers(generator)), context)
        return images

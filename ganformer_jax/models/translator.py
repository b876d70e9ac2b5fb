"""Networks of CycleGAN (Zhu et al. 2017, arXiv 1703.10593, section 7.2), with bipartite attention.

The generator is that of Johnson et al. 2016 (arXiv 1603.08155): two convolutions down, residual
blocks, two up. With components, bipartite attention (arXiv 2103.01209, section 3.1) comes before
every residual block: trained vectors gather from the image, then the image attends to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config.translation import TranslatorConfig
from ganformer_jax.models.grid_positions import grid_positions
from ganformer_jax.models.input_checks import check_sides
from ganformer_jax.nn.attention import BipartiteAttention, KMeans
from ganformer_jax.nn.component_update import ComponentUpdate
from ganformer_jax.nn.initialize import normal
from ganformer_jax.nn.instance_norm import instance_norm
from ganformer_jax.nn.padded_convolution import PaddedConvolution

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class ComponentExchange(nn.Module):
    """Duplex attention between an image and components: these gather, then the image attends.

    Attributes:
        config: The generator.
    """

    config: TranslatorConfig

    @nn.compact
    def __call__(
        self,
        x_BxHxWxC: Float[Array, "b h w c"],
        components_BxKxD: Float[Array, "b k d"],
        position_KxD: Float[Array, "k d"],
        train: bool,
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b k d"], Float[Array, "b k n h w"]]:
        """Return updated features and components, and the image's attention."""
        config, options = self.config, self.config.attention
        batch, height, width, channels = x_BxHxWxC.shape
        x_BxFxC = x_BxHxWxC.reshape(batch, height * width, channels)
        grid_FxD = grid_positions(
            config.positions, height, width, config.component_width, stored=False
        )
        gather = ComponentUpdate(
            heads=options.heads,
            dropout=options.dropout,
            gate_x=options.gate_latents,
            gate_y=options.gate_image,
            name="bottom_up",
        )
        components_BxKxD = gather(components_BxKxD, x_BxFxC, position_KxD, grid_FxD, train=train)
        kmeans = None
        if options.kmeans_iterations:
            kmeans = KMeans(options.kmeans_iterations, options.kmeans_weight_per_iteration)
        attend = BipartiteAttention(
            heads=options.heads,
            integration=options.integration,
            norm=options.norm,
            dropout=options.dropout,
            gate_x=options.gate_image,
            gate_y=options.gate_latents,
            kmeans=kmeans,
            name="top_down",
        )
        x_BxFxC, probabilities, _ = attend(
            x_BxFxC, components_BxKxD, grid_FxD, position_KxD, train=train
        )
        maps = probabilities.reshape(batch, options.heads, height, width, -1)
        maps_BxKxNxHxW = jnp.transpose(maps, (0, 4, 1, 2, 3))
        return x_BxFxC.reshape(x_BxHxWxC.shape), components_BxKxD, maps_BxKxNxHxW


class Translator(nn.Module):
    """Images of one set to images of another.

    Attributes:
        config: The generator.
    """

    config: TranslatorConfig

    @nn.compact
    def __call__(
        self, images_BxHxWxC: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b h w c"], dict[str, Any]]:
        """Translate images.

        Args:
            images_BxHxWxC: Images in [-1, 1], floating point, height and width multiples of 4.
            train: Apply attention dropout, from the "dropout" stream.

        Returns:
            Images in [-1, 1], float32; and a dict with `attention`, maps [B, K, N, H/4, W/4] of
            every residual block, none without components.

        Raises:
            TypeError: If images are not floating point.
            ValueError: If they are of another rank or size.
        """
        check_sides(images_BxHxWxC, multiple=4)
        config, dtype = self.config, jnp.dtype(self.config.dtype)

        def convolve(name: str, x: Array, features: int, size: int, *settings: Any) -> Array:
            x = PaddedConvolution(features, size, *settings, name=name)(x)
            return nn.relu(instance_norm(x))

        width = config.width
        x = convolve("from_image", images_BxHxWxC.astype(dtype), width, 7, "none", 3)
        x = convolve("down_0", x, 2 * width, 3, "down")
        x = convolve("down_1", x, 4 * width, 3, "down")
        components_BxKxD, position_KxD = self._components(x.shape[0])
        maps = []
        for number in range(config.blocks):
            if components_BxKxD is not None and position_KxD is not None:
                exchange = ComponentExchange(config, name=f"attention_{number}")
                x, components_BxKxD, found = exchange(x, components_BxKxD, position_KxD, train)
                maps.append(found)
            y = convolve(f"block_{number}_0", x, 4 * width, 3, "none", 1)
            y = PaddedConvolution(4 * width, 3, "none", 1, name=f"block_{number}_1")(y)
            x = x + instance_norm(y)
        x = convolve("up_0", x, 2 * width, 3, "up")
        x = convolve("up_1", x, width, 3, "up")
        x = PaddedConvolution(config.image_channels, 7, "none", 3, name="to_image")(x)
        return jnp.tanh(x.astype(jnp.float32)), {"attention": tuple(maps)}

    def _components(
        self, batch: int
    ) -> tuple[Float[Array, "b k d"] | None, Float[Array, "k d"] | None]:
        """Return trained components, the same for all images at first, and their positions."""
        count, width = self.config.components, self.config.component_width
        if not count:
            return None, None
        start_KxD = self.param("components", normal(), (count, width))
        position_KxD = self.param("component_positions", normal(), (count, width))
        return jnp.broadcast_to(start_KxD, (batch, count, width)), position_KxD

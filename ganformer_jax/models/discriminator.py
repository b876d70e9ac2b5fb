"""Discriminator: convolutions down to the base grid, minibatch standard deviation, one logit.

The discriminator of StyleGAN2 (arXiv 1912.04958, section 4.1), as GANformer uses it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.config import DiscriminatorConfig
from ganformer_jax.config.attention import LOCAL_ATTENTION_HEADS
from ganformer_jax.errors import choose
from ganformer_jax.models.dcgan import DCGANDiscriminator
from ganformer_jax.models.discriminator_attention import AggregatorScores, DiscriminatorAttention
from ganformer_jax.models.input_checks import check_images, check_labels
from ganformer_jax.models.label_logits import label_logits, label_reader
from ganformer_jax.models.sagan import SAGANDiscriminator
from ganformer_jax.models.synthesis import RESIDUAL_GAIN
from ganformer_jax.nn import resample
from ganformer_jax.nn.layers import (
    EqualizedConvolution,
    EqualizedDense,
    minibatch_stddev,
)
from ganformer_jax.nn.local_attention import LocalAttention, local_positions
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class AttentionContext:
    """Inputs that all blocks of a discriminator with attention share.

    Attributes:
        position_KxD: Trained positions of the aggregators.
        local_position_9xD: Trained positions of the 3x3 that local attention sees.
        train: Apply attention dropout.
        microbatch: Microbatch of gradient accumulation that these images are;
            dropout is drawn for the full batch.
    """

    position_KxD: Float[Array, "k d"] | None = None
    local_position_9xD: Float[Array, "9 d"] | None = None
    train: bool = False
    microbatch: Microbatch = FULL_BATCH


class DiscriminatorBlock(nn.Module):
    """Attention, if any, and two convolutions, the second halving the resolution.

    Attributes:
        config: The discriminator.
        resolution: Longer side of the image's grid before it is halved.
    """

    config: DiscriminatorConfig
    resolution: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        aggregators_BxKxD: Float[Array, "b k d"] | None,
        context: AttentionContext,
    ) -> tuple[Float[Array, "b h2 w2 c2"], Float[Array, "b k d"] | None]:
        """Return features at half the resolution, and updated aggregators."""
        config, resolution, y = self.config, self.resolution, x
        residual, taps = config.architecture == "resnet", config.resample_filter
        gain, clamp = RESIDUAL_GAIN if residual else 1.0, config.clamp
        channels_in = config.channels_at(resolution)
        channels_out = config.channels_at(resolution // 2)
        if config.attends_at(resolution):
            attention = DiscriminatorAttention(config, resolution, name="attention")
            y, aggregators_BxKxD = attention(
                y, aggregators_BxKxD, context.position_KxD, context.train, context.microbatch
            )
        local = resolution < (config.local_attention_below or 0)
        if local:
            assert context.local_position_9xD is not None
            attend = LocalAttention(
                channels_in,
                LOCAL_ATTENTION_HEADS,
                config.aggregators.dropout,
                name="local_attention",
            )
            y = attend(
                y, context.local_position_9xD, train=context.train, microbatch=context.microbatch
            )
        size = 1 if local else 3
        y = EqualizedConvolution(
            channels_in, size, activation=True, clamp=clamp, name="convolution_0"
        )(y)
        y = EqualizedConvolution(
            channels_out,
            size,
            resampling="down",
            activation=True,
            gain=gain,
            taps=taps,
            clamp=clamp,
            name="convolution_1",
        )(y)
        if not residual:
            return y, aggregators_BxKxD
        skip = EqualizedConvolution(
            channels_out,
            1,
            resampling="down",
            use_bias=False,
            gain=gain,
            taps=taps,
            name="skip",
        )
        return y + skip(x), aggregators_BxKxD


class Discriminator(nn.Module):
    """Images, and labels if conditional, to a logit: high for real, low for generated.

    Attributes:
        config: The discriminator.
        base_grid: Height and width of the last grid: those of the generator's first one.
        rematerialize: Compute each block again for its gradients, which saves memory; the
            parameters and results are the same.
    """

    config: DiscriminatorConfig
    base_grid: tuple[int, int] = (4, 4)
    rematerialize: bool = False

    @nn.compact
    def __call__(
        self,
        images_BxHxWxC: Float[Array, "b h w c"],
        labels_BxY: Float[Array, "b y"] | None = None,
        *,
        others_NxY: Float[Array, "n y"] | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> tuple[Float[Array, "b 1"], dict[str, Any]]:
        """Compute the logits of images.

        Args:
            images_BxHxWxC: Images in [-1, 1], floating point; height and width are those of the
                base grid times one power of two.
            labels_BxY: One-hot labels or conditions; or tokens of captions, which
                `read_captions` makes a vector of. The logit is then that of the class (Mescheder
                et al. 2018, arXiv 1801.04406); with `label_logit` "projection" one that does not
                depend on the label is added (Miyato and Koyama 2018, arXiv 1802.05637, equation 3);
                with "embedding" it is the product of features and a vector that a mapping network
                makes of the label (Karras et al. 2020, arXiv 2006.06676).
                None, or no classes, for an unconditional discriminator.
            others_NxY: Labels of any images, to compare these images with.
            train: Apply attention dropout, from the "dropout" stream.
            microbatch: Microbatch of gradient accumulation that these images are;
                dropout is drawn for the full batch.

        Returns:
            Logits, float32; and a dict with `features`, the base grid before the last layers,
            `blocks`, the features after every block, from the image on, and `similarities`, [B, N]
            in [-1, 1], of images and `others_NxY`, None without these.

        Raises:
            ValueError: The batch is not a multiple of the minibatch stddev group, the images are
                not the base grid doubled, there are not as many labels as images, or the config is
                that of another network.
            TypeError: Images that are not floating point.
        """
        config = self.config
        if config.network != "stylegan2":
            raise ValueError(
                f"config.network is {config.network}: call make_discriminator instead of this class"
            )
        skip, image = config.architecture == "skip", images_BxHxWxC
        blocks: list[Array] = []
        check_images(image, self.base_grid)
        check_labels(labels_BxY, image.shape[0])
        resolution = max(image.shape[1:3])
        x = self._read_image(image, None, resolution)
        aggregators_BxKxD, context = self._attention(x.shape[0], train, microbatch)

        def apply(block: DiscriminatorBlock, x: Any, aggregators_BxKxD: Any) -> Any:
            return block(x, aggregators_BxKxD, context)

        apply = nn.remat(apply) if self.rematerialize else apply
        while resolution > max(self.base_grid):
            block = DiscriminatorBlock(config, resolution, name=f"block_{resolution}")
            x, aggregators_BxKxD = apply(block, x, aggregators_BxKxD)
            blocks.append(x)
            resolution //= 2
            if skip:
                image = resample.downsample(image, config.resample_filter)
                x = self._read_image(image, x, resolution)
        out = {"features": x, "blocks": tuple(blocks), "similarities": None}
        x_BxC = self._last_features(x, aggregators_BxKxD)
        if labels_BxY is None or not labels_BxY.shape[-1]:
            return EqualizedDense(1, name="output")(x_BxC), out
        read = label_reader(config, x.shape[-1])
        logits_Bx1, out["similarities"] = label_logits(config, x_BxC, read, labels_BxY, others_NxY)
        return logits_Bx1, out

    def _attention(
        self, batch: int, train: bool, microbatch: Microbatch
    ) -> tuple[Float[Array, "b k d"] | None, AttentionContext]:
        """Return the aggregators, None if there are none, and what the blocks share."""
        config, options = self.config, self.config.aggregators
        context, aggregators_BxKxD = AttentionContext(train=train, microbatch=microbatch), None
        if options.count:
            shape = options.count, options.width
            aggregators = self.param("aggregators", jax.random.uniform, shape)
            aggregators_BxKxD = jnp.broadcast_to(aggregators, (batch, *shape))
            if options.positions:
                positions = self.param("latent_positions", jax.random.uniform, shape)
                context = dataclasses.replace(context, position_KxD=positions)
        if config.local_attention_below:
            context = dataclasses.replace(context, local_position_9xD=local_positions(self))
        return aggregators_BxKxD, context

    def _read_image(self, image: Array, x: Array | None, resolution: int) -> Array:
        """Return features of the image at this resolution, added to x if there is one."""
        layer = EqualizedConvolution(
            self.config.channels_at(resolution),
            1,
            activation=True,
            # That of the base grid has no limit in the published code.
            clamp=self.config.clamp if resolution > max(self.base_grid) else None,
            name=f"from_image_{resolution}",
        )
        y = layer(image.astype(self.config.dtype))
        return y if x is None else x + y

    def _last_features(
        self, x: Float[Array, "b h w c"], aggregators_BxKxD: Array | None
    ) -> Float[Array, "b c"]:
        """Return what logits are made of: features of the base grid, and scores of aggregators."""
        config, channels = self.config, x.shape[-1]
        if config.minibatch_stddev_channels:
            x = minibatch_stddev(x, config.minibatch_stddev_group, config.minibatch_stddev_channels)
        last = EqualizedConvolution(
            channels, 3, activation=True, clamp=config.clamp, name="convolution"
        )
        x = last(x)
        x = x.reshape(x.shape[0], math.prod(x.shape[1:])).astype(jnp.float32)
        x = EqualizedDense(channels, activation=True, name="dense")(x)
        if aggregators_BxKxD is not None:
            scores_BxK = AggregatorScores(config, name="aggregator_scores")(aggregators_BxKxD)
            x = jnp.concatenate([x, scores_BxK], 1)
        return x


def make_discriminator(
    config: DiscriminatorConfig,
    base_grid: tuple[int, int] = (4, 4),
    rematerialize: bool = False,
    axis_name: str | None = None,
) -> Discriminator | DCGANDiscriminator | SAGANDiscriminator:
    """Return the discriminator of a config.

    Args:
        config: The discriminator.
        base_grid: Height and width of the last grid: those of the generator's first one.
        rematerialize: Compute each block again for its gradients, which saves memory.
        axis_name: The mapped axis of devices that share the batch, for batch normalization.

    Raises:
        ValueError: `config.network` is unknown.
    """
    networks = {
        "stylegan2": Discriminator,
        "dcgan": functools.partial(DCGANDiscriminator, axis_name=axis_name),
        "sagan": functools.partial(SAGANDiscriminator, axis_name=axis_name),
    }
    network = choose("the discriminator's network", config.network, networks)
    return network(config, base_grid, rematerialize)

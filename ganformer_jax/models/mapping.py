"""Mapping network: normally distributed z to intermediate latents w, one per component.

StyleGAN's mapping network (arXiv 1812.04948, section 2), shared by the components, with attention
among them (arXiv 2103.01209, section 3.2); the global latent has a branch of its own. With a
caption, the components attend to its words too (as in arXiv 1706.03762, section 3.2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig, MappingConfig
from ganformer_jax.models.captions import Caption
from ganformer_jax.nn.attention import BipartiteAttention
from ganformer_jax.nn.initialize import as_uniform
from ganformer_jax.nn.layers import EqualizedDense, rms_normalize
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class ResidualLayer(nn.Module):
    """Two dense layers added to `skip`, then a leaky ReLU."""

    learning_rate_multiplier: float

    @nn.compact
    def __call__(self, x: Array, skip: Array) -> Array:
        """Apply the layer; x and skip are [..., D] and so is the result."""
        multiplier, width = self.learning_rate_multiplier, x.shape[-1]
        dense_0 = EqualizedDense(
            width, activation=True, learning_rate_multiplier=multiplier, name="dense_0"
        )
        dense_1 = EqualizedDense(width, learning_rate_multiplier=multiplier, name="dense_1")
        return nn.leaky_relu(dense_1(dense_0(x)) + skip, 0.2)


class MappingBranch(nn.Module):
    """Hidden layers, optionally with attention among the components, and an output layer.

    Attributes:
        config: Depth, kind and width of the layers.
        width: Width of the output, and of hidden layers whose width the config leaves open.
        attention: Attention among components before every hidden layer, or None. With a caption,
            attention of the same kind to its words follows each.
    """

    config: MappingConfig
    width: int
    attention: BipartiteAttention | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch d"],
        position_KxD: Array | None = None,
        mask_BxK: Array | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
        caption: Caption | None = None,
    ) -> Float[Array, "*batch d2"]:
        """Map the last axis."""
        multiplier = self.config.learning_rate_multiplier
        hidden = self.config.width or self.width
        last_hidden = self.config.last_hidden_width or self.width

        def dense(features: int, name: str) -> EqualizedDense:
            return EqualizedDense(
                features, activation=True, learning_rate_multiplier=multiplier, name=name
            )

        if self.config.residual and x.shape[-1] != self.width:
            # Residual layers keep their width, and z or z with a label may have another.
            x = dense(self.width, "input")(x)
        for index in range(self.config.num_layers):
            skip = x
            if self.attention is not None:
                attend = self.attention.clone(name=f"attention_{index}", parent=self)
                x, _, _ = attend(
                    x,
                    x,
                    position_KxD,
                    position_KxD,
                    mask_BxT=mask_BxK,
                    train=train,
                    microbatch=microbatch,
                )
            if self.attention is not None and caption is not None:
                read = self.attention.clone(name=f"words_{index}", parent=self)
                y, mask = caption.tokens_BxTxD, caption.visible_BxT
                x, _, _ = read(
                    x, y, position_KxD, mask_BxT=mask, train=train, microbatch=microbatch
                )
            if self.config.residual:
                x = ResidualLayer(multiplier, name=f"layer_{index}")(x, skip)
            else:
                last = index == self.config.num_layers - 1
                x = dense(last_hidden if last else hidden, f"layer_{index}")(x)
        return dense(self.width, "output")(x)


class MappingNetwork(nn.Module):
    """z and labels to w."""

    config: GeneratorConfig

    @nn.compact
    def __call__(
        self,
        z_BxKxD: Float[Array, "b k d"],
        labels_BxY: Float[Array, "b y"] | None,
        position_KxD: Float[Array, "k d2"] | None,
        *,
        mask_BxK: Float[Array, "b k"] | None = None,
        caption: Caption | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> Float[Array, "b k d"]:
        """Map the components and, last, the global latent.

        Args:
            z_BxKxD: Normally distributed latents.
            labels_BxY: One-hot labels, conditions or vectors of captions, used where
                `config.label_size` is above 0.
            position_KxD: Trained positions of the components.
            mask_BxK: 0 hides a component from the others' attention.
            caption: Caption to whose words the components attend, if they attend to each other.
            train: Apply attention dropout.
            microbatch: Microbatch of gradient accumulation that these images are;
                dropout is drawn for the full batch.

        Returns:
            w of the components and, last, the global one.
        """
        config, mapping, end = self.config, self.config.mapping, None
        width = mapping.inner_width or config.w_size
        if mapping.inner_width:
            end = EqualizedDense(config.w_size, name="end")
            z_BxKxD = EqualizedDense(width, name="start")(z_BxKxD)
            if position_KxD is not None:
                position_KxD = EqualizedDense(width, name="positions")(position_KxD)
        label_BxD, mapped = self._embed(labels_BxY), []
        if not config.merge.images:
            global_latent = z_BxKxD[:, -1]
            if mapping.normalize_global or not config.components:
                global_latent = rms_normalize(global_latent)
            global_latent = _with_label(global_latent, label_BxD)
            mapped.append(MappingBranch(mapping, width, name="global")(global_latent)[:, None])
        if config.num_local_latents:
            own_BxKxD = z_BxKxD[:, : config.num_local_latents]
            own_BxKxD = rms_normalize(own_BxKxD, (1, 2) if mapping.normalize == "joint" else -1)
            if "components" in config.labeled_branches:
                own_BxKxD = _with_label(own_BxKxD, label_BxD)
            if mapping.shared_width:
                own_BxKxD = self._map_together(own_BxKxD, width)
            else:
                branch = MappingBranch(mapping, width, self._attention(), name="components")
                own_BxKxD = branch(own_BxKxD, position_KxD, mask_BxK, train, microbatch, caption)
            mapped.insert(0, own_BxKxD)
        w_BxKxD = jnp.concatenate(mapped, 1)
        return w_BxKxD if end is None else end(w_BxKxD)

    def _embed(self, labels_BxY: Array | None) -> Float[Array, "b d"] | None:
        """Return the normalized embeddings of labels, or None if the generator has none."""
        config = self.config
        if not config.label_size:
            return None
        assert labels_BxY is not None, "the generator checks its labels"
        labels_BxY = labels_BxY.astype(jnp.float32)
        width = config.mapping.label_width or config.z_size
        return rms_normalize(EqualizedDense(width, name="label_embedding")(labels_BxY))

    def _attention(self) -> BipartiteAttention | None:
        if not self.config.mapping.self_attention:
            return None
        attention = self.config.attention
        return BipartiteAttention(
            heads=attention.heads,
            dropout=attention.dropout,
            gate_x=attention.gate_latents,
            gate_y=attention.gate_latents,
            parent=None,
        )

    def _map_together(self, components_BxKxD: Array, width_out: int) -> Array:
        """Map all components together, as one vector, through layers of `shared_width`."""
        batch, count, size = components_BxKxD.shape
        width = self.config.mapping.shared_width
        joined = EqualizedDense(width, name="join")(components_BxKxD.reshape(batch, count * size))
        mapped = MappingBranch(self.config.mapping, width, name="shared")(joined)
        split = EqualizedDense(count * width_out, name="split")(mapped)
        return split.reshape(batch, count, width_out)


def _with_label(
    latent_xD: Float[Array, "*batch d"], label_BxD: Float[Array, "b d2"] | None
) -> Float[Array, "*batch d3"]:
    """Append the label's embedding, if there is one, to each latent of an image."""
    if label_BxD is None:
        return latent_xD
    label = label_BxD[:, None] if latent_xD.ndim == 3 else label_BxD
    shape = (*latent_xD.shape[:-1], label.shape[-1])
    return jnp.concatenate([latent_xD, jnp.broadcast_to(label, shape)], -1)


def direct_latents(
    config: GeneratorConfig,
    z_BxKxD: Float[Array, "b k d"],
    labels_BxY: Float[Array, "b y"] | None,
) -> Float[Array, "b k d2"]:
    """Return the latents of networks without a mapping network: z, and the label beside it.

    That of a DCGAN is uniform in [-1, 1] (arXiv 1511.06434, section 4).
    """
    latent_BxKxD = as_uniform(z_BxKxD) if config.network == "dcgan" else z_BxKxD
    return _with_label(latent_BxKxD, labels_BxY if config.label_size else None)

"""Mapping network: normally distributed z to intermediate latents w, one per component.

StyleGAN's mapping network (arXiv 1812.04948, section 2), shared by the components, with attention
among them (arXiv 2103.01209, section 3.2); the global latent has a branch of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig, MappingConfig
from ganformer_jax.nn.attention import BipartiteAttention
from ganformer_jax.nn.layers import EqualizedDense, normalize
from ganformer_jax.nn.rows import WHOLE, Rows

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
        attention: Attention among components before every hidden layer, or None.
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
        rows: Rows = WHOLE,
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
                positions = position_KxD, position_KxD
                x, _, _ = attend(x, x, *positions, mask_BxT=mask_BxK, train=train, rows=rows)
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
        train: bool = False,
        rows: Rows = WHOLE,
    ) -> Float[Array, "b k d"]:
        """Map the components and, last, the global latent.

        Args:
            z_BxKxD: Normally distributed latents.
            labels_BxY: One-hot labels or conditions, used where `config.label_size` is above 0.
            position_KxD: Trained positions of the components.
            mask_BxK: 0 hides a component from the others' attention.
            train: Apply attention dropout.
            rows: Which images of the batch that dropout is drawn for these are.

        Returns:
            w of the components and, last, the global one.

        Raises:
            ValueError: The generator is conditional and labels are missing.
        """
        config, mapping = self.config, self.config.mapping
        components, global_latent = z_BxKxD[:, :-1], z_BxKxD[:, -1]
        if mapping.normalize_global or not config.components:
            global_latent = normalize(global_latent)
        if config.label_size:
            if labels_BxY is None:
                raise ValueError(f"this generator needs labels [batch, {config.label_size}]")
            width = mapping.label_width or config.z_size
            embedding = EqualizedDense(width, name="label_embedding")(labels_BxY)
            global_latent = jnp.concatenate([global_latent, normalize(embedding)], -1)
        mapped = MappingBranch(mapping, config.w_size, name="global")(global_latent)[:, None]
        if not config.components:
            return mapped
        components = normalize(components, (1, 2) if mapping.normalize == "joint" else -1)
        if mapping.shared_width:
            mapped_components = self._map_together(components)
        else:
            branch = MappingBranch(mapping, config.w_size, self._attention(), name="components")
            mapped_components = branch(components, position_KxD, mask_BxK, train, rows)
        return jnp.concatenate([mapped_components, mapped], 1)

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

    def _map_together(self, components_BxKxD: Array) -> Array:
        """Map all components together, as one vector, through layers of `shared_width`."""
        batch, count, _ = components_BxKxD.shape
        width = self.config.mapping.shared_width
        joined = EqualizedDense(width, name="join")(components_BxKxD.reshape(batch, -1))
        mapped = MappingBranch(self.config.mapping, width, name="shared")(joined)
        split = EqualizedDense(count * self.config.w_size, name="split")(mapped)
        return split.reshape(batch, count, -1)

"""The state of training a prior as one pytree, and its optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ganformer_jax.config.prior import PriorConfig, PriorOptimizerConfig
from ganformer_jax.models.code_prior import transformer_of
from ganformer_jax.models.codebook import Codebook, new_codebook
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.vq_autoencoder import Decoder, Encoder
from ganformer_jax.nn.initialize import initialize
from ganformer_jax.train.kinds.adam import make_adam

if TYPE_CHECKING:
    from jaxtyping import Array, Int, Key

Tree = Any
WEIGHTS = ("autoencoder", "codebook", "transformer")
"""The fields that samples need."""


class PriorState(flax.struct.PyTreeNode):
    """Argument and result of a step, and content of a checkpoint."""

    autoencoder: dict[str, Tree]
    """Parameters of "encoder" and "decoder"."""
    codebook: Codebook
    discriminator: Tree
    transformer: Tree
    autoencoder_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    transformer_optimizer: optax.OptState
    step: Int[Array, ""]
    """Steps done."""
    images_seen: Int[Array, ""]
    """Real images shown, in both stages."""
    key: Key[Array, ""]
    """Each step folds its number into it; a recovery changes it."""


def weights_of(state: PriorState) -> dict[str, Any]:
    """Return what samples need of a state."""
    return {name: getattr(state, name) for name in WEIGHTS}


def create_prior(config: PriorConfig, key: Key[Array, ""]) -> PriorState:
    """Initialize networks, codebook and optimizers; call it under `jax.jit`."""
    options, width = config.autoencoder, config.codebook.width
    images_1xHxWxC = jnp.zeros((1, *options.image_size, options.image_channels))
    vectors_1xHxWxD = jnp.zeros((1, *options.code_size, width))
    tokens_1xT = jnp.zeros((1, config.longest), jnp.int32)
    state_key, codebook_key, *keys = jax.random.split(key, 6)
    networks = {
        "encoder": (Encoder(options, width), images_1xHxWxC),
        "decoder": (Decoder(options), vectors_1xHxWxD),
        "discriminator": (PatchDiscriminator(config.discriminator), images_1xHxWxC),
        "transformer": (transformer_of(config), tokens_1xT),
    }
    made = {
        name: initialize(network, own, inputs)["params"]
        for own, (name, (network, inputs)) in zip(keys, networks.items(), strict=True)
        if name != "discriminator" or config.loss.adversarial
    }
    autoencoder = {name: made[name] for name in ("encoder", "decoder")}
    discriminator, transformer = made.get("discriminator", {}), made["transformer"]
    first = make_optimizer(config.autoencoder_optimizer)
    return PriorState(
        autoencoder=autoencoder,
        codebook=new_codebook(config.codebook, codebook_key),
        discriminator=discriminator,
        transformer=transformer,
        autoencoder_optimizer=first.init(autoencoder),
        discriminator_optimizer=first.init(discriminator),
        transformer_optimizer=make_optimizer(config.transformer_optimizer).init(transformer),
        step=jnp.zeros((), jnp.int32),
        images_seen=jnp.zeros((), jnp.int32),
        key=state_key,
    )


def make_optimizer(
    options: PriorOptimizerConfig, images_seen: Int[Array, ""] | None = None
) -> optax.GradientTransformation:
    """Make the optimizer of a stage; `images_seen` counts images of the stage, see `make_adam`."""
    return make_adam(options, images_seen, options.weight_decay)

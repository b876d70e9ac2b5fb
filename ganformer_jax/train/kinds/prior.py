"""An autoregressive prior as the training loop trains it (VQGAN, arXiv 2012.09841).

The first `prior.autoencoder_kimg` thousand images train the autoencoder, its codebook and a
discriminator of patches; those that follow train the transformer over codes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganformer_jax import losses
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.models.code_prior import (
    code_logits,
    codes_of,
    cross_entropy,
    encode,
    prefix_tokens,
)
from ganformer_jax.models.codebook import update_codebook
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.vq_autoencoder import (
    Decoder,
    commitment_loss,
    nearest_codes,
    straight_through,
)
from ganformer_jax.nn import resample
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train.binding import bind, check_devices, count_step, reseed
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.adam import apply_gradients, scheduled_rate
from ganformer_jax.train.kinds.prior_state import PriorState, create_prior, make_optimizer
from ganformer_jax.train.trainable import Batch, Info, Trainable, Update

if TYPE_CHECKING:
    from jaxtyping import Array, Float

Tree = Any
LARGEST_BALANCE = 1e4
"""Largest weight that balances the adversarial loss, as in the published code."""

MOST_IMAGES = 2**31 - 1
"""Images that a state can count; a stage that starts behind them never does."""


def prior_trainable(
    config: PriorConfig,
    placement: Placement,
    sample: Callable[[Any, Sequence[int]], np.ndarray],
) -> Trainable:
    """Return what the training loop needs of a prior: one update for each of its stages.

    Args:
        config: The experiment, whose batch divides over the devices.
        placement: The devices.
        sample: See `Trainable.sample`; the state is a `PriorState`.
    """
    count = config.train.batch_size
    check_devices(count, placement)
    shape = (count, *config.autoencoder.image_size, config.autoencoder.image_channels)
    end = 1000 * config.prior.autoencoder_kimg
    start = min(1000 * config.prior.adversarial_kimg, end) if config.loss.adversarial else end

    def stage(name: str, function: Any, from_images: float, until_images: float) -> Update:
        bound = bind(function, config, placement, f"{name}_update")
        return Update(name, bound, from_images=from_images, until_images=until_images)

    stages = [
        stage("autoencoder", functools.partial(autoencoder_update, adversarial=False), 0, start),
        stage("adversarial", functools.partial(autoencoder_update, adversarial=True), start, end),
        stage("transformer", transformer_update, end, math.inf),
    ]
    inputs = {"images": jax.ShapeDtypeStruct(shape, np.uint8)}
    if config.prior.label_size:
        inputs["labels"] = jax.ShapeDtypeStruct((count, config.prior.label_size), np.float32)
    return Trainable(
        init=functools.partial(create_prior, config),
        updates=[update for update in stages if update.from_images < update.until_images],
        batch=inputs,
        sample=sample,
        reseed=reseed,
    )


def trains_transformer(config: PriorConfig, images_seen: int) -> bool:
    """Return whether the transformer has been trained after this number of images.

    The last step of the autoencoder may end behind `prior.autoencoder_kimg`.
    """
    return images_seen - config.train.batch_size >= 1000 * config.prior.autoencoder_kimg


def autoencoder_update(
    config: PriorConfig,
    parallel: DataParallel,
    state: PriorState,
    batch: Batch,
    *,
    adversarial: bool,
) -> tuple[PriorState, Info]:
    """Update encoder, decoder and codebook, then the discriminator, and count the step.

    Args:
        config: The experiment.
        parallel: Data parallelism over the devices; without a mapped axis.
        state: State before the step.
        batch: `images`, uint8 [B, H, W, C].
        adversarial: Whether the discriminator takes part.

    Returns:
        The new state, and float32 scalars by name.
    """
    optimizer = make_optimizer(config.autoencoder_optimizer, state.images_seen)
    step = functools.partial(apply_gradients, optimizer)
    reals = from_uint8(batch["images"])
    loss = functools.partial(_autoencoder_loss, config, parallel, state, reals, adversarial)
    (_, (out, info)), gradients = jax.value_and_grad(loss, has_aux=True)(state.autoencoder)
    state, info["gradient_norm/autoencoder"] = step(
        state, network="autoencoder", memory="autoencoder_optimizer", gradients=gradients
    )
    info |= scheduled_rate(config.autoencoder_optimizer, state.images_seen)
    key = jax.random.fold_in(state.key, state.step)
    codebook = update_codebook(config.codebook, state.codebook, out["vectors"], out["codes"], key)
    if adversarial:
        loss = functools.partial(_discriminator_loss, config, parallel, reals, out["images"])
        (_, more), gradients = jax.value_and_grad(loss, has_aux=True)(state.discriminator)
        state, more["gradient_norm/discriminator"] = step(
            state, network="discriminator", memory="discriminator_optimizer", gradients=gradients
        )
        info |= more
    return count_step(state.replace(codebook=codebook), len(reals)), info


def transformer_update(
    config: PriorConfig, parallel: DataParallel, state: PriorState, batch: Batch
) -> tuple[PriorState, Info]:
    """Update the transformer on the codes of images, and count the step.

    Args:
        config: The experiment.
        parallel: Data parallelism over the devices; without a mapped axis.
        state: State before the step.
        batch: `images`, uint8 [B, H, W, C], and, of a conditional prior, `labels`, float32
            [B, Y].

    Returns:
        The new state, and float32 scalars by name.
    """
    start = min(1000 * config.prior.autoencoder_kimg, MOST_IMAGES)
    stage_images = state.images_seen - round(start)
    optimizer = make_optimizer(config.transformer_optimizer, stage_images)
    params, entries = parallel.replicate_params((state.autoencoder, state.codebook.entries))
    codes_BxT = codes_of(config, params, entries, from_uint8(batch["images"]))
    codes_BxT = parallel.constrain_batch(codes_BxT)
    prefix_BxT = prefix_tokens(config, batch.get("labels"), len(codes_BxT))

    def loss(params: Tree) -> Float[Array, ""]:
        logits = code_logits(config, parallel.replicate_params(params), prefix_BxT, codes_BxT)
        return cross_entropy(logits, codes_BxT).mean()

    value, gradients = jax.value_and_grad(loss)(state.transformer)
    state, norm = apply_gradients(
        optimizer,
        state,
        network="transformer",
        memory="transformer_optimizer",
        gradients=gradients,
    )
    info = {"loss/bits": value / jnp.log(2), "gradient_norm/transformer": norm}
    info |= scheduled_rate(config.transformer_optimizer, stage_images)
    return count_step(state, len(codes_BxT)), info


def _autoencoder_loss(
    config: PriorConfig,
    parallel: DataParallel,
    state: PriorState,
    reals: Float[Array, "b h w c"],
    adversarial: bool,
    params: dict[str, Tree],
) -> tuple[Array, tuple[dict[str, Array], Info]]:
    """Return the loss of encoder and decoder, what the rest of the step needs, and what to log."""
    whole, weights = parallel.replicate_params(params), config.loss
    vectors = parallel.constrain_batch(encode(config, whole, reals))
    book = parallel.replicate_params(state.codebook.entries)
    codes = nearest_codes(vectors, book)
    entries = book[codes]
    passed, decoder = straight_through(vectors, entries), Decoder(config.autoencoder)
    decoded: Any = decoder.apply({"params": whole["decoder"]}, passed)
    images, features = parallel.constrain_batch(decoded)

    def reconstruction(images: Array) -> tuple[Array, Info]:
        pixel = jnp.abs(images - reals).mean()
        pyramid = losses.laplacian_distance(images, reals).mean()
        total = weights.pixel * pixel + weights.pyramid * pyramid
        return total, {"loss/pixel": pixel, "loss/pyramid": pyramid}

    info: Info = {"loss/commitment": commitment_loss(vectors, entries)}
    if adversarial:
        # The gradients of both losses at the images, to balance them at the last convolution.
        critic = parallel.replicate_params(state.discriminator)
        fixed, kernel = lax.stop_gradient((images, whole["decoder"]["to_image"]["kernel"]))
        (_, more), slopes = jax.value_and_grad(reconstruction, has_aux=True)(fixed)
        deceive = functools.partial(_generator_loss, config, critic)
        info["loss/generator"], other_slopes = jax.value_and_grad(deceive)(fixed)
        balance = balance_of(lax.stop_gradient(features), kernel, slopes, other_slopes)
        info |= more | {"loss/balance": balance}
        slopes += weights.adversarial * balance * other_slopes
        total = jnp.sum(images * lax.stop_gradient(slopes))  # its gradient is that of the losses
    else:
        total, more = reconstruction(images)
        info |= more
    total += weights.commitment * info["loss/commitment"]
    out = {"images": images, "vectors": vectors, "codes": codes}
    return total, (lax.stop_gradient(out), info)


def balance_of(
    features: Float[Array, "b h w c"],
    kernel: Float[Array, "h w i o"],
    slopes: Float[Array, "b h w o"],
    other_slopes: Float[Array, "b h w o"],
) -> Float[Array, ""]:
    """Return how much larger one loss's gradient at a convolution is than another's (equation 7).

    Args:
        features: What the convolution reads.
        kernel: Its kernel, [H, W, I, O].
        slopes: Gradient of the one loss at its output.
        other_slopes: That of the other.
    """
    convolve = functools.partial(resample.convolve, features.astype(jnp.float32))
    gradient = jax.vjp(convolve, kernel)[1]
    one, other = (jnp.linalg.norm(gradient(each)[0]) for each in (slopes, other_slopes))
    return jnp.clip(one / (other + 1e-4), 0, LARGEST_BALANCE)


def _generator_loss(
    config: PriorConfig, critic: Tree, fakes: Float[Array, "b h w c"]
) -> Float[Array, ""]:
    """Return the adversarial loss of reconstructions, for the discriminator's parameters."""
    return losses.hinge_generator(_logits(config, critic, fakes)).mean()


def _discriminator_loss(
    config: PriorConfig,
    parallel: DataParallel,
    reals: Float[Array, "b h w c"],
    fakes: Float[Array, "b h w c"],
    params: Tree,
) -> tuple[Array, Info]:
    """Return the loss of the discriminator, and what to log."""
    whole = parallel.replicate_params(params)
    real, fake = _logits(config, whole, reals), _logits(config, whole, fakes)
    loss = losses.hinge_discriminator(real, fake).mean()
    return loss, {
        "loss/discriminator": loss,
        "logits/real": real.mean(),
        "logits/fake": fake.mean(),
    }


def _logits(config: PriorConfig, params: Tree, images: Array) -> Float[Array, "p 1"]:
    """Return the logits of all patches of all images in one column."""
    logits: Any = PatchDiscriminator(config.discriminator).apply({"params": params}, images)
    return logits.reshape(-1, 1)

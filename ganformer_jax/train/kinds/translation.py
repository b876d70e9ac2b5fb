"""Unpaired translation as the training loop trains it (CycleGAN, arXiv 1703.10593).

Two generators, from the source to the target and back, and a discriminator of either set.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ganformer_jax import losses
from ganformer_jax.augment.crop import random_crop
from ganformer_jax.config.translation import TranslationConfig, TranslatorConfig
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.translator import Translator
from ganformer_jax.nn.initialize import initialize
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train.binding import bind, check_devices, count_step, reseed
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.adam import apply_gradients, make_adam, scheduled_rate
from ganformer_jax.train.kinds.image_pool import exchange
from ganformer_jax.train.trainable import Batch, Info, Trainable, Update

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

Tree = Any
SETS: tuple[str, str] = ("source", "target")
"""The sets of images. A generator is named after the set that it makes, a discriminator after the
set whose images it tells from translations."""
OTHER = {"source": "target", "target": "source"}
POOL_INDEX, CROP_INDEX, DROPOUT_INDEX = 2, 4, 6
"""Folded into the key of a step: for the pool and for the crops of "source", where "target" has the
next number, and for attention dropout, of which each translation of the step has the next number.
With other numbers, runs would draw other values."""


class TranslationState(flax.struct.PyTreeNode):
    """Argument and result of a step, and content of a checkpoint."""

    generators: dict[str, Tree]
    """Parameters by the set that a generator makes: "target" is from source to target."""
    discriminators: dict[str, Tree]
    """Parameters by the set whose images a discriminator tells from translations."""
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    pools: dict[str, Float[Array, "m h w c"]]
    """Past translations into either set, in [-1, 1]; no arrays if `loss.pool` is 0."""
    step: Int[Array, ""]
    """Steps done."""
    images_seen: Int[Array, ""]
    """Images of the source that were shown, and as many of the target."""
    key: Key[Array, ""]
    """Each step folds its number into it; a recovery changes it."""


def create_translation(config: TranslationConfig, key: Key[Array, ""]) -> TranslationState:
    """Initialize networks, optimizers and pools; call it under `jax.jit`."""
    size = (*config.generator.image_size, config.generator.image_channels)
    images_1xHxWxC, (state_key, *keys) = jnp.zeros((1, *size)), jax.random.split(key, 5)
    networks = [Translator(config.generator)] * 2 + [PatchDiscriminator(config.discriminator)] * 2
    made = [
        initialize(network, key, images_1xHxWxC)["params"]
        for network, key in zip(networks, keys, strict=True)
    ]
    generators = dict(zip(SETS, made[:2], strict=True))
    discriminators = dict(zip(SETS, made[2:], strict=True))
    optimizer = make_adam(config.optimizer)
    return TranslationState(
        generators=generators,
        discriminators=discriminators,
        generator_optimizer=optimizer.init(generators),
        discriminator_optimizer=optimizer.init(discriminators),
        pools={name: jnp.zeros((config.loss.pool, *size)) for name in SETS if config.loss.pool},
        step=jnp.zeros((), jnp.int32),
        images_seen=jnp.zeros((), jnp.int32),
        key=state_key,
    )


def translate(
    config: TranslatorConfig,
    params: Tree,
    images_BxHxWxC: Float[Array, "b h w c"],
    dropout: Key[Array, ""] | None = None,
) -> Float[Array, "b h w c"]:
    """Translate images in [-1, 1]; a key applies attention dropout."""
    rngs = None if dropout is None else {"dropout": dropout}
    images, _ = Translator(config).apply(
        {"params": params}, images_BxHxWxC, train=dropout is not None, rngs=rngs
    )
    return images


def translation_trainable(
    config: TranslationConfig,
    placement: Placement,
    sample: Callable[[Any, Sequence[int]], np.ndarray],
) -> Trainable:
    """Return what the training loop needs of a translation.

    Args:
        config: The experiment, whose batch divides over the devices.
        placement: The devices.
        sample: See `Trainable.sample`; the state is a `TranslationState`.
    """
    count = config.train.batch_size
    check_devices(count, placement)
    shape = (count, *config.generator.image_size, config.generator.image_channels)
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    return Trainable(
        init=functools.partial(create_translation, config),
        updates=[Update("translation", bind(translation_update, config, placement))],
        batch={"images": images, "targets": images},
        sample=sample,
        reseed=reseed,
    )


def translation_update(
    config: TranslationConfig, parallel: DataParallel, state: TranslationState, batch: Batch
) -> tuple[TranslationState, Info]:
    """Update both generators, then both discriminators, and count the step.

    Args:
        config: The experiment.
        parallel: Data parallelism over the devices; without a mapped axis.
        state: State before the step.
        batch: `images` of the source and `targets`, uint8 [B, H, W, C].

    Returns:
        The new state, and float32 scalars by name.
    """
    step = functools.partial(apply_gradients, make_adam(config.optimizer, state.images_seen))
    key = jax.random.fold_in(state.key, state.step)
    reals = cropped_reals(config, parallel, batch, key)

    losses_of = functools.partial(_generators_loss, config, parallel, state, reals, key)
    (_, (fakes, info)), gradients = jax.value_and_grad(losses_of, has_aux=True)(state.generators)
    moved, info["gradient_norm/generator"] = step(
        state, network="generators", memory="generator_optimizer", gradients=gradients
    )

    pools, shown = {}, dict(fakes)
    for number, name in enumerate(SETS if config.loss.pool else ()):
        pool_key = jax.random.fold_in(key, POOL_INDEX + number)
        whole = parallel.gather_batch(fakes[name])
        # A pool that the mesh divides is gathered once, not for each image of the batch.
        pool = parallel.replicate_params(state.pools[name])
        exchanged = exchange(pool, state.images_seen, whole, pool_key)
        pools[name], kept = parallel.replicate_params(exchanged)
        shown[name] = parallel.constrain_batch(kept)
    losses_of = functools.partial(_discriminators_loss, config, parallel, reals, shown)
    (_, more), gradients = jax.value_and_grad(losses_of, has_aux=True)(state.discriminators)
    moved, more["gradient_norm/discriminator"] = step(
        moved, network="discriminators", memory="discriminator_optimizer", gradients=gradients
    )
    more |= scheduled_rate(config.optimizer, state.images_seen)
    return count_step(moved.replace(pools=pools), len(batch["images"])), info | more


FIELDS = ("images", "targets")
"""Arrays of a batch, in the order of `SETS`."""


def cropped_reals(
    config: TranslationConfig, parallel: DataParallel, batch: Batch, key: Key[Array, ""]
) -> dict[str, Array]:
    """Return the images of both sets, cropped at random; those of a pair at the same place.

    In [-1, 1], as the translators make them: enlarging overshoots at edges.
    """
    reals = {name: from_uint8(batch[field]) for name, field in zip(SETS, FIELDS, strict=True)}
    if not config.data.enlarge:
        return reals
    for number, name in enumerate(SETS):
        crop_key = jax.random.fold_in(key, CROP_INDEX + number * (not config.data.paired))
        crops_BxHxWxC = random_crop(reals[name], crop_key, config.data.enlarge)
        reals[name] = parallel.constrain_batch(jnp.clip(crops_BxHxWxC, -1.0, 1.0))
    return reals


def _generators_loss(
    config: TranslationConfig,
    parallel: DataParallel,
    state: TranslationState,
    reals: Mapping[str, Array],
    key: Key[Array, ""],
    params: dict[str, Tree],
) -> tuple[Array, tuple[dict[str, Array], Info]]:
    """Return the loss of both generators (equation 3), their translations, and what to log."""
    whole, weights = parallel.replicate_params(params), config.loss
    numbers = itertools.count(DROPOUT_INDEX)

    def make(name: str, images: Array) -> Array:
        drops = config.generator.attention.dropout
        dropout = jax.random.fold_in(key, next(numbers)) if drops else None
        return parallel.constrain_batch(translate(config.generator, whole[name], images, dropout))

    fakes = {name: make(name, reals[OTHER[name]]) for name in SETS}
    critics = parallel.replicate_params(state.discriminators)
    logits = [_logits(config, critics[name], fakes[name]) for name in SETS]
    info: Info = {"loss/generator": _total(jnp.square(each - 1).mean() for each in logits)}
    total = info["loss/generator"]
    if weights.cycle:
        back = [_distance(make(name, fakes[OTHER[name]]), reals[name]) for name in SETS]
        info["loss/cycle"] = _total(back)
        total += weights.cycle * info["loss/cycle"]
        if weights.identity:
            same = [_distance(make(name, reals[name]), reals[name]) for name in SETS]
            info["loss/identity"] = _total(same)
            total += weights.cycle * weights.identity * info["loss/identity"]
    if weights.paired:
        info["loss/paired"] = _total(_distance(fakes[name], reals[name]) for name in SETS)
        total += weights.paired * info["loss/paired"]
    return total, (lax.stop_gradient(fakes), info)


def _discriminators_loss(
    config: TranslationConfig,
    parallel: DataParallel,
    reals: Mapping[str, Array],
    fakes: Mapping[str, Array],
    params: dict[str, Tree],
) -> tuple[Array, Info]:
    """Return the loss of both discriminators, least squares, and what to log."""
    whole, total, real, fake = parallel.replicate_params(params), jnp.zeros(()), [], []
    for name in SETS:
        real.append(_logits(config, whole[name], reals[name]))
        fake.append(_logits(config, whole[name], fakes[name]))
        total += losses.least_squares_discriminator(real[-1], fake[-1]).mean()
    info = {"loss/discriminator": total}
    info |= {"logits/real": jnp.stack(real).mean(), "logits/fake": jnp.stack(fake).mean()}
    return total, info


def _logits(config: TranslationConfig, params: Tree, images: Array) -> Array:
    """Return the logits of all patches of all images in one column."""
    discriminator = PatchDiscriminator(config.discriminator)
    logits: Any = discriminator.apply({"params": params}, images)
    return logits.reshape(-1, 1)


def _total(losses_of_sets: Iterable[Array]) -> Array:
    return functools.reduce(jnp.add, losses_of_sets)


def _distance(a: Array, b: Array) -> Array:
    """Return the mean L1 distance."""
    return jnp.abs(a - b).mean()

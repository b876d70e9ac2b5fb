"""GANformer2 as the training loop trains it (arXiv 2111.08960): planning and execution.

Both stages are updated in every step. Planning learns from real layouts. Execution makes images
from the layouts of the batch and, once both are trained together, from planned ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ganformer_jax import losses
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.train.averaging import moved_average
from ganformer_jax.train.binding import bind, check_devices, count_step, reseed
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.adam import apply_gradients, make_adam, scheduled_rate
from ganformer_jax.train.kinds.ganformer2_scenes import Scenes, generate_scenes, real_scenes
from ganformer_jax.train.kinds.ganformer2_state import (
    GANformer2State,
    Tree,
    create_ganformer2,
    make_networks,
)
from ganformer_jax.train.trainable import Batch, Info, Trainable, Update

if TYPE_CHECKING:
    from jaxtyping import Array, Key

Result = tuple[GANformer2State, Info]
EMA_RAMPUP = 0.05
"""Longest half-life of the averages, as a share of the images seen."""


def ganformer2_trainable(
    config: GANformer2Config,
    placement: Placement,
    sample: Callable[[Any, Sequence[int]], np.ndarray],
) -> Trainable:
    """Return what the training loop needs of a GANformer2.

    Args:
        config: The experiment, whose batch divides over the devices.
        placement: The devices.
        sample: See `Trainable.sample`; the state is a `GANformer2State`.
    """
    count, interval = config.train.batch_size, config.loss.penalty_interval
    check_devices(count, placement)
    size, channels = config.execution.resolution, config.execution.image_channels
    updates = [Update("ganformer2", bind(ganformer2_update, config, placement))]
    if interval and (config.loss.layout_gamma or config.loss.image_gamma):
        penalty = bind(discriminator_penalty_update, config, placement)
        updates.insert(0, Update("penalty", penalty, interval))
    return Trainable(
        init=functools.partial(create_ganformer2, config),
        updates=updates,
        batch={
            "images": jax.ShapeDtypeStruct((count, size, size, channels), np.uint8),
            "layouts": jax.ShapeDtypeStruct((count, size, size), np.uint8),
        },
        sample=sample,
        reseed=reseed,
    )


def ganformer2_update(
    config: GANformer2Config, parallel: DataParallel, state: GANformer2State, batch: Batch
) -> Result:
    """Update both generators, then the discriminators and the reader, and count the step.

    Args:
        config: The experiment.
        parallel: Data parallelism over the devices; without a mapped axis.
        state: State before the step.
        batch: `images`, uint8 [B, H, W, C], and `layouts`, their labels, uint8 [B, H, W].

    Returns:
        The new state, and float32 scalars by name.
    """
    key = jax.random.fold_in(state.key, state.step)
    reals = real_scenes(config, parallel, batch, key)

    losses_of = functools.partial(_generators_loss, config, parallel, state, reals, key)
    (_, (fakes, info)), gradients = jax.value_and_grad(losses_of, has_aux=True)(state.generators)
    step = functools.partial(apply_gradients, make_adam(config.optimizer, state.images_seen))
    state, info["gradient_norm/generator"] = step(
        state, network="generators", memory="generator_optimizer", gradients=gradients
    )

    losses_of = functools.partial(_discriminators_loss, config, parallel, reals, fakes)
    (_, more), gradients = jax.value_and_grad(losses_of, has_aux=True)(state.discriminators)
    state, more["gradient_norm/discriminator"] = step(
        state, network="discriminators", memory="discriminator_optimizer", gradients=gradients
    )

    more |= scheduled_rate(config.optimizer, state.images_seen)
    count = len(batch["images"])
    ema = moved_average(
        state.ema,
        state.generators,
        count=count,
        half_life=jnp.asarray(1000 * config.optimizer.ema_kimg),
        images_seen=state.images_seen,
        rampup=EMA_RAMPUP,
    )
    return count_step(state.replace(ema=ema), count), info | more


def discriminator_penalty_update(
    config: GANformer2Config, parallel: DataParallel, state: GANformer2State, batch: Batch
) -> Result:
    """Apply R1 and R2 (arXiv 1801.04406) to both discriminators, multiplied by the interval.

    Logits of images and of segments have a penalty each, weighted as their losses are, as gradients
    of their sum could cancel. A penalty without weight is not computed.
    """
    key = jax.random.fold_in(state.key, state.step)
    reals = real_scenes(config, parallel, batch, key)
    fakes, _ = lax.stop_gradient(
        generate_scenes(
            config, parallel, state, parallel.replicate_params(state.generators), reals, key
        )
    )
    networks, loss = make_networks(config), config.loss

    def penalty_of(params: dict[str, Tree]) -> tuple[Array, Info]:
        whole = parallel.replicate_params(params)

        def layout_logits(layouts: Array) -> Array:
            return networks.layouts.apply({"params": whole["layouts"]}, layouts)[0]  # type: ignore

        def image_logits(layout: Array, of_segments: bool, images: Array) -> Array:
            logits: Any = networks.images.apply({"params": whole["images"]}, images, layout)
            present = (logits[2] > 0).astype(jnp.float32)
            mean = (logits[1] * present).sum(1) / jnp.maximum(present.sum(1), 1.0)
            return mean[:, None] if of_segments else logits[0]

        gammas = {"layouts": loss.layout_gamma, "images": loss.image_gamma}
        found = {name: jnp.zeros(()) for name, gamma in gammas.items() if gamma}
        heads = {False: 1.0} | ({True: loss.fidelity} if loss.fidelity else {})
        for scenes in (reals, fakes):
            if "layouts" in found:
                penalty_B = losses.r1_penalty(layout_logits, scenes.seen_BxHxWxK)
                found["layouts"] += penalty_B.mean()
            for of_segments, weight in heads.items() if "images" in found else ():
                logits_of = functools.partial(image_logits, scenes.layout_BxHxWxK, of_segments)
                penalty_B = losses.r1_penalty(logits_of, scenes.images_BxHxWxC)
                found["images"] += weight * penalty_B.mean()
        total = sum((gammas[name] * value for name, value in found.items()), jnp.zeros(()))
        info = {f"loss/penalty_{name}": value for name, value in found.items()}
        return loss.penalty_interval * total / 2, info

    (_, info), gradients = jax.value_and_grad(penalty_of, has_aux=True)(state.discriminators)
    state, _ = apply_gradients(
        make_adam(config.optimizer, state.images_seen),
        state,
        network="discriminators",
        memory="discriminator_optimizer",
        gradients=gradients,
    )
    return state, info


def _generators_loss(
    config: GANformer2Config,
    parallel: DataParallel,
    state: GANformer2State,
    reals: Scenes,
    key: Key[Array, ""],
    params: dict[str, Tree],
) -> tuple[Array, tuple[Scenes, Info]]:
    """Return the loss of planning and execution, the scenes that they made, and what to log."""
    options, networks = config.loss, make_networks(config)
    fakes, info = generate_scenes(
        config, parallel, state, parallel.replicate_params(params), reals, key
    )
    critics = parallel.replicate_params(state.discriminators)
    real, fake = (_logits(config, critics, scenes) for scenes in (reals, fakes))
    for name in ("layouts", "images"):
        loss = losses.relativistic_generator(real[name], fake[name]).mean()
        info[f"loss/generator_{name}"] = loss
    total = info["loss/generator_layouts"] + info["loss/generator_images"]
    if options.fidelity:
        fidelity = losses.segment_fidelity(fake["segments"], fake["areas"], real=True).mean()
        info["loss/fidelity"] = fidelity
        total += options.fidelity * fidelity
    if options.matching:
        read: Any = networks.reader.apply({"params": critics["reader"]}, fakes.images_BxHxWxC)
        info["loss/matching"] = losses.layout_matching(read, fakes.layout_BxHxWxK).mean()
        total += options.matching * info["loss/matching"]
    info["loss/generator"] = total
    return total, (lax.stop_gradient(fakes), info)


def _discriminators_loss(
    config: GANformer2Config,
    parallel: DataParallel,
    reals: Scenes,
    fakes: Scenes,
    params: dict[str, Tree],
) -> tuple[Array, Info]:
    """Return the loss of the discriminators and of the reader, and what to log."""
    options, whole, networks = config.loss, parallel.replicate_params(params), make_networks(config)
    real, fake = (_logits(config, whole, scenes) for scenes in (reals, fakes))
    info: Info = {}
    for name in ("layouts", "images"):
        loss = losses.relativistic_discriminator(real[name], fake[name]).mean()
        info[f"loss/discriminator_{name}"] = loss
        info[f"logits/real_{name}"] = real[name].mean()
        info[f"logits/fake_{name}"] = fake[name].mean()
    total = info["loss/discriminator_layouts"] + info["loss/discriminator_images"]
    if options.fidelity:
        fidelity = losses.segment_fidelity(real["segments"], real["areas"], real=True)
        fidelity += losses.segment_fidelity(fake["segments"], fake["areas"], real=False)
        info["loss/discriminator_fidelity"] = fidelity.mean()
        total += options.fidelity * info["loss/discriminator_fidelity"]
    info["loss/discriminator"] = total
    if options.matching:
        read: Any = networks.reader.apply({"params": whole["reader"]}, reals.images_BxHxWxC)
        info["loss/reader"] = losses.layout_matching(read, reals.layout_BxHxWxK).mean()
        total += info["loss/reader"]
    return total, info


def _logits(config: GANformer2Config, params: dict[str, Tree], scenes: Scenes) -> dict[str, Array]:
    """Return the logits of layouts, images and segments, and the areas of the latter."""
    networks = make_networks(config)
    layouts: Any = networks.layouts.apply({"params": params["layouts"]}, scenes.seen_BxHxWxK)
    images: Any = networks.images.apply(
        {"params": params["images"]}, scenes.images_BxHxWxC, scenes.layout_BxHxWxK
    )
    names = "images", "segments", "areas"
    return {"layouts": layouts[0], **dict(zip(names, images, strict=True))}

"""Train tiny networks with every loss at many learning rates and penalties, and map what works.

Command:   python benchmarks/stability.py --data FOLDER_OF_SCENES --out runs/stability
Cost:      about four hours on one CPU core; another command may do other losses beside it
           (`--losses`)

All runs train on the same batches of scenes averaged down to 16x16, the learning rate a part of the
optimizers' state, so that one program serves all rates and seeds of a loss and a gamma. Gamma
weighs R1; R1 and R2 for the relativistic loss; WGAN-GP's penalty for the Wasserstein loss. What is
done already is kept.

A run has diverged if a number is not finite or its images vary more than ten times as much as real
ones, and collapsed if they vary less than a tenth as much, on average over its last quarter.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganformer_jax import (
    Config,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    LossConfig,
    MappingConfig,
    Optimizers,
    SynthesisConfig,
    TrainConfig,
    create_state,
    due_updates,
    gan_updates,
)
from ganformer_jax.data.batches import open_dataset
from ganformer_jax.errors import UserError
from ganformer_jax.files import write_atomically
from ganformer_jax.metrics import sliced_wasserstein
from ganformer_jax.pixels import to_uint8

RATES = (2.5e-4, 8e-4, 2.5e-3, 8e-3, 2.5e-2)
GAMMAS, PENALTIES = (0.03, 0.3, 3.0), (0.1, 1.0, 10.0)  # of R1, and of WGAN-GP
SEEDS = (0, 1, 2)
GENERATOR_LOSS = {"logistic": "non_saturating", "hinge": "hinge", "wgan": "wgan"}
LOSSES = (*GENERATOR_LOSS, "least_squares", "relativistic")
BATCH, SIDE, INTERVAL = 32, 16, 16


def config_of(loss: str, gamma: float) -> Config:
    """Return a GANformer of some ten thousand parameters."""
    options: dict[str, Any] = {"generator": GENERATOR_LOSS.get(loss, loss), "discriminator": loss}
    options["r1_gamma"] = gamma
    if loss == "wgan":
        options |= {"r1_gamma": 0.0, "gradient_penalty_weight": gamma}
    if loss == "relativistic":
        options["r2_gamma"] = gamma
    return Config(
        generator=GeneratorConfig(
            resolution=SIDE,
            components=4,
            latent_size=64,
            attention_resolutions=(4, 16),
            mapping=MappingConfig(num_layers=2),
            synthesis=SynthesisConfig(channel_base=256, channel_max=16),
        ),
        discriminator=DiscriminatorConfig(
            channel_base=256,
            channel_max=16,
            # WGAN-GP's penalty is on single images, which minibatch-stddev mixes.
            minibatch_stddev_channels=0 if loss == "wgan" else 1,
        ),
        loss=dataclasses.replace(LossConfig(style_mixing=0.0, r1_interval=INTERVAL), **options),
        train=TrainConfig(batch_size=BATCH),
    )


def optimizers(config: Config, rate: float = 0.0) -> Optimizers:
    """Return Adam whose learning rate is part of its state, corrected for lazy regularization."""
    ratio = INTERVAL / (INTERVAL + 1)
    adam = functools.partial(
        optax.inject_hyperparams(optax.adam, static_args=("b1", "eps")), b1=0.0, eps=1e-8
    )
    beta2 = config.optimizer.beta2
    return Optimizers(
        adam(learning_rate=rate, b2=beta2), adam(learning_rate=rate * ratio, b2=beta2**ratio)
    )


def batches(images: np.ndarray, seed: int = 0) -> Iterator[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    while True:
        yield {"images": images[random.integers(0, len(images), BATCH)]}


def train(config: Config, images: np.ndarray, held_out: np.ndarray, kimg: float) -> dict[str, Any]:
    """Train one run for each learning rate and seed; return what became of each."""
    make = jax.jit(lambda rate, key: create_state(config, key, optimizers(config, rate)))
    updates = [
        dataclasses.replace(update, function=jax.jit(update.function, donate_argnums=0))
        for update in gan_updates(config, optimizers=optimizers(config))
    ]
    draw = jax.jit(functools.partial(sample, config))
    found: dict[str, Any] = {"lanes": [], "finite": [], "diversity": [], "swd": []}
    for rate, seed in itertools.product(RATES, SEEDS):
        state, diversities, steps = make(rate, jax.random.key(seed)), [], int(kimg * 1000 / BATCH)
        for step, batch in zip(range(steps), batches(images), strict=False):
            info: dict[str, jax.Array] = {}
            for update in due_updates(updates, step):
                state, more = update.function(state, batch)
                info |= more
            if step >= steps * 3 // 4:
                diversities.append(info["diversity/generated"])
            if step % 100 == 99 and not finite(state):
                break
        found["lanes"].append((rate, seed))
        found["finite"].append(finite(state))
        found["diversity"].append(float(np.mean(diversities)) if diversities else math.nan)
        found["swd"].append(swd(np.asarray(draw(state)), held_out))
    return found


@jax.jit
def all_finite(arrays: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in arrays]).all()


def finite(state: Any) -> bool:
    """Return whether no weight and no moment of the optimizers is NaN or infinite."""
    leaves = jax.tree.leaves(state)
    return bool(all_finite([x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]))


def sample(config: Config, state: Any, count: int = 500) -> jax.Array:
    shape = (count, config.generator.num_latents, config.generator.z_size)
    z_BxKxD = jax.random.normal(jax.random.key(7), shape)
    images, _ = Generator(config.generator).apply(
        state.generator_variables(), z_BxKxD, noise="none"
    )
    return to_uint8(images)


def swd(samples: np.ndarray, held_out: np.ndarray) -> float:
    distances = sliced_wasserstein(held_out[: len(samples)], samples, jax.random.key(0))
    return float(np.mean(list(distances.values())))


def outcome(finite: bool, diversity: float) -> str:
    if not finite or not np.isfinite(diversity) or diversity > 10:
        return "diverged"
    return "collapsed" if diversity < 0.1 else "works"


def table(results: dict[tuple[str, float], dict[str, Any]]) -> str:
    """Return, for each loss and gamma, the runs of each learning rate that work, and their SWD."""
    lines = [f"| loss | gamma | {' | '.join(f'{rate:g}' for rate in RATES)} |"]
    lines.append("| --- " * (len(RATES) + 2) + "|")
    for (loss, gamma), found in results.items():
        cells = []
        for rate in RATES:
            runs = [i for i, (one, _) in enumerate(found["lanes"]) if one == rate]
            good = [
                i for i in runs if outcome(found["finite"][i], found["diversity"][i]) == "works"
            ]
            median = f" ({np.median([found['swd'][i] for i in good]):.0f})" if good else ""
            cells.append(f"{len(good)}/{len(runs)}{median}")
        lines.append(f"| {loss} | {gamma:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def scenes(folder: str, split: str, count: int) -> np.ndarray:
    """Return scenes averaged down to 16x16."""
    source = open_dataset(folder, "data", size=(32, 32), split=split)
    images = np.stack([source[index]["images"] for index in range(min(count, len(source)))])
    squares = images.reshape(len(images), SIDE, 2, SIDE, 2, 3).mean((2, 4))
    return np.round(squares).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of scenes of 32x32 pixels")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--losses", nargs="*", default=list(LOSSES))
    parser.add_argument("--gammas", type=float, nargs="*", help="by default two decades")
    parser.add_argument("--kimg", type=float, default=20.0)
    options = parser.parse_args()
    try:
        images = scenes(options.data, "train", 20_000)
        held_out = scenes(options.data, "test", 500)
    except UserError as error:
        sys.exit(f"error: {error}")
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for loss in options.losses:
        for gamma in options.gammas or (PENALTIES if loss == "wgan" else GAMMAS):
            path = options.out / f"{loss}-{gamma:g}.json"
            if not path.exists():
                began = time.perf_counter()
                found = train(config_of(loss, gamma), images, held_out, options.kimg)
                found |= {"kimg": options.kimg, "seconds": time.perf_counter() - began}
                write_atomically(path, json.dumps(found))
            results[loss, gamma] = json.loads(path.read_text())
            if results[loss, gamma].get("kimg", options.kimg) != options.kimg:
                sys.exit(f"{path} is of another --kimg: choose another --out, or remove it")
            print(f"{loss} {gamma:g}: {results[loss, gamma]['seconds']:.0f} s", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()

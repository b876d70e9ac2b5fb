"""Time how long a prior takes to draw the codes of images, with cached keys and values and without.

Command:   python benchmarks/prior_sampling.py [--config scenes_prior] [--batches 1 16 64]
Cost:      a few minutes on a CPU

The weights are untrained, which does not matter for the time. Without a cache, every code is drawn
from the logits of the whole sequence. Prints Markdown.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config.files import load_experiment
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.models.code_prior import (
    code_logits,
    draw_code,
    prefix_tokens,
    sample_codes,
    transformer_of,
)


def uncached_codes(config: PriorConfig, params: Any, prefix_BxT: Any, keys_B: Any) -> jax.Array:
    """Draw the same codes as `sample_codes`, reading the whole sequence for each."""
    shape = len(prefix_BxT), config.autoencoder.code_count

    def step(place: int, codes_BxT: jax.Array) -> jax.Array:
        logits = code_logits(config, params, prefix_BxT, codes_BxT)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, place)
        code_B = draw_code(logits[:, place], keys, jnp.float32(1.0), 0)
        return codes_BxT.at[:, place].set(code_B)

    return jax.lax.fori_loop(0, shape[1], step, jnp.zeros(shape, jnp.int32))


def seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Return the least of several times, after a call that compiles."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="scenes_prior")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    options = parser.parse_args()
    config: Any = load_experiment(options.config)
    tokens_1xT = jnp.zeros((1, config.longest), jnp.int32)
    params = transformer_of(config).init(jax.random.key(0), tokens_1xT)["params"]
    print("| images at once | cached, ms an image | uncached | ratio | codes equal |")
    print("| --- | --- | --- | --- | --- |")
    for batch in options.batches:
        prefix_BxT = prefix_tokens(config, jnp.zeros((batch, config.prior.label_size)), batch)
        keys_B = jax.vmap(jax.random.key)(jnp.arange(batch))
        calls = [
            functools.partial(jax.jit(functools.partial(draw, config)), params, prefix_BxT, keys_B)
            for draw in (sample_codes, uncached_codes)
        ]
        cached, uncached = (1000 * seconds(call) / batch for call in calls)
        equal = np.mean(np.asarray(calls[0]()) == np.asarray(calls[1]()))
        print(
            f"| {batch} | {cached:.2f} | {uncached:.2f} | {uncached / cached:.1f} | {equal:.1%} |"
        )


if __name__ == "__main__":
    main()

"""Time both forms of the 3x3 convolutions, forward and with gradients, in turn.

Command:  python benchmarks/resample.py

Prints, per form, the median milliseconds of processor time (user, all threads, which other work on
the machine affects little) and its spread over the repetitions.
"""

import os
import statistics

import jax
import jax.numpy as jnp

from ganformer_jax.nn import resample, winograd

BATCH, REPEATS, CALLS = 16, 5, 10
SIZES = ((64, 16), (32, 32))


def processor_milliseconds(function, *arguments):
    before = os.times().user
    for _ in range(CALLS):
        jax.block_until_ready(function(*arguments))
    return (os.times().user - before) / CALLS * 1e3


def programs(form):
    def loss(x, kernel):
        return jnp.sum(jnp.square(form(x, kernel)))

    def penalty(x, kernel):
        return jnp.sum(jnp.square(jax.grad(loss)(x, kernel)))

    return {
        "forward": jax.jit(form),
        "gradients": jax.jit(jax.grad(loss, (0, 1))),
        "gradients of a gradient": jax.jit(jax.grad(penalty, (0, 1))),
    }


def compare(title, forms, x, kernel):
    compiled = {name: programs(form) for name, form in forms.items()}
    for program in ("forward", "gradients", "gradients of a gradient"):
        times = {name: [] for name in forms}
        for repeat in range(REPEATS + 1):
            for name in forms:  # In turn, so that both meet the same conditions.
                spent = processor_milliseconds(compiled[name][program], x, kernel)
                if repeat:  # The first compiles.
                    times[name].append(spent)
        row = [
            f"{name} {statistics.median(t):6.1f} ({min(t):.1f} to {max(t):.1f})"
            for name, t in times.items()
        ]
        print(f"{title:24s} {program:24s} {'   '.join(row)} ms", flush=True)


def main():
    key = jax.random.key(0)
    for channels, size in SIZES:
        kernel = jax.random.normal(key, (3, 3, channels, channels))
        x = jax.random.normal(key, (BATCH, size // 2, size // 2, channels))
        forms = {
            "dilation": resample.transposed_by_dilation,
            "matmul": resample.transposed_by_matmul,
        }
        compare(f"up to {size}, {channels} channels", forms, x, kernel)
        x = jax.random.normal(key, (BATCH, size + 1, size + 1, channels))
        forms = {
            "convolution": resample.strided_by_convolution,
            "matmul": resample.strided_by_matmul,
        }
        compare(f"down from {size}, {channels} channels", forms, x, kernel)
    for channels, size in ((32, 32), (64, 32), (128, 32), (256, 16)):
        kernel = jax.random.normal(key, (3, 3, channels, channels))
        x = jax.random.normal(key, (BATCH, size, size, channels))
        compare(
            f"at {size}, {channels} channels",
            {"plain": winograd.direct, "tiles": winograd.convolve},
            x,
            kernel,
        )


if __name__ == "__main__":
    main()

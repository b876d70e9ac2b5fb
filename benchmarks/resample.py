"""Time the forms of the convolutions and of the FIR filter, forward and with gradients, in turn.

Command:  python benchmarks/resample.py

Prints, per form, the median milliseconds of processor time (user, all threads, which other work on
the machine affects little) and its spread over the repetitions.
"""

import functools
import os
import statistics

import jax
import jax.numpy as jnp

from ganformer_jax.nn import cpu, resample

BATCH, REPEATS, CALLS = 16, 5, 10
SIZES = ((64, 16), (32, 32))


def processor_milliseconds(function, *arguments):
    before = os.times().user
    for _ in range(CALLS):
        jax.block_until_ready(function(*arguments))
    return (os.times().user - before) / CALLS * 1e3


def programs(form):
    def loss(*arrays):
        return jnp.sum(jnp.square(form(*arrays)))

    def penalty(*arrays):
        return jnp.sum(jnp.square(jax.grad(loss)(*arrays)))

    def gradients(function):
        return jax.jit(lambda *arrays: jax.grad(function, tuple(range(len(arrays))))(*arrays))

    return {
        "forward": jax.jit(form),
        "gradients": gradients(loss),
        "gradients of a gradient": gradients(penalty),
    }


def compare(title, forms, *arrays):
    compiled = {name: programs(form) for name, form in forms.items()}
    for program in ("forward", "gradients", "gradients of a gradient"):
        times = {name: [] for name in forms}
        for repeat in range(REPEATS + 1):
            for name in forms:  # In turn, so that both meet the same conditions.
                spent = processor_milliseconds(compiled[name][program], *arrays)
                if repeat:  # The first compiles.
                    times[name].append(spent)
        row = [
            f"{name} {statistics.median(t):6.1f} ({min(t):.1f} to {max(t):.1f})"
            for name, t in times.items()
        ]
        print(f"{title:24s} {program:24s} {'   '.join(row)} ms", flush=True)


def main():
    key = jax.random.key(0)

    def images(size, channels):
        return jax.random.normal(key, (BATCH, size, size, channels))

    def kernel(channels):
        return jax.random.normal(key, (3, 3, channels, channels))

    for channels, size in SIZES:
        forms = {"plain": resample.plain_transposed_convolve, "cpu": cpu.transposed_convolve}
        title = f"up to {size}, {channels} channels"
        compare(title, forms, images(size // 2, channels), jnp.moveaxis(kernel(channels), 2, 0))
        forms = {"plain": resample.plain_strided_convolve, "cpu": cpu.strided_convolve}
        title = f"down from {size}, {channels} channels"
        compare(title, forms, images(size + 1, channels), kernel(channels))
        static = {"taps": (0.25, 0.75, 0.75, 0.25), "pad": (1, 1), "up": 1, "down": 1}
        forms = {"plain": resample.plain_filter, "cpu": cpu.shifted_filter}
        forms = {name: functools.partial(form, **static) for name, form in forms.items()}
        compare(f"filter at {size}, {channels} channels", forms, images(size + 1, channels))
    for channels, size in ((32, 32), (64, 32), (128, 32), (256, 16)):
        forms = {"plain": resample.plain_convolve, "cpu": cpu.winograd_convolve}
        title = f"at {size}, {channels} channels"
        compare(title, forms, images(size, channels), kernel(channels))


if __name__ == "__main__":
    main()

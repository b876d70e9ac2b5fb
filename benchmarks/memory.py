"""Print what the gradients of both networks keep, with and without rematerialization.

Command:   python benchmarks/memory.py [CONFIG]
Cost:      half a minute; nothing is compiled
"""

import argparse
import dataclasses

import jax
import jax.numpy as jnp

from ganformer_jax.config.files import load_config
from ganformer_jax.models import Generator, make_discriminator


def gibibytes(tree) -> float:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) / 2**30


def kept(network, variables, argument, **options) -> float:
    """What is kept of the forward pass, other than parameters, for gradients by them."""

    def forward(variables, argument):
        def output(params):
            return network.apply(variables | {"params": params}, argument, **options)[0]

        return jax.vjp(output, variables["params"])[1]

    residuals = jax.eval_shape(forward, variables, argument)
    return gibibytes(residuals) - gibibytes(variables["params"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", nargs="?", default="ffhq", help="name or path")
    config = load_config(parser.parse_args().config)
    batch, key = config.train.batch_size, jax.random.key(0)
    rngs = {name: key for name in ("noise", "dropout", "components")}
    for resolution in (256, 512):
        wanted = dataclasses.replace(config.generator, resolution=resolution)
        z = jnp.zeros((batch, wanted.num_latents, wanted.z_size))
        shape = batch, *wanted.image_size, wanted.image_channels
        images = jax.ShapeDtypeStruct(shape, jnp.float32)
        for again in (False, True):
            generator = Generator(wanted, again)
            discriminator = make_discriminator(config.discriminator, wanted.base_grid, again)
            variables = jax.eval_shape(generator.init, {"params": key, "noise": key}, z)
            weights = jax.eval_shape(discriminator.init, key, images)
            first = kept(generator, variables, z, train=True, rngs=rngs)
            second = kept(discriminator, weights, images)
            print(f"{resolution} rematerialize {again}: {first:.2f} and {second:.2f} GiB")


if __name__ == "__main__":
    main()

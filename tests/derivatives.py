"""Second derivatives through a function of images."""

import jax
import jax.numpy as jnp
import pytest


def check_second_derivatives(function, x, direction):
    """Compare the gradient of an R1 penalty, of a small discriminator, with differences."""

    @jax.jit
    def penalty(images):
        def logits(images):
            return jnp.sin(3 * function(images)).sum()

        return jnp.square(jax.grad(logits)(images)).sum()

    step = 1e-2
    numeric = (penalty(x + step * direction) - penalty(x - step * direction)) / (2 * step)
    exact = jnp.vdot(jax.jit(jax.grad(penalty))(x), direction)
    assert float(exact) == pytest.approx(float(numeric), rel=2e-2)

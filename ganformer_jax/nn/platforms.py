"""Choice between forms of one function by the platform that a program is compiled for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array

    Form = Callable[..., Array]


def by_platform(cpu: Form, default: Form, *arrays: Array, **static: Any) -> Array:
    """Compute one function in the form that suits the platform.

    The choice is made when a program is lowered, for the platform that it is lowered for, which
    may be another than that of this process.

    Args:
        cpu: Form for CPUs.
        default: Form for all other platforms, of the same result.
        *arrays: Arguments of both forms, which must be linear in each of them. The gradients are
            then linear in the same way, and each platform uses those of its own form, to any order.
        **static: Further arguments of both forms, hashable.

    Returns:
        The result of the chosen form.
    """
    settings = tuple(static.items())
    return _apply(_with_settings(cpu, settings), _with_settings(default, settings), *arrays)


@functools.cache  # jax would trace another wrapper of the same form again
def _with_settings(form: Form, settings: tuple[tuple[str, Any], ...]) -> Form:
    """Fill in settings; the compiled program names operations after the form."""
    return jax.named_scope(form.__name__)(functools.partial(form, **dict(settings)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1))  # traced once for each shape
def _apply(cpu: Form, default: Form, *arrays: Array) -> Array:
    return lax.platform_dependent(*arrays, cpu=cpu, default=default)


def _forward(cpu: Form, default: Form, *arrays: Array) -> tuple[Array, tuple[Array, ...]]:
    return _apply(cpu, default, *arrays), arrays


def _backward(cpu: Form, default: Form, arrays: tuple[Array, ...], cotangent: Array):
    gradients = []
    for index, array in enumerate(arrays):
        others = arrays[:index] + arrays[index + 1 :]
        forms = (_transpose(form, index, array.shape, array.dtype) for form in (cpu, default))
        gradients.append(_apply(*forms, *others, cotangent))
    return tuple(gradients)


_apply.defvjp(_forward, _backward)


@functools.cache
def _transpose(form: Form, index: int, shape: tuple[int, ...], dtype: Any) -> Form:
    """Return the form's transpose in one array, which takes the other arrays and a cotangent.

    A linear function has the same gradient everywhere, so it is taken at zero, and the array
    itself does not appear in it: in second derivatives nothing flows back to it.
    """

    def transpose(*arguments: Array) -> Array:
        *others, cotangent = arguments

        def linear(array: Array) -> Array:
            return form(*others[:index], array, *others[index:])

        return jax.vjp(linear, jnp.zeros(shape, dtype))[1](cotangent)[0]

    return transpose

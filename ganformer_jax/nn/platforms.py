"""Choice between forms of one function by the platform that a program is compiled for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
from jax import lax

from ganformer_jax.nn import mapped_axes

if TYPE_CHECKING:
    from jaxtyping import Array

    Form = Callable[..., Array]
    Own = tuple[tuple[str, Form], ...]
    """Platforms and the forms of their own."""


def by_platform(
    default: Form,
    *arrays: Array,
    cpu: Form | None = None,
    tpu: Form | None = None,
    **static: Any,
) -> Array:
    """Compute one function in the form that suits the platform.

    The choice is made when a program is lowered, for the platform that it is lowered for, which
    may be another than that of this process.

    Args:
        default: Form for platforms without one of their own, such as GPUs.
        *arrays: Arguments of all forms, which must be linear in each of them. The gradients are
            then linear in the same way, and each platform uses those of its own form, to any order.
        cpu: Form of CPUs, of the same result.
        tpu: Form of TPUs, of the same result.
        **static: Further arguments of all forms, hashable.

    Returns:
        The result of the chosen form.
    """
    settings = tuple(static.items())
    own = {"cpu": cpu, "tpu": tpu}
    forms = ((name, _with_settings(form, settings)) for name, form in own.items() if form)
    return _apply(_with_settings(default, settings), tuple(forms), *arrays)


@functools.cache  # jax would trace another wrapper of the same form again
def _with_settings(form: Form, settings: tuple[tuple[str, Any], ...]) -> Form:
    """Fill in settings; the compiled program names operations after the form."""
    return jax.named_scope(form.__name__)(functools.partial(form, **dict(settings)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1))  # traced once for each shape
def _apply(default: Form, own: Own, *arrays: Array) -> Array:
    return lax.platform_dependent(*arrays, default=default, **dict(own))


def _forward(default: Form, own: Own, *arrays: Array) -> tuple[Array, tuple[Array, ...]]:
    return _apply(default, own, *arrays), arrays


def _backward(default: Form, own: Own, arrays: tuple[Array, ...], cotangent: Array):
    gradients = []
    for index, array in enumerate(arrays):
        others = arrays[:index] + arrays[index + 1 :]
        facts = index, array.shape, array.dtype, mapped_axes.varying(array)
        transposed = tuple((name, _transpose(form, *facts)) for name, form in own)
        gradients.append(_apply(_transpose(default, *facts), transposed, *others, cotangent))
    return tuple(gradients)


_apply.defvjp(_forward, _backward)


@functools.cache
def _transpose(
    form: Form, index: int, shape: tuple[int, ...], dtype: Any, varying: tuple[str, ...]
) -> Form:
    """Return the form's transpose in one array, which takes the other arrays and a cotangent.

    A linear function has the same gradient everywhere, so it is taken at zero, and the array
    itself does not appear in it: in second derivatives nothing flows back to it.
    """

    def transpose(*arguments: Array) -> Array:
        *others, cotangent = arguments

        def linear(array: Array) -> Array:
            return form(*others[:index], array, *others[index:])

        zero = mapped_axes.zeros(shape, dtype, varying)
        return jax.vjp(linear, zero)[1](cotangent)[0]

    return transpose

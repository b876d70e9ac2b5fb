"""Reading of the reference vectors in tests/data; its README says where they come from."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax import convert

DATA = Path(__file__).parent / "data"

# Unoptimized code, which conftest.py asks for, adds up long sums term by term; vectorized code
# does so in several lanes and loses less.
optimized_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": "3"})


class Vector:
    """One file of inputs, weights, outputs and gradients of a published network."""

    def __init__(self, name: str) -> None:
        self.arrays = dict(np.load(DATA / f"{name}.npz"))
        self.meta = json.loads(str(self.arrays.pop("meta")))

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose name starts with a prefix, by the rest of the name."""
        return {
            key.removeprefix(prefix): value
            for key, value in self.arrays.items()
            if key.startswith(prefix)
        }

    def images(self, key: str) -> jax.Array:
        """Images as [batch, height, width, channels]."""
        return jnp.asarray(self.arrays[key].transpose(0, 2, 3, 1))

    def load(self, network: str):
        """The published generator ("G") or discriminator ("D") as a module and its variables."""
        kind = {"G": "generator", "D": "discriminator"}[network]
        loader = getattr(convert, f"load_{kind}")
        return loader(self.under(f"{network}/"), self.meta[kind])

    def gradients(self, prefix: str, network: str):
        """Published gradients, laid out as our parameters; absent names are zero."""
        kind = {"G": "generator", "D": "discriminator"}[network]
        state, published = self.under(f"{network}/"), self.under(prefix)
        buffers = ("resample_kernel",)
        values = {
            name: value if name.endswith(buffers) else published.get(name, np.zeros_like(value))
            for name, value in state.items()
        }
        return getattr(convert, f"load_{kind}")(values, self.meta[kind])[1]["params"]

    def load_tf(self):
        """The published TensorFlow generator as a module and its variables."""
        return convert.load_tf_generator(self.under("var/"), self.meta["generator"])

    def load_tf_discriminator(self):
        """The published TensorFlow discriminator as a module and its variables."""
        return convert.load_tf_discriminator(self.under("var/"), self.meta["discriminator"])

    def gradients_tf(self):
        """Gradients of the TensorFlow generator, laid out as our parameters.

        Reading weights is affine (modulation biases gain 1), so reading a gradient is the
        difference to reading zeros.
        """
        published = self.under("grad/")
        zeros = {name: np.zeros_like(value) for name, value in self.under("var/").items()}
        load = functools.partial(convert.load_tf_generator, static_kwargs=self.meta["generator"])
        with_gradients = load(zeros | published)[1]["params"]
        return jax.tree.map(jnp.subtract, with_gradients, load(zeros)[1]["params"])


def relative_error(ours, published) -> float:
    """Norm of the difference over the norm of the published value."""
    ours, published = np.asarray(ours, np.float64), np.asarray(published, np.float64)
    return float(np.linalg.norm(ours - published) / np.linalg.norm(published))


def gradient_errors(ours, published) -> tuple[float, float, str]:
    """Relative error of a whole gradient, and the largest of a leaf with its name.

    A bias of keys moves all scores of a softmax alike, so its gradient is rounding error on both
    sides: it is held to be small against the whole gradient instead.
    """
    leaves = jax.tree_util.tree_leaves_with_path(published)
    whole = np.sqrt(sum(float(np.sum(np.square(leaf))) for _, leaf in leaves))
    errors, squares = {}, 0.0
    for (path, theirs), leaf in zip(leaves, jax.tree.leaves(ours), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        squares += float(np.sum(np.square(np.asarray(leaf) - np.asarray(theirs))))
        if name.endswith(("/keys/bias", "/key_positions/bias")):
            errors[name] = float(np.linalg.norm(leaf) + np.linalg.norm(theirs)) / whole
        elif np.any(np.asarray(theirs)):
            errors[name] = relative_error(leaf, theirs)
        else:
            errors[name] = float(np.linalg.norm(leaf)) / whole
    name = max(errors, key=lambda key: errors[key])
    return float(np.sqrt(squares)) / float(whole), errors[name], name

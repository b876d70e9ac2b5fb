"""Start of a run from the weights of other networks, which need not be of the same shapes.

What fits is taken, what `rules.py` can fit is adapted, and the rest is new. The report names
every array of both sides.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.config.dicts import differences
from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints.checksums import by_path
from ganformer_jax.train.state import WEIGHTS, TrainState, create_state
from ganformer_jax.train.transfer.leaves import Leaf, Leaves, Shape
from ganformer_jax.train.transfer.report import Entry, entries_of, share_found
from ganformer_jax.train.transfer.rules import fit_discriminator, fit_generator
from ganformer_jax.train.transfer.words import Words

SMALLEST_SHARE = 0.1
"""Networks of which a smaller share of the generator's parameters is found there have too little
in common to start from."""
SETTINGS_NAMED = 6


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Values for the arrays of a state, and the report.

    Attributes:
        leaves: Values by dotted path; arrays without one stay new.
        report: An entry for every array of the state, and for each there that is not used.
    """

    leaves: Leaves
    report: tuple[Entry, ...]

    @property
    def complete(self) -> bool:
        """Return whether everything there is taken unchanged, and nothing is new."""
        return all(entry.outcome == "taken" for entry in self.report)

    def put(self, state: TrainState) -> TrainState:
        """Return a state with these values; optimizers, counters and other arrays stay new."""
        own = {name: getattr(state, name) for name in WEIGHTS}
        leaves = [
            place(leaf, self.leaves[path].value) if path in self.leaves else leaf
            for path, leaf in by_path(own).items()
        ]
        return state.replace(**jax.tree.unflatten(jax.tree.structure(own), leaves))


def place(leaf: jax.Array, value: Any) -> jax.Array:
    """Return an array like `leaf`, on its devices, with other values, or with other first ones.

    Other processes, which have devices too, do the same.
    """
    value = np.array(value, leaf.dtype)  # of its own, since states are donated
    if value.shape == leaf.shape:
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda i: value[i])
    first = tuple(map(slice, value.shape))
    replace = jax.jit(lambda leaf: leaf.at[first].set(value), out_shardings=leaf.sharding)
    return replace(leaf)


def start_from(
    weights: Mapping[str, Any],
    there: Config,
    config: Config,
    source: str,
    words: Words | None = None,
) -> Transfer:
    """Return the start of a new run from weights of another config.

    Args:
        weights: The fields named in `state.WEIGHTS`, as nested dicts of arrays; without
            "discriminator", that network is new.
        there: The config that they fit.
        config: The config of the new run.
        source: Names them in an error.
        words: Words of the captions of both, if they are known; else those of one number are taken
            to be the same.

    Raises:
        UserError: If less than a tenth of the generator can be taken.
    """
    state = jax.eval_shape(functools.partial(create_state, config), jax.random.key(0))
    mine = {name: getattr(state, name) for name in WEIGHTS}
    transfer = adapt(mine, weights, config, there, words)
    if share_found(transfer.report, "ema") < SMALLEST_SHARE:
        settings = [
            f"{name} is {old} there, {new} here"
            for name, (old, new) in differences(there, config).items()
            if name.startswith("generator.")
        ]
        more = f", and {len(settings) - SETTINGS_NAMED} more" * (len(settings) > SETTINGS_NAMED)
        raise UserError(
            f"the generators of {source} and of this config have too little in common; make more "
            f"settings equal: {', '.join(settings[:SETTINGS_NAMED])}{more}"
        )
    return transfer


def adapt(
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    here: Config,
    there: Config,
    words: Words | None = None,
) -> Transfer:
    """Fit weights to a state of another config.

    Args:
        mine: The fields named in `state.WEIGHTS`: nested dicts of arrays or of their shapes.
        theirs: The same fields there; "discriminator" may be absent.
        here: The config of `mine`.
        there: The config of `theirs`.
        words: Words of the captions of both, see `start_from`.
    """
    if words is not None:
        there = words.config(there)
    leaves, report = {}, []
    for field in mine:
        shapes = {path: tuple(leaf.shape) for path, leaf in by_path(mine[field]).items()}
        given = {
            path: Leaf(np.asarray(value), (path,))
            for path, value in by_path(theirs.get(field, {})).items()
        }
        renumbered = given if words is None else words.fit(given)
        fitted = _fit(field, renumbered, shapes, here, there)
        leaves |= {f"{field}.{p}".strip("."): leaf for p, leaf in fitted.items()}
        reason = f"no {field} there" if field not in theirs else ""
        report += entries_of(field, shapes, given, fitted, reason)
    return Transfer(leaves, tuple(report))


def _fit(
    field: str, given: Leaves, shapes: Mapping[str, Shape], here: Config, there: Config
) -> Leaves:
    """Return the leaves of a field that fit, after the rules."""
    fitted = given
    if given and field in ("generator", "ema"):
        fitted = fit_generator(given, shapes, there.generator, here.generator)
    elif given and field == "discriminator":
        fitted = fit_discriminator(given, there, here)
    return {path: leaf for path, leaf in fitted.items() if _fits(leaf, shapes.get(path))}


def _fits(leaf: Leaf, shape: Shape | None) -> bool:
    size = leaf.value.shape
    if shape is None or not leaf.leading:
        return size == shape
    return len(size) == len(shape) and all(a <= b for a, b in zip(size, shape, strict=True))

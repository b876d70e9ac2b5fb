"""Checkpoints of a run, with Orbax: what to keep, what is damaged, what belongs together.

A checkpoint holds the state, its config, and a checksum per array. The position in the data is
the step itself. Orbax notices a truncated file but not a flipped bit, so restored arrays are
compared with their checksums, and a damaged checkpoint gives way to the newest good one.
"""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from ganformer_jax.config import Config
from ganformer_jax.config_files import differences, from_dict, to_dict
from ganformer_jax.errors import UserError
from ganformer_jax.train.state import TrainState

FOLDER = "checkpoints"
METRIC = "swd"
WEIGHTS = ("generator", "discriminator", "ema", "constants", "w_average")

# What may change between one command and the next on the same run.
FREE = ("data.directory", "data.threads", "train.total_kimg", "train.devices", "train.platform")
FREE += ("train.log_kimg", "train.image_kimg", "train.metric_kimg", "train.metric_images")
FREE += ("train.checkpoint_kimg", "train.checkpoints_kept")


class Checkpoints:
    """The checkpoints of one run, in `<run>/checkpoints`.

    Attributes:
      run: the run's folder.
      latest: how many of the newest to keep, besides the one with the lowest metric.
      warn: told when a damaged checkpoint is skipped.
    """

    def __init__(
        self,
        run: str | pathlib.Path,
        latest: int = 2,
        warn: Callable[[str], None] = print,
        read_only: bool = False,
    ):
        self.run, self.warn = pathlib.Path(run), warn

        def metric(metrics: Mapping[str, float]) -> float:
            return metrics[METRIC]

        best = BestN(
            get_metric_fn=metric, reverse=True, n=1, keep_checkpoints_without_metrics=False
        )
        self._manager = ocp.CheckpointManager(
            (self.run / FOLDER).absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([LatestN(max(latest, 1)), best]),
                best_fn=metric,  # without it Orbax does not store metrics
                best_mode="min",
                create=not read_only,
                read_only=read_only,
            ),
        )

    def steps(self) -> list[int]:
        """Lists the steps that have a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: TrainState, config: Config, metric: float | None = None
    ) -> None:
        """Starts writing a checkpoint; the state may be donated as soon as this returns.

        Args:
          step: rounds done. A step that has a checkpoint already is left as it is.
          state: on its devices.
          config: of the run.
          metric: lower is better; None or NaN never counts as best.
        """
        if step in self.steps():
            return
        metrics = None
        if metric is not None and math.isfinite(metric):
            metrics = {METRIC: float(metric)}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                config=ocp.args.JsonSave(to_dict(config)),
                checksums=ocp.args.JsonSave(checksums(state)),
            ),
            metrics=metrics,
        )

    def restore(self, abstract: TrainState, asked: Config) -> TrainState | None:
        """Restores the newest checkpoint that is not damaged.

        Damaged newer ones are renamed `damaged-<step>`, so that training can pass them again.

        Args:
          abstract: shapes, dtypes and shardings to restore to.
          asked: the config to continue with.

        Returns:
          the state, or None if there is no checkpoint.

        Raises:
          UserError: when every checkpoint is damaged, or the run is of another config.
        """
        steps = self.steps()
        for step in reversed(steps):
            saved = self._try_config(step)
            if saved is not None:  # before the arrays: those of another config look damaged
                check_same_run(saved, asked, self.run)
                state = self._try(step, abstract)
                if state is not None:
                    return state
            self.warn(f"warning: checkpoint {step} in {self.run} is damaged; trying an older one")
            self._set_aside(step)
        if steps:
            raise UserError(f"every checkpoint in {self.run} is damaged")
        return None

    def config(self, step: int | None = None) -> Config:
        """Reads the config of a checkpoint, by default of the newest.

        Raises:
          UserError: when there is none, or it cannot be read.
        """
        step = self._newest() if step is None else step
        config = self._try_config(step)
        if config is None:
            raise UserError(f"checkpoint {step} in {self.run} is missing or damaged")
        return config

    def best_step(self) -> int | None:
        """Finds the checkpoint with the lowest metric among those kept."""
        scores = {s: self._manager.metrics(s) for s in self.steps()}
        found = {s: m[METRIC] for s, m in scores.items() if m and METRIC in m}
        return min(found, key=found.__getitem__) if found else None

    def weights(self, step: int | None = None) -> dict[str, Any]:
        """Reads only the weights and averages, as host arrays.

        Args:
          step: by default the newest that is not damaged.

        Returns:
          the parts of the state named in `WEIGHTS`, as nested dicts.

        Raises:
          UserError: when there is no such checkpoint, or it is damaged.
        """
        self._newest()
        candidates = self.steps()[::-1] if step is None else [step]
        if step is not None and step not in self.steps():
            raise UserError(f"no checkpoint {step} in {self.run}: there are {self.steps()}")
        for candidate in candidates:
            found = self._try_weights(candidate)
            if found is not None:
                return found
            self.warn(f"warning: checkpoint {candidate} in {self.run} is damaged")
        raise UserError(f"no undamaged checkpoint in {self.run}")

    def wait(self) -> None:
        """Waits until everything is on disk; raises what went wrong there."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and lets go of the folder."""
        self._manager.close()

    def _newest(self) -> int:
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.run}")
        return steps[-1]

    def _try_config(self, step: int) -> Config | None:
        args = ocp.args.Composite(config=ocp.args.JsonRestore())
        try:
            values = self._manager.restore(step, args=args)["config"]
        except Exception:  # whatever Orbax or JSON make of broken files
            return None
        return from_dict(Config, values)

    def _try(self, step: int, abstract: TrainState) -> TrainState | None:
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), checksums=ocp.args.JsonRestore()
        )
        try:
            found = self._manager.restore(step, args=args)
        except Exception:  # as above
            return None
        return found["state"] if _intact(found["state"], found["checksums"]) else None

    def _try_weights(self, step: int) -> dict[str, Any] | None:
        folder = self.run.absolute() / FOLDER / str(step) / "state"
        reader = ocp.PyTreeCheckpointer()
        try:
            tree: Any = reader.metadata(folder).item_metadata
            wanted = {
                name: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), part)
                for name, part in tree.tree.items()
                if name in WEIGHTS
            }
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            args = ocp.args.PyTreeRestore(wanted, restore_args=as_numpy, partial_restore=True)
            found = reader.restore(folder, args=args)
            sums = ocp.args.Composite(checksums=ocp.args.JsonRestore())
            expected = self._manager.restore(step, args=sums)["checksums"]
        except Exception:  # as above
            return None
        return found if _intact(found, expected) else None

    def _set_aside(self, step: int) -> None:
        folder = self.run / FOLDER / str(step)
        folder.rename(folder.with_name(f"damaged-{step}"))
        self._manager.reload()


def check_same_run(saved: Config, asked: Config, run: str | pathlib.Path) -> None:
    """Refuses to continue a run as another experiment.

    Length, devices and what is written may change; see `FREE`.

    Raises:
      UserError: which lists the fields that differ.
    """
    changed = {n: v for n, v in differences(saved, asked).items() if n not in FREE}
    if changed:
        listed = ", ".join(f"{name} was {a}, now {b}" for name, (a, b) in changed.items())
        raise UserError(f"{run} holds a run of another config ({listed}): choose another --workdir")


def adopt_weights(state: TrainState, weights: Mapping[str, Any], source: str) -> TrainState:
    """Starts from the weights of another run; optimizers and counters stay new.

    Args:
      state: of the new run.
      weights: from `Checkpoints.weights`.
      source: the other run, for messages.

    Raises:
      UserError: when an array is missing, left over, or of another shape.
    """
    own = {name: getattr(state, name) for name in WEIGHTS}
    mine, theirs = _by_path(own), _by_path({name: weights[name] for name in WEIGHTS})
    wrong = [f"{path} is missing there" for path in mine if path not in theirs]
    wrong += [f"{path} is only there" for path in theirs if path not in mine]
    wrong += [
        f"{path} is {theirs[path].shape} there, {mine[path].shape} here"
        for path in mine
        if path in theirs and theirs[path].shape != mine[path].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"the weights of {source} do not fit: {wrong[0]}{more}")
    leaves = [
        jax.device_put(np.asarray(theirs[path], leaf.dtype), leaf.sharding)
        for path, leaf in mine.items()
    ]
    return state.replace(**jax.tree.unflatten(jax.tree.structure(own), leaves))


def checksums(tree: Any) -> dict[str, int]:
    """Computes a checksum of every array, on its own devices.

    It is the sum of the array's words, each times an odd number of its place, modulo 2^32: it
    changes with any single word, and does not depend on how the array is divided over devices.

    Returns:
      dotted path of the array, mapped to its checksum.
    """
    paths = list(_by_path(tree))
    return dict(zip(paths, np.asarray(_sums(jax.tree.leaves(tree))).tolist(), strict=True))


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([_sum(leaf) for leaf in leaves])


def _sum(leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    words = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32).ravel()
    return jnp.sum(words * (2 * jnp.arange(words.size, dtype=jnp.uint32) + 1), dtype=jnp.uint32)


def _intact(tree: Any, expected: Mapping[str, int]) -> bool:
    return all(expected.get(path) == value for path, value in checksums(tree).items())


def _by_path(tree: Any) -> dict[str, Any]:
    join = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {join(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

"""Checkpoints of a run, with Orbax: what to keep, what is damaged, what belongs together.

A checkpoint holds the state, its config, and a checksum per array. The position in the data is
the step itself. Orbax notices a truncated file but not a flipped bit, so restored arrays are
compared with their checksums, and a damaged checkpoint gives way to the newest good one.
"""

from __future__ import annotations

import contextlib
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from ganformer_jax.config import Config
from ganformer_jax.config_files import from_dict, to_dict
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.train.checksums import by_path, changed, checksums
from ganformer_jax.train.same_run import check_same_run
from ganformer_jax.train.state import TrainState

FOLDER = "checkpoints"
METRIC = "swd"
WEIGHTS = ("generator", "discriminator", "ema", "constants", "w_average")


class _Damage(Exception):
    """A checkpoint that cannot be read; says why in one line."""


class Checkpoints:
    """The checkpoints of one run, in `<run>/checkpoints`.

    Attributes:
        run: The run's folder.
        latest: How many of the newest to keep, besides the one with the lowest metric.
        warn: Told when a damaged checkpoint is skipped.
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
            step: Rounds done. A step that has a checkpoint already is left as it is.
            state: On its devices.
            config: Of the run.
            metric: Lower is better; None or NaN never counts as best.

        Raises:
            UserError: When this or the checkpoint before cannot be written.
        """
        if step in self.steps():
            return
        metrics = None
        if metric is not None and math.isfinite(metric):
            metrics = {METRIC: float(metric)}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            config=ocp.args.JsonSave(to_dict(config)),
            checksums=ocp.args.JsonSave(checksums(state)),
        )
        with self._writing():
            self._manager.save(step, args=args, metrics=metrics)

    def restore(self, abstract: TrainState, asked: Config) -> TrainState | None:
        """Restores the newest checkpoint that is not damaged.

        Damaged newer ones are then renamed `damaged-<step>`, so that training can pass them
        again. If none can be restored, all stay as they are.

        Args:
            abstract: Shapes, dtypes and shardings to restore to.
            asked: The config to continue with.

        Returns:
            The state, or None if there is no checkpoint.

        Raises:
            UserError: When no checkpoint can be restored, or the run is of another config.
        """
        damaged, reason = [], ""
        for step in reversed(self.steps()):
            try:
                # The config first: arrays of another one look damaged.
                check_same_run(self._read_config(step), asked, self.run)
                state = self._read_state(step, abstract)
            except _Damage as error:
                damaged, reason = [*damaged, step], str(error)
                self.warn(
                    f"warning: checkpoint {step} in {self.run} is damaged ({reason}); "
                    "trying an older one"
                )
                continue
            self._set_aside(damaged)
            return state
        if damaged:
            raise UserError(f"every checkpoint in {self.run} is damaged: {reason}")
        return None

    def best_step(self) -> int | None:
        """Finds the checkpoint with the lowest metric among those kept."""
        scores = {s: self._manager.metrics(s) for s in self.steps()}
        found = {s: m[METRIC] for s, m in scores.items() if m and METRIC in m}
        return min(found, key=found.__getitem__) if found else None

    def weights(self, step: int | None = None) -> tuple[dict[str, Any], Config]:
        """Reads only the weights and averages, as host arrays, and the config they belong to.

        Args:
            step: By default the newest that is not damaged.

        Returns:
            The parts of the state named in `WEIGHTS`, as nested dicts; and the config.

        Raises:
            UserError: When there is no such checkpoint, or it is damaged.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.run}")
        if step is not None and step not in steps:
            raise UserError(f"no checkpoint {step} in {self.run}: there are {steps}")
        reason = ""
        for candidate in steps[::-1] if step is None else [step]:
            try:
                return self._read_weights(candidate), self._read_config(candidate)
            except _Damage as error:
                reason = str(error)
            self.warn(f"warning: checkpoint {candidate} in {self.run} is damaged ({reason})")
        raise UserError(f"no undamaged checkpoint in {self.run}: {reason}")

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
            UserError: When it cannot be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, as `wait` does, and lets go of the folder."""
        with self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Says in one line what goes wrong on disk, now or since the last call."""
        try:
            yield
        except Exception as error:  # of many kinds: Orbax and TensorStore have their own
            raise UserError(
                f"cannot write checkpoint to {self.run}: {one_line(error)}; "
                "the previous ones are kept"
            ) from error

    def _read_config(self, step: int) -> Config:
        args = ocp.args.Composite(config=ocp.args.JsonRestore())
        with _reading():
            values = self._manager.restore(step, args=args)["config"]
        return from_dict(Config, values)

    def _read_state(self, step: int, abstract: TrainState) -> TrainState:
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), checksums=ocp.args.JsonRestore()
        )
        with _reading():
            found = self._manager.restore(step, args=args)
            return _intact(found["state"], found["checksums"])

    def _read_weights(self, step: int) -> dict[str, Any]:
        folder = self.run.absolute() / FOLDER / str(step) / "state"
        reader = ocp.PyTreeCheckpointer()
        with _reading():
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
            return _intact(found, self._manager.restore(step, args=sums)["checksums"])

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            folder = self.run / FOLDER / str(step)
            folder.rename(folder.with_name(f"damaged-{step}"))
        if steps:
            self._manager.reload()


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Takes whatever Orbax, TensorStore or JSON make of broken files for damage."""
    try:
        yield
    except _Damage:
        raise
    except Exception as error:
        raise _Damage(one_line(error)) from error


def _intact(tree: Any, expected: Mapping[str, int]) -> Any:
    wrong = changed(tree, expected)
    if wrong:
        raise _Damage(f"the checksum of {wrong[0]} is wrong")
    return tree


def adopt_weights(state: TrainState, weights: Mapping[str, Any], source: str) -> TrainState:
    """Starts from the weights of another run; optimizers and counters stay new.

    Args:
        state: Of the new run.
        weights: From `Checkpoints.weights`.
        source: The other run, for messages.

    Raises:
        UserError: When an array is missing, left over, or of another shape.
    """
    own = {name: getattr(state, name) for name in WEIGHTS}
    mine, theirs = by_path(own), by_path({name: weights[name] for name in WEIGHTS})
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

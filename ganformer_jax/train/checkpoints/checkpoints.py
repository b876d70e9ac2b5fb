"""Checkpoints of a run, with Orbax: what to keep, what is damaged, what fits the state.

A checkpoint holds the state, the version of its structure, its config, and a checksum per array.
The position in the data is the step itself. Orbax notices a truncated file but not a flipped bit,
so restored arrays are compared with their checksums, and the newest undamaged checkpoint is used.
One of another structure is not damaged: it is resumed if a later version only added to the state.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN

from ganformer_jax import hosts
from ganformer_jax.errors import UserError, first_cause, one_line
from ganformer_jax.files import move_folder
from ganformer_jax.storage import with_retries
from ganformer_jax.train.checkpoints.array_writing import handlers
from ganformer_jax.train.checkpoints.best import (
    Best,
    KeepBest,
    Manager,
    encode,
    find_best,
    write_metric,
)
from ganformer_jax.train.checkpoints.checksums import checksums
from ganformer_jax.train.checkpoints.moving import MovedFolder, finish_moves, remove_unfinished
from ganformer_jax.train.checkpoints.reading import Damage, agreed, json_checksum
from ganformer_jax.train.checkpoints.stored import StoredCheckpoint
from ganformer_jax.train.state import WEIGHTS
from ganformer_jax.train.trainable import State

FOLDER = "checkpoints"
PATIENCE = 600
"""Seconds that processes wait for each other's part of a checkpoint."""


class Checkpoints:
    """The checkpoints of one run, in `<run>/checkpoints`.

    Attributes:
        run: The run's folder.
        latest: Number of the newest to keep, besides the one with the lowest metric.
        warn: Receives a line when a damaged checkpoint is skipped.
        read_only: Whether nothing may be written.
        version: Version of the structure of states (`Trainable.state_version`).
        added: Leaves that versions added (`Trainable.added_leaves`).
    """

    def __init__(
        self,
        run: str | pathlib.Path,
        latest: int = 2,
        warn: Callable[[str], None] = print,
        read_only: bool = False,
        version: int = 1,
        added: Mapping[str, int] | None = None,
    ):
        self.run, self.warn = pathlib.Path(run), warn
        self.version, self.added = version, dict(added or {})
        self._folder = (self.run / FOLDER).absolute()
        if not read_only:
            hosts.first(lambda: finish_moves(self._folder))
        self._manager = Manager(
            self._folder,
            handler_registry=handlers(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([LatestN(max(latest, 1)), KeepBest()]),
                best_fn=lambda metrics: 0.0,  # never called, but without it none are stored
                create=not read_only,
                cleanup_tmp_directories=not read_only,  # of processes killed in a save
                read_only=read_only,
                temporary_path_class=MovedFolder,
                async_options=ocp.AsyncOptions(timeout_secs=PATIENCE),
            ),
            warn=warn,
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """List the steps that have a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(
        self,
        step: int,
        state: State,
        config: Mapping[str, Any],
        metric: tuple[str, float] | None = None,
    ) -> None:
        """Start writing a checkpoint, if there is none of this step; then donate the state freely.

        Args:
            step: Steps done.
            state: The state, on its devices.
            config: The config of the run, as nested dicts.
            metric: Name and value, of which the lowest is best; NaN counts as None.

        Raises:
            UserError: If it cannot be written. A save that failed in the background is a warning
                at the next one, which is then waited for.
        """
        failed = self.last_failed()
        if hosts.first(lambda: step in self.steps()):
            return
        texts = {"config": config, "version": {"state": self.version}}
        sums = checksums(state) | {f"{name}.json": json_checksum(texts[name]) for name in texts}
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            checksums=ocp.args.JsonSave(sums),
            **{name: ocp.args.JsonSave(value) for name, value in texts.items()},
        )
        with self._writing():
            self._manager.save(step, args=args, metrics=encode(metric))
            if failed:
                self._manager.wait_until_finished()

    def add_metric(self, step: int, metric: tuple[str, float]) -> None:
        """Store the metric of a checkpoint that was saved before it was measured."""
        with self._writing():
            hosts.first(lambda: write_metric(self._of(step).folder, metric))
            self._manager.reload()

    def stored_config(self) -> Mapping[str, Any] | None:
        """Read the config of the newest checkpoint that has a readable one, as nested dicts."""

        def newest() -> Mapping[str, Any] | None:
            for step in reversed(self.steps()):
                with contextlib.suppress(Damage):
                    return with_retries(self._of(step).read_config, "a config")
            return None

        return hosts.first(newest)

    def restore(self, abstract: State, initial: Callable[[], State] | None = None) -> State | None:
        """Restore the newest checkpoint that is not damaged; return None if there is none.

        Damaged newer ones are then renamed `damaged-<step>`, so that training can write these
        steps again, and those renamed before are removed. If none can be restored, all stay.

        Args:
            abstract: Shapes, dtypes and shardings to restore to.
            initial: Makes the state from which leaves that a later version added are taken.

        Raises:
            UserError: If all checkpoints are damaged, or one has another structure.
        """
        self.wait()  # for what is being written
        damaged, reason = [], ""
        for step in hosts.first(self.steps)[::-1]:
            state, reason = self._of(step).read_state(abstract, initial)
            if reason:
                damaged.append(step)
                what = f"checkpoint {step} in {self.run} is damaged ({reason})"
                self.warn(f"warning: {what}; trying an older one")
                continue
            if damaged:
                hosts.first(lambda: self._set_aside(damaged))
                self._manager.reload()
            return state
        if damaged:
            raise UserError(f"every checkpoint in {self.run} is damaged: {reason}")
        return None

    def best(self) -> Best | None:
        """Find the checkpoint with the lowest value of the metric in use, among those kept."""
        return find_best({step: self._manager.metrics(step) for step in self.steps()})

    def weights(
        self, step: int | None = None, fields: Collection[str] = WEIGHTS
    ) -> tuple[dict[str, Any], Any]:
        """Read fields of the state, as nested dicts of host arrays, and the config.

        Args:
            step: Step of the checkpoint; by default the newest that is not damaged.
            fields: Names of the fields.

        Raises:
            UserError: If the checkpoint is missing or damaged, or the disk cannot be read.
        """
        self.wait()
        steps = hosts.first(self.steps)
        if not steps:
            raise UserError(f"no checkpoint in {self.run}")
        if step is not None and step not in steps:
            raise UserError(f"no checkpoint {step} in {self.run}: there are {steps}")
        reason = ""
        for candidate in steps[::-1] if step is None else [step]:
            found, reason = agreed(functools.partial(self._of(candidate).read_weights, fields))
            if found is not None and not reason:
                return found
            self.warn(f"warning: checkpoint {candidate} in {self.run} is damaged ({reason})")
        raise UserError(f"no undamaged checkpoint in {self.run}: {reason}")

    def _of(self, step: int) -> StoredCheckpoint:
        where = f"checkpoint {step} in {self.run}"
        return StoredCheckpoint(self._folder / str(step), where, self.version, self.added)

    def _set_aside(self, steps: Iterable[int]) -> None:
        for old in self._folder.glob("damaged-*"):
            shutil.rmtree(old)  # or damage after damage would fill the disk
        for step in steps:
            move_folder(self._folder / str(step), self._folder / f"damaged-{step}")

    def last_failed(self) -> bool:
        """Wait for the last save; return whether it failed on any process, which is a warning.

        Unlike `wait`, which raises, this leaves the checkpoints before as if there had been none.
        All processes must call it together.
        """
        reason = ""
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # of many kinds, as in `_writing`
            reason = one_line(first_cause(error))
        reasons = [found for found in hosts.all_of(reason) if found]
        # Those that waited for the one that failed only know that.
        reason = min(reasons, key=lambda found: "DEADLINE_EXCEEDED" in found, default="")
        if reason:
            hosts.first(lambda: remove_unfinished(self._folder))
            self._manager.reload()  # or what was not written would count as a checkpoint
            self.warn(f"warning: a checkpoint was not written ({reason}); saving the next one")
        return bool(reason)

    def wait(self) -> None:
        """Wait until everything is on disk, or raise `UserError`."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, as `wait` does, and close the folder."""
        with self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what fails on disk, now or since the last call, into a `UserError`."""
        try:
            yield
        except Exception as error:  # of many kinds: Orbax and TensorStore have their own
            reason = f"{one_line(error)}; the previous ones are kept"
            raise UserError(f"cannot write checkpoint to {self.run}: {reason}") from error

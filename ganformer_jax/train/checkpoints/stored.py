"""One checkpoint on disk: its config, and its state or weights, compared with their checksums."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ganformer_jax.config.kinds import experiment_from_dict
from ganformer_jax.train.checkpoints.checksums import all_finite, by_path, changed
from ganformer_jax.train.checkpoints.reading import Damage, agreed, read_json, reading
from ganformer_jax.train.checkpoints.structure import added_since
from ganformer_jax.train.trainable import State


@dataclasses.dataclass(frozen=True)
class StoredCheckpoint:
    """One checkpoint of a run, which may be of an earlier version, or damaged.

    Attributes:
        folder: Absolute path of its folder.
        where: Its name in messages.
        version: Version of the structure of states now.
        added: Leaves that versions added, by their dotted path.
    """

    folder: pathlib.Path
    where: str
    version: int
    added: Mapping[str, int]

    def read_config(self) -> Mapping[str, Any]:
        """Read the config of the run at this step, as nested dicts; raise `Damage` if it cannot."""
        return read_json(self.folder, "config")

    def read_state(
        self, abstract: State, initial: Callable[[], State] | None
    ) -> tuple[State | None, str]:
        """Restore by the structure that is stored, then arrange the leaves as in `abstract`.

        Args:
            abstract: Shapes, dtypes and shardings to restore to.
            initial: Makes the state from which leaves that a later version added are taken.

        Returns:
            The state, or None and the damage. Processes agree on each part before the next one, in
            which they wait for each other.

        Raises:
            UserError: If the structure is another one.
        """
        wanted = by_path(abstract)
        plan, reason = agreed(lambda: self._plan(wanted))
        if plan is None or reason:
            return None, reason
        target, new = plan
        restored, reason = agreed(lambda: self._restore(target))
        if reason:
            return None, reason
        intact, reason = agreed(lambda: self._intact(restored, wanted))
        if intact is None or reason:
            return None, reason
        leaves = by_path(intact)
        if new:
            assert initial is not None, "a state that has grown needs the values it starts from"
            first = by_path(initial())
            leaves |= {path: first[path] for path in new}
        return jax.tree.unflatten(jax.tree.structure(abstract), [leaves[p] for p in wanted]), ""

    def read_weights(self, fields: Collection[str]) -> tuple[dict[str, Any], Any]:
        """Read fields of the state, as nested dicts of host arrays, and the config.

        Raises:
            Damage: If they cannot be read, or are not what was stored.
        """
        folder: Any = self.folder / "state"
        config = experiment_from_dict(self.read_config())
        with reading(folder), contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
            tree: Any = handler.metadata(folder)
            wanted = {
                name: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), field)
                for name, field in tree.tree.items()
                if name in fields
            }
            if not wanted:  # of another kind, as the caller sees in its config
                return {}, config
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            args = ocp.args.PyTreeRestore(wanted, restore_args=as_numpy, partial_restore=True)
            return self._intact(handler.restore(folder, args=args)), config

    def _plan(self, wanted: Mapping[str, Any]) -> tuple[Any, list[str]]:
        """Return the tree that Orbax is to restore, and the leaves that a later version added."""
        self.read_config()
        with reading(self.folder):
            with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
                state_folder: Any = self.folder / "state"
                metadata: Any = handler.metadata(state_folder)
            stored, structure = by_path(metadata.tree), jax.tree.structure(metadata.tree)
            written = (self.folder / "version").exists()  # the first version did not write it
            version = read_json(self.folder, "version")["state"] if written else 1
        new = added_since(self.where, version, self.version, self.added, stored, wanted)
        return jax.tree.unflatten(structure, [wanted[path] for path in stored]), new

    def _restore(self, target: Any) -> Any:
        """Read the arrays of a state, each process those of its devices."""
        folder: Any = self.folder / "state"
        with reading(folder), contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
            return handler.restore(folder, args=ocp.args.StandardRestore(target))

    def _intact(self, tree: Any, wanted: Mapping[str, Any] | None = None) -> Any:
        """Return a finite tree whose checksums are those of the checkpoint, of the wanted types."""
        wrong = changed(tree, read_json(self.folder, "checksums"))
        if wrong:
            raise Damage(f"the checksum of {wrong[0]} is wrong")
        if not all_finite(tree):
            raise Damage("it holds numbers that are not finite")
        found = by_path(tree)
        for path, leaf in (wanted or {}).items():
            if path in found and found[path].dtype != leaf.dtype:  # Orbax lost that it was a key
                raise Damage(f"the type of {path} is lost")
        return tree

"""Checkpoints on disks that cannot rename folders.

Orbax writes a checkpoint into a temporary folder and renames that. Mounted buckets, such as those
of Google Cloud by default, rename files only.
"""

from __future__ import annotations

import pathlib
import shutil

from orbax.checkpoint import path as paths

from ganformer_jax.files import cannot_rename, is_moving, move_folder

_TEMPORARY = ".orbax-checkpoint-tmp"  # after the name of the step


class MovedFolder(paths.atomicity.AtomicRenameTemporaryPath):
    """Orbax's temporary folder, whose files are moved one by one where it cannot be renamed."""

    async def finalize(self) -> None:
        """Give the checkpoint its final name."""
        try:
            await super().finalize()
        except OSError as error:
            if not cannot_rename(error):
                raise
            move_folder(pathlib.Path(self.get()), pathlib.Path(self.get_final()))


def finish_moves(folder: pathlib.Path) -> None:
    """Finish what was kept from moving; the checkpoint is complete, but in two folders."""
    for temporary in folder.glob(f"*{_TEMPORARY}*"):
        if is_moving(temporary):
            move_folder(temporary, folder / temporary.name.partition(_TEMPORARY)[0])


def remove_unfinished(folder: pathlib.Path) -> None:
    """Remove what a save that failed has left, whose space the next one may need.

    Only while nothing is being saved. A checkpoint that was kept from moving is complete.
    """
    for temporary in folder.glob(f"*{_TEMPORARY}*"):
        if not is_moving(temporary):
            shutil.rmtree(temporary, ignore_errors=True)

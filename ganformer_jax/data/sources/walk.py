"""Listing of the files below a folder, and of those left out: links, loops, forbidden folders."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Callable

from ganformer_jax.data.sources.source import interrupted
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.storage import is_transient

PREPARED = ("dataset_info.json", "prepare-plan.json")  # in folders that `prepare` writes
PREPARED_DATASET = "a prepared dataset"
LINKED_FOLDER = "link to a folder"
_READ_IN_PLACE = "link to a folder that is read where it is"
_READ_BY_LINK = "link to a folder that another link leads to"
_LOOP = "link to a folder that it is in"
BESIDE = "an image beside the files of a dataset"
# Reasons by which no image of the source is lost.
HARMLESS = (PREPARED_DATASET, _READ_IN_PLACE, _READ_BY_LINK, _LOOP, BESIDE)
_ADVICE = "(--follow-links reads it)"
LINK_OUT = f"link out of the folder {_ADVICE}"


class FolderWalk:
    """Lists the files below a folder.

    Args:
        root: Path of the folder.
        follow_links: Follow links to any place; a folder that several links lead to is listed
            once. By default links to folders and links out of the folder are skipped.

    Raises:
        UserError: If there is no such folder.
    """

    def __init__(self, root: pathlib.Path, follow_links: bool):
        if not root.is_dir():
            raise UserError(f"no folder {root}")
        self._root, self._follow_links = root, follow_links
        self._inside = os.path.join(os.path.realpath(root), "")
        self._followed: set[str] = set()

    def files(
        self, refusal: Callable[[str], str | None], with_datasets: bool = False
    ) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the names of files, sorted, and (name, reason) of skipped files and folders.

        Args:
            refusal: Function from the path of a file below the root to the reason to skip it; None
                if there is none.
            with_datasets: Whether to list files of prepared datasets.

        Raises:
            UserError: If the folder cannot be listed, or the disk fails.
        """
        names: list[str] = []
        skipped: list[tuple[str, str]] = []

        def skip_unlistable(error: OSError) -> None:
            if pathlib.Path(error.filename) == self._root:
                raise UserError(f"cannot list {self._root}: {os_reason(error)}") from error
            _check_disk(error.filename, error)
            skipped.append((self._name(error.filename), f"cannot be listed: {os_reason(error)}"))

        walk = os.walk(self._root, onerror=skip_unlistable, followlinks=self._follow_links)
        for folder, folders, files in walk:
            folders.sort()
            for path in [os.path.join(folder, name) for name in folders]:
                reason = self._folder_refusal(path, with_datasets)
                if reason:
                    skipped.append((self._name(path), reason))
                    folders.remove(os.path.basename(path))
            for path in [os.path.join(folder, name) for name in files]:
                name = self._name(path)
                reason = refusal(name) or self.file_refusal(path)
                if reason:
                    skipped.append((name, reason))
                else:
                    names.append(name)
        return sorted(names), sorted(skipped)

    def file_refusal(self, path: str) -> str | None:
        """Return why a file is not read, for reasons other than its name; None if it is read."""
        try:
            is_link = os.path.islink(path) and not self._follow_links
            if is_link and not os.path.realpath(path).startswith(self._inside):
                return LINK_OUT
            if not stat.S_ISREG(os.stat(path).st_mode):
                return "not a regular file"
        except OSError as error:
            _check_disk(path, error)
            return f"cannot be read: {os_reason(error)}"
        return None

    def _name(self, path: str) -> str:
        return pathlib.Path(path).relative_to(self._root).as_posix()

    def _folder_refusal(self, path: str, with_datasets: bool) -> str | None:
        """Return why a folder is not listed; remember the linked folders that are."""
        if os.path.islink(path):
            if not self._follow_links:
                return f"{LINKED_FOLDER} {_ADVICE}"
            target = os.path.realpath(path)
            if os.path.join(target, "").startswith(self._inside):
                return _READ_IN_PLACE
            if target in self._followed:
                return _READ_BY_LINK
            self._followed.add(target)
        if self._follow_links and _is_loop(path, self._root):
            return _LOOP
        prepared = any(os.path.exists(os.path.join(path, name)) for name in PREPARED)
        return PREPARED_DATASET if prepared and not with_datasets else None


def _check_disk(path: str, error: OSError) -> None:
    """Raise `interrupted` if the disk fails; dead links and forbidden folders are skipped."""
    if is_transient(error):
        raise interrupted(path, error) from error


def _is_loop(path: str, root: pathlib.Path) -> bool:
    """Return whether a folder resolves to one of its own parents on the path."""
    target, above = os.path.realpath(path), pathlib.Path(path).parent
    passed = [above, *above.parents[: len(above.parts) - len(root.parts)]]
    return target in {os.path.realpath(folder) for folder in passed}

"""A folder of images, with the folders inside it."""

from __future__ import annotations

import os
import pathlib
import stat

from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Source,
    Unreadable,
    checksum,
    file_facts,
    interrupted,
    refusal,
)
from ganformer_jax.errors import UserError, os_reason

PREPARED = ("dataset_info.json", "prepare-plan.json")  # in folders that `prepare` writes
PREPARED_DATASET = "a prepared dataset"
LINKED_FOLDER = "link to a folder"
_READ_IN_PLACE = "link to a folder that is read where it is"
_READ_BY_LINK = "link to a folder that another link leads to"
_LOOP = "link to a folder that it is in"
_ADVICE = "(--follow-links reads it)"


class FolderSource(Source):
    """Images in a folder, ordered by path.

    Args:
        path: Path of the folder.
        follow_links: Read what links lead to, wherever it is; a folder that several links lead to
            is read once. Otherwise links to folders and links out of the folder are skipped.

    Raises:
        UserError: If there is no such folder, or it cannot be listed.
    """

    of_files = True
    harmless = frozenset({PREPARED_DATASET, _READ_IN_PLACE, _READ_BY_LINK, _LOOP})
    options = frozenset({"follow_links"})

    def __init__(self, path: str | os.PathLike[str], follow_links: bool = False):
        self.root = pathlib.Path(path)
        if not self.root.is_dir():
            raise UserError(f"no folder {self.root}")
        self.description, self.paths = f"folder {self.root}", (self.root,)
        self._follow_links = follow_links
        self._inside = os.path.join(os.path.realpath(self.root), "")
        names: list[str] = []
        skipped: list[tuple[str, str]] = []

        def skip_unlistable(error: OSError) -> None:
            if pathlib.Path(error.filename) == self.root:
                raise UserError(f"cannot list {self.root}: {os_reason(error)}") from error
            skipped.append((self._name(error.filename), f"cannot be listed: {os_reason(error)}"))

        followed: set[str] = set()
        walk = os.walk(self.root, onerror=skip_unlistable, followlinks=follow_links)
        for folder, folders, files in walk:
            folders.sort()
            for path in [os.path.join(folder, name) for name in folders]:
                reason = self._folder_refusal(path, followed)
                if reason:
                    skipped.append((self._name(path), reason))
                    folders.remove(os.path.basename(path))
            for path in [os.path.join(folder, name) for name in files]:
                name = self._name(path)
                reason = refusal(name) or self._file_refusal(path)
                if reason:
                    skipped.append((name, reason))
                else:
                    names.append(name)
        self.names, self.skipped = sorted(names), sorted(skipped)

    def read(self, index: int) -> bytes:
        """Read a file; raise Unreadable."""
        return self._read(index, None)

    def start(self, index: int, size: int) -> bytes:
        """Read the first `size` bytes of a file; raise Unreadable."""
        return self._read(index, size)

    def _read(self, index: int, size: int | None) -> bytes:
        path = self.root / self.names[index]
        try:
            if path.stat().st_size > MAX_BYTES:
                raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
            with path.open("rb") as file:
                return file.read(size)
        except PermissionError as error:
            raise Unreadable("cannot be read: Permission denied") from error
        except OSError as error:
            raise interrupted(path, error) from error

    def fingerprint(self) -> str:
        """Return a checksum of names, sizes and times of change."""
        return checksum((name, *file_facts(self.root / name)) for name in self.names)

    def companion(self, name: str) -> bytes | None:
        """Read a file at the top of the folder."""
        path = self.root / name
        return path.read_bytes() if path.is_file() and not self._file_refusal(str(path)) else None

    def _name(self, path: str) -> str:
        return pathlib.Path(path).relative_to(self.root).as_posix()

    def _file_refusal(self, path: str) -> str | None:
        """Return why a file is not read, for what it is rather than what it is called."""
        try:
            is_link = os.path.islink(path) and not self._follow_links
            if is_link and not os.path.realpath(path).startswith(self._inside):
                return f"link out of the folder {_ADVICE}"
            if not stat.S_ISREG(os.stat(path).st_mode):
                return "not a regular file"
        except OSError as error:
            return f"cannot be read: {os_reason(error)}"
        return None

    def _folder_refusal(self, path: str, followed: set[str]) -> str | None:
        """Return why a folder is not searched; of linked ones, remember those that are."""
        if os.path.islink(path):
            if not self._follow_links:
                return f"{LINKED_FOLDER} {_ADVICE}"
            target = os.path.realpath(path)
            if os.path.join(target, "").startswith(self._inside):
                return _READ_IN_PLACE
            if target in followed:
                return _READ_BY_LINK
            followed.add(target)
        if self._follow_links and _is_loop(path, self.root):
            return _LOOP
        prepared = any(os.path.exists(os.path.join(path, name)) for name in PREPARED)
        return PREPARED_DATASET if prepared else None


def _is_loop(path: str, root: pathlib.Path) -> bool:
    """Return whether a folder is one of those that the path has come through, by another name."""
    target, above = os.path.realpath(path), pathlib.Path(path).parent
    passed = [above, *above.parents[: len(above.parts) - len(root.parts)]]
    return target in {os.path.realpath(folder) for folder in passed}

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


class FolderSource(Source):
    """Images in a folder, ordered by path. Links that lead out of it are not followed.

    Raises:
        UserError: If there is no such folder, or it cannot be listed.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.root = pathlib.Path(path)
        if not self.root.is_dir():
            raise UserError(f"no folder {self.root}")
        self.description, self.paths = f"folder {self.root}", (self.root,)
        self._inside = os.path.realpath(self.root) + os.sep
        names: list[str] = []
        skipped: list[tuple[str, str]] = []

        def skip_unlistable(error: OSError) -> None:
            if pathlib.Path(error.filename) == self.root:
                raise UserError(f"cannot list {self.root}: {os_reason(error)}") from error
            skipped.append((self._name(error.filename), f"cannot be listed: {os_reason(error)}"))

        for folder, folders, files in os.walk(self.root, onerror=skip_unlistable):
            for path in [os.path.join(folder, name) for name in sorted(folders)]:
                reason = _folder_refusal(path)
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
        path = self.root / self.names[index]
        try:
            if path.stat().st_size > MAX_BYTES:
                raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
            return path.read_bytes()
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
            if os.path.islink(path) and not os.path.realpath(path).startswith(self._inside):
                return "link out of the folder"
            if not stat.S_ISREG(os.stat(path).st_mode):
                return "not a regular file"
        except OSError as error:
            return f"cannot be read: {os_reason(error)}"
        return None


def _folder_refusal(path: str) -> str | None:
    """Return why a folder is not searched."""
    if os.path.islink(path):
        return "link to a folder"
    prepared = any(os.path.exists(os.path.join(path, name)) for name in PREPARED)
    return "a prepared dataset" if prepared else None

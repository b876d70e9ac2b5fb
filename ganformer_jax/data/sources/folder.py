"""A folder of pictures, with the folders inside it."""

from __future__ import annotations

import os
import pathlib
import stat

from ganformer_jax.data.sources.names import refusal
from ganformer_jax.data.sources.source import MAX_BYTES, Source, Unreadable, checksum, file_facts
from ganformer_jax.errors import UserError

PREPARED = ("dataset_info.json", "prepare-plan.json")
"""Files that tell that a folder holds what comes out of preparing, not what goes in."""


class FolderSource(Source):
    """Pictures in a folder, ordered by path. Links that lead out of it are not followed.

    Raises:
        UserError: If there is no such folder, or it cannot be listed.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.root = pathlib.Path(path)
        if not self.root.is_dir():
            raise UserError(f"no folder {self.root}")
        self.description = f"folder {self.root}"
        self._inside = os.path.realpath(self.root) + os.sep
        found: list[str] = []
        skipped: list[tuple[str, str]] = []
        self.places = (self.root,)

        def unlistable(error: OSError) -> None:
            if pathlib.Path(error.filename) == self.root:
                raise UserError(f"cannot list {self.root}: {error.strerror or error}") from error
            below = pathlib.Path(error.filename).relative_to(self.root).as_posix()
            skipped.append((below, f"cannot be listed: {error.strerror or error}"))

        for folder, folders, files in os.walk(self.root, onerror=unlistable):
            for name in sorted(folders):
                reason = self._folder_reason(os.path.join(folder, name))
                if reason:
                    skipped.append((self._name(folder, name), reason))
                    folders.remove(name)
            for name in files:
                path, below = os.path.join(folder, name), self._name(folder, name)
                reason = refusal(below) or self._reason(path)
                if reason:
                    skipped.append((below, reason))
                else:
                    found.append(below)
        self.names, self.skipped = sorted(found), sorted(skipped)

    def read(self, index: int) -> bytes:
        """One encoded picture; raises Unreadable."""
        path = self.root / self.names[index]
        try:
            if path.stat().st_size > MAX_BYTES:
                raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
            return path.read_bytes()
        except PermissionError as error:
            raise Unreadable("cannot be read: Permission denied") from error
        except OSError as error:  # a disk that is gone must not look like bad pictures
            raise UserError(
                f"cannot read {path}: {error.strerror or error}; when it is back, the same command "
                "goes on"
            ) from error

    def fingerprint(self) -> str:
        """Checksum of names, sizes and times of change."""
        return checksum((name, *file_facts(self.root / name)) for name in self.names)

    def companion(self, name: str) -> bytes | None:
        """Contents of a file at the top of the folder."""
        path = self.root / name
        return path.read_bytes() if path.is_file() and not self._reason(str(path)) else None

    def _name(self, folder: str, name: str) -> str:
        return pathlib.Path(folder, name).relative_to(self.root).as_posix()

    def _reason(self, path: str) -> str | None:
        """Why a file is not read, for what it is rather than what it is called."""
        try:
            if os.path.islink(path) and not os.path.realpath(path).startswith(self._inside):
                return "link out of the folder"
            if not stat.S_ISREG(os.stat(path).st_mode):
                return "no ordinary file"
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        return None

    @staticmethod
    def _folder_reason(path: str) -> str | None:
        """Why a folder is not looked into."""
        if os.path.islink(path):
            return "link to a folder"
        prepared = any(os.path.exists(os.path.join(path, name)) for name in PREPARED)
        return "a prepared dataset" if prepared else None

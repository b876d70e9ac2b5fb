"""A folder of pictures, with the folders inside it."""

from __future__ import annotations

import os
import pathlib
import stat

from ganformer_jax.data.sources.names import refusal
from ganformer_jax.data.sources.source import MAX_BYTES, Source, Unreadable, checksum, file_facts
from ganformer_jax.errors import UserError


class FolderSource(Source):
    """Pictures in a folder, ordered by path. Links that lead out of it are not followed.

    Raises:
        UserError: if there is no such folder, or it cannot be listed.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.root = pathlib.Path(path)
        if not self.root.is_dir():
            raise UserError(f"no folder {self.root}")
        self.description = f"folder {self.root}"
        self._inside = os.path.realpath(self.root) + os.sep
        found: list[str] = []
        skipped: list[tuple[str, str]] = []
        for folder, folders, files in os.walk(self.root, onerror=self._unlistable):
            folders.sort()
            for name in folders:
                if os.path.islink(os.path.join(folder, name)):
                    skipped.append((self._name(folder, name), "link to a folder"))
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
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror or error}") from error

    def fingerprint(self) -> str:
        """Checksum of names, sizes and times of change."""
        return checksum((name, *file_facts(self.root / name)) for name in self.names)

    def companion(self, name: str) -> bytes | None:
        """Contents of a file at the top of the folder."""
        path = self.root / name
        return path.read_bytes() if path.is_file() else None

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
    def _unlistable(error: OSError) -> None:
        raise UserError(f"cannot list {error.filename}: {error.strerror or error}") from error

"""Weights of the networks behind metrics: files, downloads and checksums."""

import hashlib
import pathlib
import re
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ganformer_jax.caches import caches
from ganformer_jax.download import fetch, sha256
from ganformer_jax.errors import UserError
from ganformer_jax.files import atomic_path

SOURCES = {
    "inception": "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "lpips": "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/"
    "lpips/weights/v0.1/vgg.pth",
}
"""Published files: FID's Inception, torchvision's VGG-16, and LPIPS's weights for it."""


def load_weights(
    name: str,
    *,
    read: Callable[[pathlib.Path], dict[str, np.ndarray]],
    files: Mapping[str, pathlib.Path | None] | None = None,
) -> tuple[dict[str, np.ndarray], str]:
    """Load weights, after downloading them if necessary.

    Args:
        name: One of `SOURCES`.
        read: Function that reads a file: `convert.state_dict.read_state_dict`.
        files: The user's files by name; by default the published ones, in `caches()/weights`.

    Returns:
        Arrays by their PyTorch names, and the SHA-256 of the file.

    Raises:
        UserError: If the file is absent and cannot be downloaded, or does not contain weights.
    """
    path = (files or {}).get(name) or _published_file(name)
    if not path.is_file():
        raise UserError(f"no file {path} with weights of {name}: check --{name}")
    digest = sha256(path)
    print(f"{name}: {path}, sha256 {digest}")
    return read(path), digest


def variables_digest(variables: Mapping[str, Any]) -> str:
    """Return the checksum of a network's variables, independent of the file they were read from."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        total.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return total.hexdigest()


def has_weights(name: str, files: Mapping[str, pathlib.Path | None] | None = None) -> bool:
    """Return whether `load_weights` needs no download."""
    return bool((files or {}).get(name)) or _published_path(name).is_file()


def _published_path(name: str) -> pathlib.Path:
    return caches() / "weights" / f"{name}-{SOURCES[name].rpartition('/')[2]}"


def _published_file(name: str) -> pathlib.Path:
    """Return the path of the published file, downloaded if it is absent."""
    url, path = SOURCES[name], _published_path(name)
    if path.is_file():
        return path
    try:
        with atomic_path(path) as temporary, tempfile.TemporaryDirectory(dir=path.parent) as folder:
            downloaded = fetch(url, pathlib.Path(folder))
            digits = re.search(
                r"-([0-9a-f]{8})\.pth$", url
            )  # of the SHA-256, in PyTorch's file names
            if digits and not sha256(downloaded).startswith(digits[1]):
                raise UserError(f"cannot download {url}: the checksum of the download is wrong")
            downloaded.replace(temporary)
    except UserError as error:
        raise UserError(
            f"{error}; download the file elsewhere and copy it to {path}, or give it as --{name}. "
            "Metrics whose names start with r, such as rfid, need no weights"
        ) from error
    return path

"""Where the weights of the networks behind metrics are, and what came with them."""

from __future__ import annotations

import pathlib
import re
import tempfile

import numpy as np

from ganformer_jax.caches import caches
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.download import fetch, sha256
from ganformer_jax.errors import UserError

SOURCES = {
    "inception": "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "lpips": "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/"
    "lpips/weights/v0.1/vgg.pth",
}
"""Published files: FID's Inception, torchvision's VGG-16, and LPIPS's weights for it."""


def read_weights(name: str, chosen: pathlib.Path | None) -> tuple[dict[str, np.ndarray], str]:
    """Finds, or downloads, and reads weights.

    Args:
        name: One of `SOURCES`.
        chosen: A file that the user names; by default the published one, in `caches()/weights`.

    Returns:
        Arrays by their PyTorch names, and the sha256 of the file.

    Raises:
        UserError: When the file is not there and cannot be had, or holds something else.
    """
    path = chosen or _published(name)
    if not path.is_file():
        raise UserError(f"no file {path} with weights of {name}")
    digest = sha256(path)
    print(f"{name}: {path}, sha256 {digest}")
    return read_state_dict(path), digest


def _published(name: str) -> pathlib.Path:
    """The published file, downloaded when it is not there."""
    url = SOURCES[name]
    path = caches() / "weights" / f"{name}-{url.rpartition('/')[2]}"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            came = fetch(url, pathlib.Path(folder))
            _check_name(came, url)
            came.replace(path)
    except UserError as error:
        raise UserError(
            f"{error}; get it where there is a network, and put it at {path} or name it with "
            f"--{name}. Metrics with an r before their names (rfid) need no weights"
        ) from error
    return path


def _check_name(path: pathlib.Path, url: str) -> None:
    """Names of PyTorch's files end in the first digits of their checksum."""
    digits = re.search(r"-([0-9a-f]{8})\.pth$", url)
    if digits and not sha256(path).startswith(digits[1]):
        raise UserError(f"cannot download {url}: what came has another checksum")

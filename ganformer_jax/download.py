"""Files from the network, with progress, and their checksums."""

from __future__ import annotations

import hashlib
import http.client
import pathlib
import urllib.error
import urllib.parse
import urllib.request

from tqdm import tqdm

from ganformer_jax.errors import UserError

CHUNK = 1 << 20
TIMEOUT = 60  # seconds without a byte


def is_url(text: str) -> bool:
    """Whether it names something to download."""
    return text.lower().startswith(("http://", "https://"))


def fetch(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads a file, showing progress.

    Args:
        url: Http or https; redirections to other schemes are refused.
        folder: Where it goes, under the last part of the URL's path.

    Raises:
        UserError: When it cannot be had whole.
    """
    try:
        name = pathlib.PurePosixPath(urllib.parse.urlsplit(url).path).name or "download"
        path = folder / name
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
            if not is_url(answer.url):
                raise UserError(f"{url} leads to {answer.url}, which is not http(s)")
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=size or None, unit="B", unit_scale=True, desc=name) as bar:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
    except urllib.error.HTTPError as error:
        raise UserError(f"cannot download {url}: {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise UserError(f"cannot download {url}: {reason}") from error
    if size and path.stat().st_size != size:
        raise UserError(f"cannot download {url}: {path.stat().st_size} of {size} bytes came")
    return path


def sha256(path: pathlib.Path) -> str:
    """Checksum of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

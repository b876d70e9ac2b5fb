"""Downloads with progress, and checksums of files."""

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
    """Return whether a text is an http or https URL."""
    return text.lower().startswith(("http://", "https://"))


def fetch(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Download a file, showing progress, and return its path in `folder`.

    It is named as the last part of the URL's path. A download that is incomplete or redirected to
    another scheme than http and https raises `UserError`.
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
        raise UserError(f"cannot download {url}: {path.stat().st_size} of {size} bytes arrived")
    return path


def sha256(path: pathlib.Path) -> str:
    """Return the SHA-256 checksum of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Datasets of the paper: where to download them and how the published code prepares them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import zipfile
import zlib

from tqdm import tqdm

from ganformer_jax.data.sources.archives import ZipSource
from ganformer_jax.data.sources.databases import LmdbSource
from ganformer_jax.data.sources.records import TfrecordSource
from ganformer_jax.data.sources.source import Source
from ganformer_jax.download import CHUNK, fetch
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.files import atomic_path


@dataclasses.dataclass(frozen=True)
class Entry:
    """A dataset of the paper, as in the published code (dorarad/gansformer, prepare_data.py)."""

    title: str
    file: str  # name of the file to download
    url: str  # of the file, or of the page to download it from
    direct: bool  # whether a program can download it
    md5: str | None  # None if none was published
    gigabytes: int  # size of the file
    images: int  # expected number of images
    ratio: float  # height / width that the published code crops to before it pads to a square
    under: str = ""  # folder inside the archive that contains the images
    database: str | None = None  # path of an LMDB inside a zip; it is extracted, then read


CATALOG = {
    "clevr": Entry(
        "CLEVR 1.0",
        "CLEVR_v1.0.zip",
        "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip",
        True,
        "b11922020e72d0cd9154779b2d3d07d2",
        18,
        100_000,
        0.75,
        under="CLEVR_v1.0/images/",
    ),
    "ffhq": Entry(
        "FFHQ at 256x256",
        "ffhq-r08.tfrecords1of1",
        "http://downloads.cs.stanford.edu/nlp/data/dorarad/ffhq-r08.tfrecords1of1",
        True,
        "74de4f07dc7bfb07c0ad4471fdac5e67",
        13,
        70_000,
        1.0,
    ),
    "bedrooms": Entry(
        "LSUN-Bedrooms",
        "bedroom_train_lmdb.zip",
        "http://dl.yf.io/lsun/scenes/bedroom_train_lmdb.zip",
        True,
        "f2c5d904a82a6295dbdccb322b4b0a99",
        43,
        3_033_042,
        188 / 256,
        database="bedroom_train_lmdb/data.mdb",
    ),
    "cityscapes": Entry(
        "Cityscapes",
        "cityscapes.zip",
        "https://drive.google.com/uc?id=1t9Qhxm0iHFd3k-xTYEbKosSx_DkyoLLJ",
        False,
        "953d231046275120dc1f73a5aebc9087",
        2,
        25_000,
        0.5,
    ),
}


def find_entry(name: str) -> Entry | None:
    """Return the entry of this name; None for other names, and if a path of this name exists."""
    return None if pathlib.Path(name).exists() else CATALOG.get(name)


def open_entry(entry: Entry, downloads: pathlib.Path) -> Source:
    """Open a dataset of the catalog; download its file to a folder if it is not there."""
    path = downloads / entry.file
    if not path.is_file():
        _download(entry, downloads)
    if entry.database:
        return LmdbSource(_extract(path, entry.database))
    return TfrecordSource(path) if ".tfrecords" in entry.file else ZipSource(path, entry.under)


def _download(entry: Entry, downloads: pathlib.Path) -> None:
    """Download the file; it gets its final name once it is complete and its checksum is right."""
    advice = f"place {entry.file} ({entry.gigabytes} GB, from {entry.url}) into {downloads}"
    if not entry.direct:
        raise UserError(f"{entry.title} has to be downloaded by hand: {advice}")
    unfinished = downloads / "unfinished"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        path = fetch(entry.url, unfinished)
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if entry.md5 and md5 != entry.md5:
            path.unlink()
            raise UserError(f"{entry.url}: MD5 is {md5}, expected {entry.md5}")
        os.replace(path, downloads / entry.file)
        with contextlib.suppress(OSError):  # another download is in it, running or interrupted
            unfinished.rmdir()
    except UserError as error:
        raise UserError(f"{error}: {advice}") from error
    except OSError as error:
        raise UserError(f"cannot write to {downloads}: {os_reason(error)}") from error


def _extract(archive: pathlib.Path, member: str) -> pathlib.Path:
    """Extract one member of a zip archive to a file beside it, which later calls reuse."""
    target = archive.with_suffix(".mdb")
    if target.is_file():
        return target
    try:
        with zipfile.ZipFile(archive) as file, atomic_path(target) as temporary:
            info = file.getinfo(member)
            with file.open(info) as source, temporary.open("wb") as out:
                size = info.file_size
                with tqdm.wrapattr(source, "read", total=size, desc=member) as reported:
                    shutil.copyfileobj(reported, out, CHUNK)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise UserError(
            f"{archive} is damaged or contains no {member}: download it again"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {archive}: {os_reason(error)}") from error
    return target

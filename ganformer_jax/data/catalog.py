"""The datasets of the paper: where they come from and what the published code made of them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import zipfile

from tqdm import tqdm

from ganformer_jax.data.sources.archives import ZipSource
from ganformer_jax.data.sources.databases import LmdbSource
from ganformer_jax.data.sources.records import TfrecordSource
from ganformer_jax.data.sources.source import Source
from ganformer_jax.download import CHUNK, fetch, is_url
from ganformer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One dataset. Facts from the published code (github.com/dorarad/gansformer, prepare_data.py).

    Attributes:
        title: For people.
        file: Name of the file to have.
        url: Where it is; followed if it is http and nobody has to click anything.
        direct: Whether a program may download it.
        md5: Checksum of the file; None where none was published.
        gigabytes: Size of the download.
        images: How many there should be.
        ratio: Height / width the published code cuts to before it pads to a square.
        under: Folder of the archive that holds the pictures.
        database: Path of an LMDB inside a zip, which must be taken out to be read.
    """

    title: str
    file: str
    url: str
    direct: bool
    md5: str | None
    gigabytes: int
    images: int
    ratio: float
    under: str = ""
    database: str | None = None


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


def open_catalogd(name: str, downloads: pathlib.Path) -> Source:
    """Opens a dataset of the catalog, downloading it where that is possible.

    Args:
        name: A key of `CATALOG`.
        downloads: Folder of downloaded files.

    Raises:
        UserError: If the file is not there and cannot be had: what to place where.
    """
    entry = CATALOG[name]
    path = downloads / entry.file
    if not path.is_file():
        _download(entry, downloads)
    if entry.database:
        return LmdbSource(_take_out(path, entry.database))
    return TfrecordSource(path) if ".tfrecords" in entry.file else ZipSource(path, entry.under)


def _download(entry: Entry, downloads: pathlib.Path) -> None:
    """Puts the file into its place when it is whole, and is the right one."""
    advice = f"place {entry.file} ({entry.gigabytes} GB, from {entry.url}) into {downloads}"
    if not entry.direct or not is_url(entry.url):
        raise UserError(f"{entry.title} has to be downloaded by hand: {advice}")
    part = downloads / "unfinished"
    try:
        part.mkdir(parents=True, exist_ok=True)
        fetched = fetch(entry.url, part)
        if entry.md5 and _md5(fetched) != entry.md5:
            fetched.unlink()
            raise UserError(f"{entry.url} is not the file it was: {advice}")
        os.replace(fetched, downloads / entry.file)
        part.rmdir()
    except UserError as error:
        raise UserError(f"{error}; {advice}" if advice not in str(error) else str(error)) from error
    except OSError as error:
        raise UserError(f"cannot write to {downloads}: {error.strerror or error}") from error


def _md5(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _take_out(archive: pathlib.Path, member: str) -> pathlib.Path:
    """The one member of a zip archive, beside it under a name of ours; kept for next time."""
    target = archive.with_suffix(".mdb")
    if target.is_file():
        return target
    temporary = target.with_name(target.name + ".writing")
    try:
        with zipfile.ZipFile(archive) as file:
            info = file.getinfo(member)
            with file.open(info) as source, temporary.open("wb") as out:
                with tqdm(total=info.file_size, unit="B", unit_scale=True, desc=member) as bar:
                    while chunk := source.read(CHUNK):
                        out.write(chunk)
                        bar.update(len(chunk))
        os.replace(temporary, target)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{archive} is damaged, or has no {member}") from error
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    return target

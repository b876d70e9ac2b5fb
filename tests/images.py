"""Small images, and folders and archives of them."""

import io
import tarfile
import zipfile
import zlib

import numpy as np
from PIL import Image


def encoded(image, form="PNG", **options):
    """Encode a Pillow image."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(level: int) -> bytes:
    """Encode a gray 8x8 image."""
    return encoded(Image.fromarray(np.full((8, 8, 3), level, np.uint8)))


def pixel_bomb() -> bytes:
    """Encode a PNG that claims 60,000 x 60,000 pixels."""
    stored = bytearray(png(0))
    stored[16:24] = (60_000).to_bytes(4, "big") * 2
    stored[29:33] = zlib.crc32(stored[12:29]).to_bytes(4, "big")
    return bytes(stored)


def make_folder(path, members):
    """Write files, contents by name, below a folder."""
    for name, contents in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(contents)
    return path


def make_zip(path, members, **options):
    """Write a zip archive, contents by name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as file:
        for name, contents in members.items():
            file.writestr(name, contents)
    return path


def tar_member(name, contents=b"", **facts):
    """Make a member of a tar archive, of any type."""
    member = tarfile.TarInfo(name)
    member.size = len(contents)
    for key, value in facts.items():
        setattr(member, key, value)
    return member, io.BytesIO(contents)


def make_tar(path, members, mode="w", extra=()):
    """Write a tar archive, contents by name, then extra members."""
    with tarfile.open(path, mode) as file:
        for name, contents in members.items():
            file.addfile(*tar_member(name, contents))
        for member in extra:
            file.addfile(*member)
    return path

"""Small images, and folders and archives of them."""

import io
import struct
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


def gray_png_of_bits(values, bits: int, transparent: int | None = None) -> bytes:
    """Encode gray values [H, W] of 1, 2, 4 or 8 bits as a PNG, of which one may be transparent."""
    planes = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    rows = np.packbits(planes.reshape(len(values), -1), axis=-1)
    key = () if transparent is None else (transparent,)
    return _png(rows, values.shape, bits, 0, key)


def color_png_of_16_bits(pixels, transparent: tuple[int, int, int]) -> bytes:
    """Encode color [H, W, 3] of 16 bits as a PNG, with a transparent color."""
    rows = pixels.astype(">u2").reshape(len(pixels), -1).view(np.uint8)
    return _png(rows, pixels.shape[:2], 16, 2, transparent)


def _png(rows, size, bits: int, color_type: int, transparent) -> bytes:
    header = struct.pack(">IIBBBBB", size[1], size[0], bits, color_type, 0, 0, 0)
    scanlines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = {b"IHDR": header}
    chunks |= {b"tRNS": struct.pack(f">{len(transparent)}H", *transparent)} if transparent else {}
    chunks |= {b"IDAT": zlib.compress(scanlines), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def tiff(values, photometric: int = 1, sample_format: int = 1, planes: int = 1) -> bytes:
    """Encode values [H, W], or [C, H, W] in separate planes, as a TIFF without compression."""
    height, width = values.shape[-2:]
    samples, data = values.size // (height * width), values.tobytes()
    bits = values.dtype.itemsize * 8
    tables, offset = b"", 8 + 12 * 11 + 2 + 4

    def pointed(numbers, kind):  # to a table after the tags, unless the tag has room
        nonlocal tables
        packed = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        if len(packed) <= 4:
            return packed.ljust(4, b"\0")
        tables += packed
        return struct.pack("<I", offset + len(tables) - len(packed))

    per_plane = len(data) // (samples if planes == 2 else 1)
    start = offset + 64  # room for tables
    starts = [start + i * per_plane for i in range(len(data) // per_plane)]
    tags = {
        **{256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * samples)},
        **{259: ("H", [1]), 262: ("H", [photometric]), 273: ("I", starts)},
        **{277: ("H", [samples]), 278: ("I", [height])},
        **{279: ("I", [per_plane] * len(starts)), 284: ("H", [planes])},
        **{339: ("H", [sample_format] * samples)},
    }
    entries = b"".join(
        struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(numbers)) + pointed(numbers, kind)
        for tag, (kind, numbers) in tags.items()
    )
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)
    return head + tables.ljust(64, b"\0") + data


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

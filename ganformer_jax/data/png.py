"""PNG files of datasets: compressed, or stored without compression.

Stored files are larger, and are decoded at the speed of a copy in memory. They are valid PNGs: a
header, one chunk of pixels and an end chunk, where the pixels are zlib's stored blocks of
unfiltered rows (W3C PNG specification, sections 9 to 11). Other PNGs are left to a general decoder.
"""

import io
import struct
import zlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ganformer_jax.errors import UserError

COMPRESSION = 3  # zlib level; higher levels take much longer and save little
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels
_CHANNELS = {color_type: channels for channels, color_type in _COLOR_TYPES.items()}
# Signature; length, name, contents and checksum of the header; length and name of the next chunk.
_START = struct.Struct(">8sI4sIIBBBBBII4s")
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_STORED = ((0x78, 0x01, 0), (0x78, 0x01, 1))  # zlib's header, then that of a stored block


def encode_compressed(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Encode gray (C = 1), color (3) or color with opacity (4) as a compressed PNG."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(buffer, format="PNG", compress_level=COMPRESSION)
    return buffer.getvalue()


def encode_stored(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Encode gray (C = 1), color (3) or color with opacity (4) as an uncompressed PNG."""
    height, width, channels = pixels.shape
    if pixels.dtype != np.uint8 or channels not in _COLOR_TYPES or not pixels.size:
        raise ValueError(f"cannot encode pixels of shape {pixels.shape} and type {pixels.dtype}")
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # the leading 0 means: no filter
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(rows.tobytes(), level=0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _END


def decode_stored(encoded: bytes) -> UInt8[np.ndarray, "h w c"] | None:
    """Decode a file of `encode_stored`; None for other files; raise UserError if it is damaged."""
    if len(encoded) < _START.size + 2 or not encoded.endswith(_END):
        return None
    fields = _START.unpack_from(encoded)
    width, height, depth, color_type, _, _, interlaced, checksum, length, name = fields[3:]
    data = memoryview(encoded)[_START.size : -len(_END) - 4]
    wanted = fields[0] == _SIGNATURE and (depth, interlaced, name) == (8, 0, b"IDAT")
    if not wanted or color_type not in _CHANNELS or len(data) != length:
        return None
    if (data[0], data[1], data[2] & 7) not in _STORED:
        return None
    rows = _rows(data, height, 1 + width * _CHANNELS[color_type])
    if rows is None or zlib.crc32(encoded[12:29]) != checksum:
        raise UserError(
            "a stored image is damaged (wrong checksum or size): prepare the data again"
        )
    if rows[:, 0].any():
        return None  # filtered, so written by another program
    return rows[:, 1:].reshape(height, width, -1)


def _rows(data: memoryview, height: int, row_bytes: int) -> UInt8[np.ndarray, "h d"] | None:
    """Return the contents of zlib's stored blocks; None if their checksum or size is wrong."""
    expected = height * row_bytes
    if not 0 < expected <= len(data):  # as the data is not compressed
        return None
    try:
        found = zlib.decompress(data, bufsize=expected)
    except zlib.error:
        return None
    if len(found) != expected:
        return None
    return np.frombuffer(found, np.uint8).reshape(height, row_bytes)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

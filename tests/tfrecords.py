"""Small TFRecord files, written without TensorFlow."""

import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from ganformer_jax.data.sources.frames import masked
from ganformer_jax.errors import UserError


def complaint(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    message = str(raised.value)
    assert message and "\n" not in message and len(message) < 700
    return message


def frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return (
        length
        + struct.pack("<I", masked(google_crc32c.value(length)))
        + data
        + struct.pack("<I", masked(google_crc32c.value(data)))
    )


def example(**features) -> bytes:
    found = tf_example_pb2.Example()
    for name, value in features.items():
        feature = found.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.extend(value)
    return found.SerializeToString()


def image_at(number: int, size: int, channels: int = 3) -> np.ndarray:
    """Channel, row and column all show in the values."""
    found = np.arange(channels * size * size).reshape(channels, size, size) * 7 + number
    return found.astype(np.uint8)


def write_dataset(folder: Path, count=11, shards: int | None = 3, levels=(2, 3)):
    """Write as GANformer's tools do: images go to the shards in turn."""
    folder.mkdir()
    for level in levels:
        written = [b""] * (shards or 1)
        for number in range(count):
            data = image_at(number, 2**level)
            record = frame(example(shape=data.shape, data=data.tobytes()))
            written[number % len(written)] += record
        for shard, contents in enumerate(written):
            tail = f"{shard + 1}of{shards}" if shards else ""
            (folder / f"cats-r{level:02d}.tfrecords{tail}").write_bytes(contents)
    return folder

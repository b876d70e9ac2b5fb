"""Decoding of the examples of prepared datasets to arrays."""

import io
import zlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image

from ganformer_jax.data.fit import MODES
from ganformer_jax.data.png import decode_stored
from ganformer_jax.errors import UserError, one_line


def decode_example(features: Any, record: bytes) -> dict[str, Any]:
    """Decode the given features of a serialized example; images become uint8 [H, W, C].

    Args:
        features: TFDS features to decode; others in the record are ignored.
        record: The serialized example.

    Raises:
        UserError: If an image is damaged.
    """
    images = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
    skip = {key: tfds.decode.SkipDecoding() for key in images}
    try:
        example: Any = features.deserialize_example_np(record, decoders=skip)
    except (ValueError, zlib.error) as error:  # from images that are stored as arrays
        raise _damaged(error) from error
    for key in images:
        example[key] = _decode_image(example[key], features[key].shape[-1])
    return _as_arrays(example)


def _decode_image(encoded: bytes, channels: int | None) -> UInt8[np.ndarray, "h w c"]:
    stored = decode_stored(encoded)
    if stored is not None and channels in (None, 0, stored.shape[-1]):
        return stored
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            mode = MODES.get(channels or 0, image.mode)
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError) as error:
        raise _damaged(error) from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _damaged(error: Exception) -> UserError:
    return UserError(f"a stored image is damaged ({one_line(error)}): prepare the dataset again")


def _as_arrays(tree: Any) -> Any:
    """Convert lists, which TFDS returns for sequences, to arrays."""
    if isinstance(tree, dict):
        return {key: _as_arrays(value) for key, value in tree.items()}
    return np.asarray(tree)

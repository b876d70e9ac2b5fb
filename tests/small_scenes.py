"""Scenes in tests: a few at once, so that all tests share one program of the renderer."""

import contextlib

import jax
import numpy as np
import pytest

from ganformer_jax.scenes import dataset
from ganformer_jax.scenes.rendering import render_batch

CHUNK, SIDE = 8, 32


@contextlib.contextmanager
def small_chunks():
    """Prepare scenes a few at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "CHUNK_PIXELS", CHUNK * SIDE**2)
        yield


def render_scenes(count: int, seed: int = 0, start: int = 0):
    """Render scenes of 32x32; a multiple of `CHUNK`."""
    batches = [
        render_batch(np.arange(first, first + CHUNK, dtype=np.uint32), seed, SIDE)
        for first in range(start, start + count, CHUNK)
    ]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *batches)

"""Batch normalization over all devices (Ioffe and Szegedy 2015, arXiv 1502.03167)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn


def batch_norm(dtype: Any, axis_name: str | None, name: str, **settings: Any) -> nn.BatchNorm:
    """Return batch normalization as DCGAN and SAGAN have it.

    Args:
        dtype: Type of the result; statistics are float32.
        axis_name: The mapped axis of devices that share the batch, if there is one.
        name: Name of the module.
        settings: Further fields of `nn.BatchNorm`.
    """
    return nn.BatchNorm(
        momentum=0.9, epsilon=1e-5, dtype=dtype, axis_name=axis_name, name=name, **settings
    )

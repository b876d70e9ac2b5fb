"""Settings of XLA's compiler for GPUs, which jax reads once, before it looks for devices."""

from __future__ import annotations

import importlib.util
import os

_PLUGINS = "jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "jax_rocm60_plugin"
_SETTINGS = {
    # Makes softmaxes kernels of Triton, then searches all ways to fuse their neighbors into them.
    "xla_disable_hlo_passes": "triton-softmax-rewriter",
    # Compiles every fused kernel in several forms and runs each, to choose one.
    "xla_gpu_experimental_enable_fusion_autotuner": "false",
}
"""Flags of XLA and values with which programs compile in minutes less; docs/performance.md."""


def prepare_gpu() -> None:
    """Make programs compile faster on GPUs, by the environment variable XLA_FLAGS.

    Call it before jax looks for devices. Flags that the variable has already stay. Without jax's
    plugin for GPUs nothing is changed.
    """
    if not any(map(importlib.util.find_spec, _PLUGINS)):
        return
    flags = os.environ.get("XLA_FLAGS", "")
    missing = [f"--{name}={value}" for name, value in _SETTINGS.items() if name not in flags]
    os.environ["XLA_FLAGS"] = " ".join([flags, *missing]).strip()

"""Settings of XLA for GPUs."""

import importlib.util

import pytest

from ganformer_jax import gpu

BOTH = (
    "--xla_disable_hlo_passes=triton-softmax-rewriter "
    "--xla_gpu_experimental_enable_fusion_autotuner=false"
)


@pytest.mark.parametrize(
    ("plugin", "before", "after"),
    [
        (None, "", ""),
        ("jax_cuda13_plugin", "", BOTH),
        ("jax_rocm7_plugin", "--xla_dump_to=there", f"--xla_dump_to=there {BOTH}"),
        (
            "jax_cuda12_plugin",
            "--xla_disable_hlo_passes=dce",
            "--xla_disable_hlo_passes=dce --xla_gpu_experimental_enable_fusion_autotuner=false",
        ),
    ],
)
def test_flags_are_added_where_a_plugin_for_gpus_is(monkeypatch, plugin, before, after):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == plugin or None)
    monkeypatch.setenv("XLA_FLAGS", before)
    for _ in range(2):
        gpu.prepare_gpu()
        assert gpu.os.environ["XLA_FLAGS"] == after

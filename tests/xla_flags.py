"""Flags of XLA for tests."""

# Tests compile many programs and run each a few times: code that compiles fast halves their cost.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"

"""Flags of XLA for tests."""

import importlib.metadata

# Tests compile many programs and run each a few times: code that compiles fast halves their cost.
# One module of machine code a program: a second thread would only take time from other tests.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
_MAJOR, _MINOR = importlib.metadata.version("jaxlib").split(".")[:2]
if (int(_MAJOR), int(_MINOR)) < (0, 11):  # XLA ends at flags that it does not know
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"

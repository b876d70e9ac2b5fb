"""Compiling for TPUs in a process of its own: their compiler needs no TPU, but it needs libtpu."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def run_for_a_tpu(
    code: str, *arguments: str, environment: Mapping[str, str] | None = None, exit_code: int = 0
) -> tuple[str, str]:
    """Run code that may describe slices; return its output and errors."""
    pytest.importorskip("libtpu")
    tests = Path(__file__).parent
    variables = os.environ | {"JAX_PLATFORMS": "cpu", **(environment or {})}
    variables.pop("XLA_FLAGS", None)  # the TPU's compiler ends at flags that it does not know
    variables["PYTHONPATH"] = os.pathsep.join([str(tests), str(tests.parent), *sys.path])
    command = [sys.executable, "-c", code, *arguments]
    ran = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == exit_code, ran.stderr[-3000:]
    return ran.stdout, ran.stderr

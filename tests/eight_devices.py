"""A process in which jax sees the CPU as eight devices."""

import os
import subprocess
import sys
from pathlib import Path

from xla_flags import FAST_COMPILATION

TESTS = Path(__file__).parent


def on_eight_devices(code: str) -> str:
    """Run code that may import what tests import; return what it prints."""
    paths = os.pathsep.join(map(str, (TESTS, TESTS.parent, TESTS.parent / "benchmarks")))
    flags = f"--xla_force_host_platform_device_count=8 {FAST_COMPILATION}"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout

"""Several processes on this machine that work together, as hosts do."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from xla_flags import FAST_COMPILATION

HERE = Path(__file__).parent
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", ""),
    "HOME": os.environ.get("HOME", "/"),
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "JAX_COMPILATION_CACHE_DIR": str(HERE.parent / ".cache" / "xla"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "XLA_FLAGS": FAST_COMPILATION,
    "XDG_CACHE_HOME": str(HERE.parent / ".cache"),
    "PYTHONPATH": f"{HERE}:{HERE.parent}",
}
TINY_OPTIONS = """
--generator.components 2 --generator.latent-size 8 --generator.base-grid 16 16
--generator.attention-resolutions 16 16 --generator.mapping.num-layers 1
--generator.synthesis.channel-base 64 --generator.synthesis.channel-max 4
--discriminator.channel-base 64 --discriminator.channel-max 4 --data.train-images 64
--data.held-out-images 32
""".split()
"""Of `train`: scenes, and networks that compile in seconds."""


def run_code(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own, with `arguments` in `sys.argv`."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, cwd=cwd
    )


def free_port() -> str:
    """Find a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def start(count: int, *command: str, slurm: bool = False) -> list[subprocess.Popen]:
    """Start processes that find each other by jax's variables, or by those of SLURM."""
    port = free_port()

    def facts(index: int) -> dict[str, str]:
        job = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(count)}
        job |= {"JAX_PROCESS_ID": str(index)}
        if slurm:
            job = {"SLURM_JOB_ID": port, "SLURM_NTASKS": str(count), "SLURM_PROCID": str(index)}
            job |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_LOCALID": str(index)}
        return job

    return [_popen(command, facts(index)) for index in range(count)]


def start_run_py(count: int, *arguments: str) -> list[subprocess.Popen]:
    """Start a command of `run.py`, with nothing that says so if it is one process."""
    command = [str(HERE.parent / "run.py"), *arguments]
    if count > 1:
        return start(count, *command)
    return [_popen(command, {})]


def run_py(count: int, *arguments: str, timeout: float = 240) -> list[tuple[int, str, str]]:
    """Run a command of `run.py` to its end; see `finish`."""
    return finish(start_run_py(count, *arguments), timeout)


def _popen(command: Sequence[str], facts: Mapping[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        env=ENVIRONMENT | facts,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes: list[subprocess.Popen], timeout: float = 120) -> list[tuple[int, str, str]]:
    """Wait for processes; return the exit code, output and errors of each."""
    ended = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            ended.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ended

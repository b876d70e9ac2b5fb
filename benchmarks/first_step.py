"""Time the command line from its start to the end of the first step, without and with the cache.

Command:  python benchmarks/first_step.py

Runs `run.py train` on the default experiment with an empty cache of compiled programs, and again
with the cache that the first run left. The scenes must exist already: `run.py train` renders them.
After its first step a run draws and evaluates samples; the time when this is done is printed too.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).parent.parent
MOMENTS = {
    "training in": "state_made",
    "to be compiled": "compiled",
    "first step done": "first_step",
    "metric/swd": "first_samples_measured",
}


def moments(workdir: pathlib.Path, cache: pathlib.Path, data: str) -> dict[str, float]:
    """Return the seconds from the start to the first line about each moment."""
    batch = ["--train.batch-size", "16", "--train.total-kimg", "0.016", "--train.log-kimg", "0.016"]
    command = [sys.executable, str(REPOSITORY / "run.py"), "train", "--workdir", str(workdir)]
    command += [*batch, "--data.directory", data] if data else batch
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache), "PYTHONUNBUFFERED": "1"}
    began, found = time.perf_counter(), {}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    for line in process.stdout or []:
        for words, name in MOMENTS.items():
            if words in line:
                found.setdefault(name, round(time.perf_counter() - began, 1))
    if process.wait():
        sys.exit(f"{' '.join(command)} failed")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="", help="folder of the prepared scenes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        for name in ("cold", "cached"):
            found = moments(base / name, base / "cache", options.data)
            print(json.dumps({name: found}), flush=True)


if __name__ == "__main__":
    main()

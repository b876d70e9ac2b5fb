"""Time the command line from its start to first samples and first step, without and with the cache.

Command:  python benchmarks/first_step.py

Runs `run.py train` on the config `scenes_ganformer` with an empty cache of compiled programs, and
again with the cache that the first run left. --data names a folder with the scenes; without it each
run renders them first, as that of a newcomer. The first samples are of the untrained generator;
they are evaluated after the first step.
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
    "first samples": "first_samples",
    "to be compiled": "compiled",
    "first step done": "first_step",
    "metric/swd": "first_samples_measured",
}


def moments(workdir: pathlib.Path, cache: pathlib.Path, data: str, last: str) -> dict[str, float]:
    """Return the seconds from the start to the first line about each moment, up to the last one."""
    batch = ["--train.batch-size", "16", "--train.total-kimg", "0.016", "--train.log-kimg", "0.016"]
    command = [sys.executable, str(REPOSITORY / "run.py"), "train", "--workdir", str(workdir)]
    command += ["--config", "scenes_ganformer", *batch]
    command += ["--data.directory", data or str(workdir / "data")]
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache), "PYTHONUNBUFFERED": "1"}
    began, found = time.perf_counter(), {}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    for line in process.stdout or []:
        for words, name in MOMENTS.items():
            if words in line:
                found.setdefault(name, round(time.perf_counter() - began, 1))
        if last in found:
            process.kill()
            process.wait()
            return found
    if process.wait():
        sys.exit(f"{' '.join(command)} failed")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    last = list(MOMENTS.values())[-1]
    parser.add_argument("--data", default="", help="folder of the prepared scenes")
    parser.add_argument("--until", choices=list(MOMENTS.values()), default=last)
    parser.add_argument("--pairs", type=int, default=1, help="of a run without and one with cache")
    options = parser.parse_args()
    for _ in range(options.pairs):
        with tempfile.TemporaryDirectory() as folder:
            base = pathlib.Path(folder)
            for name in ("cold", "cached"):
                found = moments(base / name, base / "cache", options.data, options.until)
                print(json.dumps({name: found}), flush=True)


if __name__ == "__main__":
    main()

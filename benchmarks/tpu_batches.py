"""Find the largest batches that chips of a TPU hold, by what XLA's compiler says.

Command:   python benchmarks/tpu_batches.py [CONFIG] [--slices v5e:2x4 v5e:16x16]

Compiles the adversarial update, which takes more memory than the others, with larger and smaller
batches until the largest is known. Further slices of the same chip are compiled with the batch of
the first. Like tpu.py it needs libtpu and no TPU; every try takes minutes. Prints a row of a table
for each slice; --json keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from ganformer_jax.errors import UserError
from ganformer_jax.train.slices import describe_slice

TPU = pathlib.Path(__file__).with_name("tpu.py")
NEEDED = re.compile(r"needs ([\d.]+) GiB, and a device has ([\d.]+)")

COLUMNS = "slice, pixels, images a chip, share of the peak, million cycles an image, temporary GiB"
COLUMNS += ", MB reduced"

Try = Callable[[int], tuple[dict[str, Any] | None, float]]
"""Takes a number of images a chip; returns figures, if it fits, and the share of memory needed."""


def step_at(images: int) -> int:
    """Return what to round a number of images a chip to: coarser where there are many."""
    if images < 8:
        return 1 if images < 4 else 2
    return max(8, 2 ** (images.bit_length() - 4))


def round_down(images: float) -> int:
    whole = max(int(images), 1)
    return whole // step_at(whole) * step_at(whole)


def largest(attempt: Try, start: int) -> tuple[int, dict[str, Any]]:
    """Return the largest number of images a chip that fits, and its figures.

    Each try is where the last one says that memory ends, next to what is known at least.

    Raises:
        UserError: Not even one image fits.
    """
    fits, figures, fails, images = 0, None, None, start
    while True:
        found, share = attempt(images)
        if found is None:
            fails = images
        else:
            fits, figures = images, found
        above = fits + step_at(fits) if fits else 1
        if fails is not None and above >= fails:
            break
        below = fails - step_at(fails - 1) if fails is not None else sys.maxsize
        images = min(max(round_down(images / share), above), below)
    if figures is None:
        raise UserError("not even one image a chip fits")
    return fits, figures


def attempt_on(options: argparse.Namespace, slice_name: str, resolution: int) -> Try:
    """Return what compiles the adversarial update for a slice, in processes of its own.

    Compilers for TPUs end their process where they find themselves at fault.
    """
    command = [sys.executable, str(TPU), options.config, "--slice", slice_name]
    command += ["--programs", "adversarial", "--resolution", str(resolution)]
    for name in ("dtype", "fsdp"):
        if getattr(options, name) is not None:
            command += [f"--{name}", str(getattr(options, name))]
    chips = len(describe_slice(slice_name))

    def attempt(images: int) -> tuple[dict[str, Any] | None, float]:
        print(f"{slice_name}, {resolution}, {images} images a chip", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "report.json"
            more = ["--batch", str(images * chips), "--json", str(report)]
            ran = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
            figures = json.loads(report.read_text())["adversarial"] if report.exists() else None
        if figures is not None:
            used = figures["temporary GiB"] + figures["arguments GiB"]
            print(f"  fits: {used:.2f} GiB", file=sys.stderr, flush=True)
            return figures, used / figures["GiB of a chip"]
        needed = NEEDED.search(ran.stderr)
        if needed:
            print(f"  does not fit: {needed[1]} GiB", file=sys.stderr, flush=True)
            return None, float(needed[1]) / float(needed[2])
        if ran.returncode >= 0:
            raise UserError(ran.stderr.strip().splitlines()[-1].removeprefix("error: "))
        print(f"  the compiler ended by signal {-ran.returncode}", file=sys.stderr, flush=True)
        return None, 2.0

    return attempt


def row(slice_name: str, resolution: int, images: int, figures: dict[str, Any]) -> str:
    share, cycles = figures["share of the peak in bfloat16"], figures["million cycles"]
    memory, sent = figures["temporary GiB"], figures["bytes sent"] / 1e6
    words = f"{share:.2f} | {cycles / images:.1f} | {memory:.1f} | {sent:.0f}"
    return f"| {slice_name} | {resolution} | {images} | {words} |"


def run(options: argparse.Namespace) -> None:
    known: dict[tuple[str, int], int] = {}
    report = []
    print("|".join(["", *COLUMNS.split(","), ""]), "|" + " --- |" * 7, sep="\n", flush=True)
    for slice_name in options.slices:
        kind = slice_name.partition(":")[0]
        for resolution in options.resolutions:
            attempt = attempt_on(options, slice_name, resolution)
            images = known.get((kind, resolution))
            if images is None:
                images, figures = largest(attempt, options.start)
                known[kind, resolution] = images
            else:
                figures, _ = attempt(images)
            if figures is None:
                raise UserError(
                    f"{slice_name} does not hold the {images} images of the first slice"
                )
            print(row(slice_name, resolution, images, figures), flush=True)
            report.append(
                {"slice": slice_name, "resolution": resolution, "images": images} | figures
            )
            if options.json:
                options.json.write_text(json.dumps(report, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", nargs="?", default="ffhq", help="name or path")
    parser.add_argument("--slices", nargs="+", default=["v5e:2x4"])
    parser.add_argument("--resolutions", nargs="+", type=int, default=[256, 512, 1024])
    parser.add_argument("--start", type=int, default=8, help="images a chip to try first")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--fsdp", type=int, help="chips that share one copy of the state")
    parser.add_argument("--json", type=pathlib.Path)
    try:
        run(parser.parse_args())
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""Run the parts that are named, by default all, and print their rows as a table."""

import argparse
import pathlib
import tempfile

from absl import logging

from . import __doc__ as about
from .damage import files
from .disks import disk
from .kills import kills, prepare
from .not_finite import numbers
from .processes_killed import hosts

PARTS = {part.__name__: part for part in (kills, prepare, files, numbers, disk, hosts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    for unknown in set(parts) - set(PARTS):
        parser.error(f"no part {unknown}: choose from {', '.join(PARTS)}")
    logging.set_verbosity(logging.FATAL)
    failed = 0
    print("| fault | times | outcome | failures |\n| --- | --- | --- | --- |")
    for name in parts:
        with tempfile.TemporaryDirectory() as folder:
            for what, times, outcome, failures in PARTS[name](pathlib.Path(folder)):
                failed += failures
                print(f"| {what} | {times} | {outcome} | {int(failures)} |", flush=True)
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()

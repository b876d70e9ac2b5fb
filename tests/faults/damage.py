"""Files of checkpoints that are damaged."""

import dataclasses
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator

from training import train_mean, with_train

from . import Row, final_state, same


def damages() -> dict[str, Callable[[pathlib.Path], object]]:
    def flip(path: pathlib.Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(data)

    return {
        "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
        "emptied": lambda path: os.truncate(path, 0),
        "removed": lambda path: path.unlink(),
        "bit-flipped": flip,
    }


def files(folder: pathlib.Path) -> Iterator[Row]:
    """Damage every file of the newest checkpoint in turn, then resume."""
    config = with_train(checkpoint_kimg=0.128)
    half = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=0.256))
    train_mean(folder / "unbroken", config)
    expected = final_state(folder / "unbroken")
    train_mean(folder / "half", half)
    newest = folder / "half" / "checkpoints" / "16"
    names = [p.relative_to(newest) for p in sorted(newest.rglob("*")) if p.is_file()]
    for kind, damage in damages().items():
        outcome, failures = Counter(), 0
        for name in names:
            run, said = folder / "damaged", []
            shutil.copytree(folder / "half", run)
            path = run / "checkpoints" / "16" / name
            if path.stat().st_size or kind == "removed":
                damage(path)
            train_mean(run, config, say=said.append)
            fell_back = any("is damaged" in line for line in said)
            outcome["said so and fell back" if fell_back else "did not need the file"] += 1
            failures += not same(final_state(run), expected)
            shutil.rmtree(run)
        words = ", ".join(f"{n} {name}" for name, n in outcome.most_common())
        yield f"file of a checkpoint {kind}", len(names), f"{words}; all bit-identical", failures

"""Faults on purpose: kills, damaged files, full disks, numbers that are not finite.

Command:   python -m tests.faults [kills] [prepare] [files] [numbers] [disk] [hosts]

Each part prints rows of a table: what was done, how often, what came of it. The exit code is 1 if
anything ended otherwise than it should. Runs are those of a model that compiles in no time, but
numbers that are not finite are those of a GAN.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import conftest  # noqa: F401 - settings of jax
import jax
import numpy as np
from training import mean_programs, on_host, with_train

from ganformer_jax.train.checkpoints.checkpoints import Checkpoints

STEPS = 240
CONFIG = with_train(
    total_kimg=STEPS * 16 / 1000, checkpoint_kimg=0.064, log_kimg=0.032, checkpoints_kept=2
)
Row = tuple[str, int, str, int]
"""What was done, how often, what came of it, and the number of failures."""


def final_state(run: pathlib.Path):
    with Checkpoints(run, read_only=True) as checkpoints:
        return on_host(checkpoints.restore(mean_programs().abstract_state()))


def same(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)

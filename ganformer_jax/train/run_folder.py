"""Which experiment a run's folder holds, and whether another may use it: nothing is overwritten."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from ganformer_jax.config_files import differences, from_dict, to_dict
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.files import write_atomically

CONFIG_FILE = "config.json"

# What may change between one command and the next on the same run.
FREE = ("data.directory", "data.threads", "train.total_kimg", "train.devices", "train.platform")
FREE += ("train.log_kimg", "train.image_kimg", "train.metric_kimg", "train.metric_images")
FREE += ("train.metrics",)
FREE += ("train.checkpoint_kimg", "train.checkpoints_kept")


def save_config(config: Any, run: pathlib.Path) -> None:
    """Write the experiment of a run where `check_new_run` and people look for it."""
    write_atomically(run / CONFIG_FILE, json.dumps(to_dict(config), indent=2) + "\n")


def check_same_run(saved: Any, asked: Any, run: str | pathlib.Path) -> None:
    """Refuse to resume a run as another experiment.

    Length, devices and what is written may change; see `FREE`.

    Raises:
        UserError: Which lists the fields that differ.
    """
    changed = {n: v for n, v in differences(saved, asked).items() if n not in FREE}
    if changed:
        listed = ", ".join(f"{name} was {a}, now {b}" for name, (a, b) in changed.items())
        raise UserError(f"{run} holds a run of another config ({listed}): choose another --workdir")


def check_new_run(asked: Any, run: pathlib.Path) -> None:
    """Refuse to start in a folder without checkpoints that holds what is left of another run.

    Raises:
        UserError: If it has damaged checkpoints, or the config or the numbers of another run.
    """
    another = "choose another --workdir"
    damaged = sorted(path.name for path in run.glob("checkpoints/damaged-*"))
    if damaged:
        raise UserError(f"{run} has only damaged checkpoints ({', '.join(damaged)}): {another}")
    path, metrics = run / CONFIG_FILE, run / "metrics.jsonl"
    if not path.exists():
        if metrics.exists() and metrics.stat().st_size:
            raise UserError(f"{metrics} is of another run: {another}")
        return
    try:
        saved = from_dict(type(asked), json.loads(path.read_text()))
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{path} is not of such a run ({one_line(error)}): {another}") from error
    check_same_run(saved, asked, run)

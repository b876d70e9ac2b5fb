"""Check of a run's folder, so that no other experiment is overwritten."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ganformer_jax.config_files import differences, from_dict
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.train.history import events

CONFIG_FILE = "config.json"
ANOTHER = "choose another --workdir"

# What may change between one command and the next on the same run.
FREE = ("data.directory", "data.threads", "train.total_kimg", "train.devices", "train.platform")
FREE += ("train.batch_size",)
FREE += ("train.log_kimg", "train.image_kimg", "train.metric_kimg", "train.metric_images")
FREE += ("train.metrics", "train.checkpoint_kimg", "train.checkpoints_kept", "train.recoveries")
FREE += ("train.fsdp", "train.accumulate", "train.rematerialize", "train.matmul_precision")
FREE += ("generator.dtype", "discriminator.dtype")


def check_run(
    run: pathlib.Path,
    asked: Any,
    saved: Mapping[str, Any] | None,
    identities: Mapping[str, str] | None = None,
) -> list[str]:
    """Refuse a folder that holds another experiment, or files of one; list what has changed.

    Args:
        run: The folder.
        asked: The config to train; the fields in `FREE` may differ.
        saved: The config that a checkpoint of the run holds, as nested dicts; None without one.
        identities: Checksum of what an option names, by the option, which may differ if the run's
            history has the same checksum.
    """
    path = run / CONFIG_FILE
    if saved is None:
        _check_leftovers(run)
        if not path.exists():
            return []
    try:
        values = json.loads(path.read_text()) if saved is None else saved
        changed = differences(from_dict(type(asked), values), asked)
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{path} is not of such a run ({one_line(error)}): {ANOTHER}") from error
    known: dict[str, str] = {}
    for event in events(run):
        known |= event.get("identities", {})
    same = {n for n, checksum in (identities or {}).items() if known.get(n) == checksum}
    words = {n: f"{n} was {a}, now {b}" for n, (a, b) in changed.items()}
    listed = [said for n, said in words.items() if n not in FREE and n not in same]
    if listed:
        raise UserError(f"{run} holds a run of another config ({', '.join(listed)}): {ANOTHER}")
    return list(words.values())


def _check_leftovers(run: pathlib.Path) -> None:
    """Refuse damaged checkpoints, and numbers of a run that left no config."""
    damaged = sorted(path.name for path in run.glob("checkpoints/damaged-*"))
    if damaged:
        raise UserError(f"{run} has only damaged checkpoints ({', '.join(damaged)}): {ANOTHER}")
    metrics = run / "metrics.jsonl"
    if not (run / CONFIG_FILE).exists() and metrics.exists() and metrics.stat().st_size:
        raise UserError(f"{metrics} is of another run: {ANOTHER}")

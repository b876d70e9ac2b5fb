"""The folder of a run: opened and locked, and checked, so that nothing is overwritten."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from ganformer_jax import hosts
from ganformer_jax.config.dicts import differences, from_dict, to_dict
from ganformer_jax.config.files import CONFIG_FILE
from ganformer_jax.errors import TemporaryError, UserError, one_line, os_reason
from ganformer_jax.files import write_atomically
from ganformer_jax.locks import exclusive_lock
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.devices import accelerator_failure, runs_on_cpu
from ganformer_jax.train.logs.history import events
from ganformer_jax.train.trainable import Trainable

ANOTHER = "choose another --workdir"

# Options that may change between one command and the next on the same run.
FREE = ("data.directory", "data.threads", "train.total_kimg", "train.devices", "train.platform")
FREE += ("train.batch_size",)
FREE += ("train.log_kimg", "train.image_kimg", "train.metric_kimg", "train.metric_images")
FREE += ("train.metrics", "train.checkpoint_kimg", "train.checkpoints_kept", "train.recoveries")
FREE += ("train.fsdp", "train.accumulate", "train.rematerialize", "train.matmul_precision")
FREE += ("train.stall_minutes",)
FREE_ENDS = (".dtype",)
"""Ends of names of further options that may change: parameters are float32 in any case."""
SAVED = ("stopped", "completed", "resumed")
"""Events of a run's history that follow a checkpoint, if they have no reason and a step above 0."""
OWN = ("data.directory", "data.threads")
"""Options that may differ from process to process."""


def check_accelerator(run: pathlib.Path, devices: Sequence[Any], platform: str | None) -> None:
    """Refuse to resume a run of accelerators on the CPU, unless that is asked for.

    jax takes the CPU without a word if an accelerator fails, as when another process still has it.

    Args:
        run: Folder of the run; there may be none yet.
        devices: Devices to train on.
        platform: The platform asked for; None for the one that jax prefers.

    Raises:
        TemporaryError: If so.
    """
    words = hosts.first(lambda: [e["devices"] for e in events(run) if "devices" in e][-1:])
    if not words or " cpu device" in words[0] or devices[0].platform != "cpu":
        return
    if runs_on_cpu(platform):
        return
    reason = accelerator_failure() or "jax finds the CPU only"
    raise TemporaryError(
        f"{run} was trained on {words[0]}, and now {reason}; give --train.platform cpu to resume "
        "it on the CPU"
    )


def check_hosts(config: Any, identities: Mapping[str, str]) -> None:
    """Refuse processes whose config, dataset or jax differ, as each would train something else.

    Args:
        config: The config of this process.
        identities: See `check_run`; options that are named here are compared by their checksums.

    Raises:
        UserError: On all processes, with the first difference.
    """
    flat = flatten_dict(to_dict(config), sep=".")
    options = {n: value for n, value in flat.items() if n not in {*OWN, *identities}}
    checksums = {f"the checksum of {name}": value for name, value in identities.items()}
    versions = {"the version of jax": jax.__version__}
    hosts.check_equal(options | checksums | versions)


def open_checkpoints(
    run: pathlib.Path,
    trainable: Trainable,
    latest: int,
    say: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> Checkpoints:
    """Lock the run against other commands that train it, and open its checkpoints.

    Args:
        run: The folder, which is made if there is none.
        trainable: Says what version a state has.
        latest: Number of the newest checkpoints to keep.
        say: Receives warnings.
        stack: Closes the checkpoints, then unlocks the run.

    Raises:
        UserError: If the folder cannot be written, is in use, or is not the same on every host.
    """
    version, added = trainable.state_version, trainable.added_leaves
    try:
        run.mkdir(parents=True, exist_ok=True)
        hosts.check_shared(run)
        if hosts.is_first():
            stack.enter_context(exclusive_lock(run, "training in", say))
        checkpoints = Checkpoints(run, latest, say, version=version, added=added)
        return stack.enter_context(checkpoints)
    except OSError as error:
        raise UserError(f"cannot write to {run}: {os_reason(error)}") from error


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
        identities: Checksum of what an option names, by the option. The name may differ if the
            checksum is that of the run's history; another checksum is refused.
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
        raise UserError(
            f"{path} cannot be read as the config of this run ({one_line(error)}): {ANOTHER}"
        ) from error
    given, known = identities or {}, _first_identities(run)
    same = {n for n, checksum in given.items() if known.get(n) == checksum}
    words = {n: f"{n} was {a}, now {b}" for n, (a, b) in changed.items()}
    listed = [said for n, said in words.items() if not (n in same or _may_change(n))]
    if listed:
        hint = f"{ANOTHER}, or {_how_to_resume(run, type(asked), values)} to resume this run"
        raise UserError(f"{run} holds a run of another config ({', '.join(listed)}): {hint}")
    for name in given.keys() & known.keys() - same:
        raise UserError(
            f"{run} was trained on other data: the checksum of {name} was {known[name]} and is "
            f"{given[name]}; put the former back, or {ANOTHER}"
        )
    return list(words.values())


def _first_identities(run: pathlib.Path) -> dict[str, str]:
    """Return the checksums of what options named when a run began."""
    known: dict[str, str] = {}
    for event in events(run):
        known = event.get("identities", {}) | known
    return known


def _how_to_resume(run: pathlib.Path, kind: type[Any], saved: Mapping[str, Any]) -> str:
    """Return what to give, as far as the config file of a run is still that of the run."""
    path = run / CONFIG_FILE
    try:
        stored = from_dict(kind, json.loads(path.read_text()))
        unchanged = not differences(from_dict(kind, saved), stored)
    except (OSError, ValueError, UserError):
        unchanged = False
    if not unchanged:
        return "set these options as they were"
    return "give " + shlex.join(["--config", str(path), "--workdir", str(run)])


def store_config(run: pathlib.Path, config: Any) -> None:
    """Write the config of a run to its folder, by the first process, unless it is there already."""
    if not hosts.is_first():
        return
    path, text = run / CONFIG_FILE, json.dumps(to_dict(config), indent=2) + "\n"
    with contextlib.suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:  # a full disk has no room to write it again
            return
    write_atomically(path, text)


def _may_change(option: str) -> bool:
    return option in FREE or option.endswith(FREE_ENDS)


def _check_leftovers(run: pathlib.Path) -> None:
    """Refuse damaged or lost checkpoints, and numbers of a run that left no config."""
    damaged = sorted(path.name for path in run.glob("checkpoints/damaged-*"))
    if damaged:
        raise UserError(f"{run} has only damaged checkpoints ({', '.join(damaged)}): {ANOTHER}")
    saved = [e.get("step", 0) for e in events(run) if e.get("event") in SAVED and "reason" not in e]
    if any(saved):
        raise UserError(
            f"{run} was trained to step {max(saved)}, and its checkpoints are not there: put back "
            f"{run / 'checkpoints'}, or {ANOTHER}"
        )
    metrics = run / "metrics.jsonl"
    if not (run / CONFIG_FILE).exists() and metrics.exists() and metrics.stat().st_size:
        raise UserError(f"{metrics} is of another run: {ANOTHER}")

"""Reading of a run of any kind: parts of a checkpoint's state, and the config."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from ganformer_jax.config.kinds import kind_named, kind_of
from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints.best import step_of
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints

PROGRESS = ("step", "images_seen")
"""Fields of every state in training that say how far it is."""


def read_run(
    run: str | os.PathLike[str],
    names: Collection[str],
    step: int | None = None,
    best: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], Any]:
    """Read fields of a checkpoint's state, and the config, of a run of any kind.

    Args:
        run: Folder of the run.
        names: The fields.
        step: Step of the checkpoint; by default the newest that is not damaged.
        best: Use the checkpoint with the best metric instead.
        say: Receives the metric and the value that decided.

    Raises:
        UserError: If there is no such checkpoint.
    """
    with _quiet_absl(), Checkpoints(pathlib.Path(run), read_only=True) as checkpoints:
        if best:
            step = step_of(checkpoints.best(), run, say)
        return checkpoints.weights(step, names)


class KindOfRun(NamedTuple):
    """Fields of a checkpoint's state, the config, and how far training was."""

    fields: dict[str, Any]
    config: Any
    step: int
    images_seen: int


def read_kind(
    run: str | os.PathLike[str],
    kind: str,
    names: Collection[str],
    step: int | None = None,
    best: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> KindOfRun:
    """Read fields of a checkpoint's state as `read_run` does, of a run of one kind.

    Raises:
        UserError: If there is no such checkpoint, or the run is of another kind.
    """
    fields, config = read_run(run, (*names, *PROGRESS), step, best, say)
    if not isinstance(config, kind_named(kind).config):
        found = kind_of(config)
        raise UserError(f"{run} is of kind {found}, not {kind}: {kind_named(found).hint}")
    step_done, images_seen = (int(fields.pop(name)) for name in PROGRESS)
    return KindOfRun(fields, config, step=step_done, images_seen=images_seen)


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Silence Orbax, which warns of everything that reading without writing omits."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)

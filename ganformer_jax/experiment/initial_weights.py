"""Weights that a new run starts from, read from a run, an export or a snapshot."""

from __future__ import annotations

import pathlib
import tempfile
import zlib
from collections.abc import Callable
from typing import Any

from ganformer_jax import hosts
from ganformer_jax.captions import TOKENIZER_FILE, CaptionTokenizer, load_tokenizer
from ganformer_jax.config import Config
from ganformer_jax.config.kinds import as_gan
from ganformer_jax.convert.export import exported_weights, is_safetensors
from ganformer_jax.convert.snapshot import read_snapshot
from ganformer_jax.convert.snapshot_contents import run_weights
from ganformer_jax.download import fetch, is_url
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.experiment.sample_files import weights_digest
from ganformer_jax.files import write_atomically
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.optimizer_step import frozen_layers
from ganformer_jax.train.state import TrainState
from ganformer_jax.train.transfer.report import REPORT_FILE, full_list, summary
from ganformer_jax.train.transfer.start import Transfer, start_from
from ganformer_jax.train.transfer.words import Words


def warm_start(
    source: str,
    config: Config,
    run: pathlib.Path,
    say: Callable[[str], None] = print,
    tokenizer: str = "",
) -> Callable[[TrainState], TrainState]:
    """Read weights; return a function that puts them into a state and writes a report.

    Args:
        source: Folder of a run, or path or http(s) URL of an export or a published snapshot.
        config: The config of the new run, which may have other classes, channels, resolution and
            components.
        run: Folder of the new run, for `transfer.txt`.
        say: Receives lines for the user.
        tokenizer: The tokenizer.json of its captions; "" if images have none.

    Raises:
        UserError: If the weights cannot be read or have too little in common with the config, or
            processes read different weights.
    """
    weights, there = read_weights(source, say)
    words = _words(source, there, tokenizer, say)
    facts = {
        "weights": weights_digest(weights),
        "words": words and zlib.crc32(repr(words).encode()),
    }
    hosts.check_equal({f"the checksum of the {n} of {source}": fact for n, fact in facts.items()})
    transfer = start_from(weights, there, config, source, words)
    _check_frozen(transfer, config, source)
    if transfer.complete:
        say(f"starting from the weights of {source}")
    else:
        say(f"starting from the weights of {source}; {run / REPORT_FILE} lists all arrays")
        for line in summary(transfer.report):
            say(line)

    def put_weights(state: TrainState) -> TrainState:
        if hosts.is_first():
            write_atomically(run / REPORT_FILE, full_list(transfer.report, source))
        return transfer.put(state)

    return put_weights


def read_weights(source: str, warn: Callable[[str], None] = print) -> tuple[dict[str, Any], Config]:
    """Read the weights of a run, an export or a published snapshot, and a config that they fit.

    For a run, they are those of the newest undamaged checkpoint. A file without a discriminator
    gives none; if the trained generator is absent, the averaged one takes its place.

    Raises:
        UserError: If the run or file does not exist, or cannot be read.
    """
    if is_url(source):
        with tempfile.TemporaryDirectory() as folder:
            return _read_file(fetch(source, pathlib.Path(folder)))
    path = pathlib.Path(source)
    if path.is_dir():
        with Checkpoints(path, warn=warn, read_only=True) as checkpoints:
            weights, config = checkpoints.weights()
            return weights, as_gan(config, source)
    if not path.is_file():
        raise UserError(f"no run and no file {path}")
    return _read_file(path)


def _check_frozen(transfer: Transfer, config: Config, source: str) -> None:
    """Raise `UserError` if frozen layers of the discriminator are not among the weights."""
    frozen = {f"discriminator.{name}" for name in frozen_layers(config)}
    new = {".".join(e.path.split(".")[:2]) for e in transfer.report if e.outcome == "new"}
    if missing := sorted(frozen & new):
        raise UserError(
            f"train.freeze_discriminator is {config.train.freeze_discriminator}, but {source} does "
            f"not have {', '.join(missing)}, which would stay random: lower it"
        )


def _words(source: str, there: Config, tokenizer: str, warn: Callable[[str], None]) -> Words | None:
    """Return the words of the source's captions and of the new run's; None if either is unknown."""
    if not tokenizer or not there.generator.text.vocabulary:
        return None
    known = None if is_url(source) else load_tokenizer(pathlib.Path(source))
    if known is None:
        warn(
            f"warning: no {TOKENIZER_FILE} with {source}: words are taken to have the numbers that "
            "they have here"
        )
        return None
    if known.vocabulary != there.generator.text.vocabulary:
        raise UserError(
            f"{TOKENIZER_FILE} of {source} has {known.vocabulary} tokens, and its generator knows "
            f"{there.generator.text.vocabulary}: put back its own"
        )
    return Words(tuple(known.words()), tuple(CaptionTokenizer(tokenizer).words()))


def _read_file(path: pathlib.Path) -> tuple[dict[str, Any], Config]:
    try:
        exported = is_safetensors(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    return exported_weights(path) if exported else run_weights(read_snapshot(path))

"""Samples of a prior in a folder, each with a record; existing images are kept."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.sample_files import (
    Batch,
    figure_paths,
    in_turn,
    make_records,
    weights_digest,
    write_set,
)
from ganformer_jax.experiment.samples import GRID, SampleSet, draw_grid
from ganformer_jax.models.codebook import Codebook
from ganformer_jax.sampling.priors import PriorSampler
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.prior import trains_transformer
from ganformer_jax.train.kinds.prior_state import WEIGHTS
from ganformer_jax.train.run_reading import read_kind


class LoadedPrior(NamedTuple):
    """The networks of a checkpoint, and its progress in training."""

    config: PriorConfig
    variables: Mapping[str, Any]
    """As `PriorSampler` takes them."""
    step: int
    images_seen: int


def load_prior(
    run: pathlib.Path,
    step: int | None = None,
    best: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> LoadedPrior:
    """Load the networks of a run of a prior, as `read_kind` does."""
    read = read_kind(run, "prior", WEIGHTS, step, best, say)
    codebook = Codebook(**{n: jnp.asarray(array) for n, array in read.fields["codebook"].items()})
    variables = read.fields | {"codebook": codebook}
    return LoadedPrior(read.config, variables, read.step, read.images_seen)


def check_drawing(prior: LoadedPrior, temperature: float, top_k: int, run: pathlib.Path) -> None:
    """Check that a prior can draw codes with these settings.

    Raises:
        UserError: If a setting is out of range, or the transformer is not trained yet.
    """
    entries, kimg = prior.config.codebook.entries, prior.config.prior.autoencoder_kimg
    if not 0 <= temperature < float("inf"):
        raise UserError(f"--temperature is {temperature}; it should be 0 or more")
    if not 0 <= top_k <= entries:
        raise UserError(f"--top-k is {top_k}; it should be from 0 to {entries}, codebook.entries")
    if not trains_transformer(prior.config, prior.images_seen):
        raise UserError(
            f"{run} is at {prior.images_seen / 1000:g} kimg, and its transformer trains after "
            f"{kimg:g}: train it further"
        )


def write_prior_samples(
    prior: LoadedPrior,
    wanted: SampleSet,
    folder: pathlib.Path,
    placement: Placement,
    batch_size: int = 16,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    columns: int | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write `<seed>.png` for each seed, `samples.jsonl`, and a grid beside the folder.

    Images that an earlier call made with the same settings and weights are kept; processes divide
    the rest.

    Args:
        prior: The networks.
        wanted: The images; truncation has no effect.
        folder: Where to write; the figure is `<folder>-grid.png`.
        placement: Devices of this process.
        batch_size: Images per batch; rounded up to a multiple of the devices.
        temperature: Divisor of the logits; 0 chooses the most probable code.
        top_k: Number of most probable codes to draw from; 0 for all.
        columns: Columns of the grid.
        overwrite: Replace files that are not images of this set.
        say: Receives lines for the user.

    Raises:
        UserError: If a file would be replaced, or cannot be written.
    """
    config, digest = prior.config, weights_digest(prior.variables)
    facts = {"temperature": temperature, "top_k": top_k, "weights": digest}
    records = make_records(wanted.seeds, wanted.facts, facts)
    figures = figure_paths(folder, "grid")
    batch = placement.rounded(batch_size)
    sampler = PriorSampler(config, batch, top_k, placement.batch)

    def make(places: Sequence[int]) -> Iterator[Batch]:
        seeds, labels, *_ = wanted.arguments(places)
        variables = jax.device_put(prior.variables, placement.replicated)
        return in_turn(places, sampler.stream(variables, seeds, labels, temperature))

    channels = config.autoencoder.image_channels

    def draw() -> None:
        shown = [folder / record["file"] for record in records[:GRID]]
        draw_grid(figures[0], shown, (*config.autoencoder.image_size, channels), columns)

    write_set(folder, records, figures, make, draw, channels=channels, overwrite=overwrite, say=say)

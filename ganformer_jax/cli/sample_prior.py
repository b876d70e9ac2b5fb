"""`sample` for a prior."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganformer_jax.cli.sample import Options

OF_PRIORS = ("workdir", "step", "best", "out", "count", "seed", "seeds", "class_names", "prompt")
OF_PRIORS += ("temperature", "top_k", "batch_size", "overwrite", "hosts")
"""Options of `sample` that apply to priors."""


def sample_prior(options: Options, seeds: Sequence[int], folder: pathlib.Path) -> None:
    """Write images of these seeds and `samples.jsonl` to a folder, and a grid beside it."""
    options.check_run()
    options.hosts.connect()
    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.experiment.prior.sample_files import (
        check_drawing,
        load_prior,
        write_prior_samples,
    )
    from ganformer_jax.experiment.samples import SampleSet

    placement = local_devices(options.batch_size)
    prior = load_prior(options.workdir, options.step, options.best, print)
    check_drawing(prior, options.temperature, options.top_k, options.workdir)
    conditions = prior.config.prior
    chosen = options.choose_labels(seeds, conditions.label_size, conditions.vocabulary)
    write_prior_samples(
        prior,
        SampleSet(seeds, chosen.labels, chosen.facts),
        folder,
        placement,
        options.batch_size,
        temperature=options.temperature,
        top_k=options.top_k,
        columns=chosen.columns,
        overwrite=options.overwrite,
    )

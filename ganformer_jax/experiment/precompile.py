"""Compilation of an experiment's programs before training, so that training finds them cached."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.config_ganformer2 import GANformer2Config
from ganformer_jax.config_kinds import validate_experiment
from ganformer_jax.config_prior import PriorConfig
from ganformer_jax.config_translation import TranslationConfig
from ganformer_jax.experiment.ganformer2 import LatestScenes, read_weights
from ganformer_jax.experiment.observers import LatestGenerator
from ganformer_jax.experiment.prior import LatestPrior
from ganformer_jax.experiment.translation import LatestTranslators
from ganformer_jax.train.compile import Programs, compile_program, memory_of
from ganformer_jax.train.devices import Placement, device_words, find_devices, place_on
from ganformer_jax.train.ganformer2 import ganformer2_trainable
from ganformer_jax.train.prior import prior_trainable
from ganformer_jax.train.prior_state import weights_of
from ganformer_jax.train.progress import duration
from ganformer_jax.train.slices import describe_slice
from ganformer_jax.train.trainable import State
from ganformer_jax.train.translation import translation_trainable
from ganformer_jax.train.updates import gan_trainable

Lower = Callable[[], jax.stages.Lowered]


def precompile(
    config: Any, slice_name: str | None = None, say: Callable[[str], None] = print
) -> None:
    """Compile the first state, the updates and the samples into jax's cache of programs.

    Metrics are not among them. For each program, what it takes of a device's memory is said.

    Args:
        config: The experiment, of any kind.
        slice_name: A TPU slice, see `describe_slice`; by default the devices of this machine.
        say: Receives lines for the user.

    Raises:
        UserError: If the config cannot be used, there are no such devices, or a program needs more
            memory than a device has.
    """
    validate_experiment(config)
    if slice_name is None:
        devices = find_devices(config.train.platform, config.train.devices)
    else:
        devices = describe_slice(slice_name)
    placement = place_on(devices, config.train.fsdp)
    say(f"compiling for {device_words(placement.devices)}")
    with warnings.catch_warnings():
        # jax cannot read programs of devices that are not there, and compiles them again.
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache entry")
        for name, lower in lowered_programs(config, placement).items():
            began = time.perf_counter()
            mebibytes = sum(memory_of(compile_program(name, lower()))) / 2**20
            seconds = duration(time.perf_counter() - began)
            say(f"{name}: {mebibytes:,.0f} MiB of a device, compiled in {seconds}")


def lowered_programs(config: Any, placement: Placement) -> Mapping[str, Lower]:
    """Return functions that trace the programs of a training run, by name.

    The samples are those of the first process, whose devices must be among the placement's.
    """
    return PROGRAMS[type(config)](config, placement)


def _gan_programs(config: Config, placement: Placement) -> Mapping[str, Lower]:
    programs = Programs(gan_trainable(config, placement, _no_images), placement)
    generator, state = LatestGenerator(config, placement), programs.abstract_state()
    variables = _on(generator.placement, state.generator_variables())
    return {
        **_training_programs(programs, state),
        "samples": functools.partial(generator.sampler.lower, variables),
    }


def _translation_programs(config: TranslationConfig, placement: Placement) -> Mapping[str, Lower]:
    programs = Programs(translation_trainable(config, placement, _no_images), placement)
    translators, state = LatestTranslators(config, placement), programs.abstract_state()
    params = _on(translators.placement, state.generators["target"])
    return {
        **_training_programs(programs, state),
        "translations": functools.partial(translators.plain.lower, params),
    }


def _prior_programs(config: PriorConfig, placement: Placement) -> Mapping[str, Lower]:
    programs = Programs(prior_trainable(config, placement, _no_images), placement)
    prior, state = LatestPrior(config, placement), programs.abstract_state()
    variables = _on(prior.placement, weights_of(state))
    return {
        **_training_programs(programs, state),
        "samples": functools.partial(prior.sampler.lower, variables),
    }


def _ganformer2_programs(config: GANformer2Config, placement: Placement) -> Mapping[str, Lower]:
    programs = Programs(ganformer2_trainable(config, placement, _no_images), placement)
    scenes, state = LatestScenes(config, placement), programs.abstract_state()
    weights = _on(scenes.placement, read_weights(state))
    return {
        **_training_programs(programs, state),
        "scenes": functools.partial(scenes.sampler.lower, weights),
    }


PROGRAMS = {
    Config: _gan_programs,
    TranslationConfig: _translation_programs,
    PriorConfig: _prior_programs,
    GANformer2Config: _ganformer2_programs,
}
"""Functions that return the programs of an experiment, by its kind."""


def _training_programs(programs: Programs, state: State) -> Mapping[str, Lower]:
    """Return functions that trace the updates and the first state."""
    batch, key = programs.abstract_batch(), jax.eval_shape(lambda: jax.random.key(0))
    lower: dict[str, Lower] = {
        update.name: functools.partial(programs.lower, update.function, state, batch)
        for update in programs.trainable.updates
    }
    return {**lower, "first state": functools.partial(programs.init.lower, key)}


def _on(placement: Placement, tree: Any) -> Any:
    """Return the shapes of arrays that every device of a placement has whole."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placement.replicated),
        tree,
    )


def _no_images(state: Any, indices: Any) -> np.ndarray:
    raise AssertionError("nothing runs")

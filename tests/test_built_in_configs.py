"""Every built-in config trains: its batches can be made, and all its updates can be traced."""

import jax
import numpy as np
import pytest
from training import no_images

from ganformer_jax.config.files import built_in_configs, load_experiment
from ganformer_jax.data.batches import train_batches
from ganformer_jax.experiment.kinds import TRAININGS
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import place_on


class Blank:
    """A hundred times the same array."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype):
        self.item = {name: np.zeros(shape, dtype)}

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return dict(self.item)


def trainable_of(name: str):
    config, placement = load_experiment(name), place_on(jax.devices()[:1])
    return config, TRAININGS[type(config)].trainable(config, placement, no_images), placement


@pytest.mark.parametrize("name", built_in_configs())
def test_batches_are_of_the_size_that_updates_take(name):
    config, trainable, _ = trainable_of(name)
    for field, wanted in trainable.batch.items():
        count, *shape = wanted.shape
        assert count == config.train.batch_size
        source = Blank(field, tuple(shape), wanted.dtype)
        batch = next(train_batches(source, batch_size=count, seed=0, threads=0))
        assert batch[field].shape == wanted.shape and batch[field].dtype == wanted.dtype


@pytest.mark.slow
@pytest.mark.parametrize("name", built_in_configs())
def test_updates_return_a_state_as_they_take_it(name):
    _, trainable, placement = trainable_of(name)
    programs = Programs(trainable, placement)
    state, batch = programs.abstract_state(), programs.abstract_batch()
    for update in trainable.updates:
        after, info = jax.eval_shape(update.function, state, batch)
        described = [
            [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(s)] for s in (state, after)
        ]
        assert jax.tree.structure(after) == jax.tree.structure(state), update.name
        assert described[0] == described[1], update.name
        assert all(value.shape == () for value in info.values())

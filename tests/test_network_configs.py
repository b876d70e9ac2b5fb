"""A network or a part of a config in place of the config is refused in words."""

import jax
import pytest
from tiny import tiny_config

from ganformer_jax import Generator, convert, create_state, gan_updates, num_layers, validate
from ganformer_jax.sampling import Sampler, Synthesizer

CONFIG, KEY = tiny_config(), jax.random.key(0)


def test_a_network_is_not_its_config(tmp_path):
    network = Generator(CONFIG.generator)
    for function in (
        Sampler,
        Synthesizer,
        num_layers,
        lambda g: convert.save_generator(tmp_path / "x", g, {}),
    ):
        with pytest.raises(TypeError, match="config is a network, Generator: give its config"):
            function(network)


@pytest.mark.parametrize("function", [validate, gan_updates, lambda c: create_state(c, KEY)])
def test_the_config_of_a_generator_is_not_that_of_an_experiment(function):
    with pytest.raises(TypeError, match="config is a GeneratorConfig: give a Config"):
        function(CONFIG.generator)

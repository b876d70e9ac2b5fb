"""Stages that never begin and learning rates that end too early: said when training starts."""

import dataclasses

import pytest
from tiny import tiny_config

from ganformer_jax.config.early_ends import early_ends
from ganformer_jax.config.files import built_in_configs, load_experiment
from ganformer_jax.config.ganformer2 import GANformer2Config, GANformer2LossConfig
from ganformer_jax.config.training import TrainConfig
from ganformer_jax.experiment import run


def lengthened(config, kimg):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=kimg))


def rate_of(experiment, name="optimizer", **schedule):
    optimizer = getattr(experiment, name)
    changed = dataclasses.replace(optimizer.learning_rate_schedule, **schedule)
    optimizer = dataclasses.replace(optimizer, learning_rate_schedule=changed)
    return dataclasses.replace(experiment, **{name: optimizer})


def test_a_rate_that_ends_before_training_is_said_with_the_kimg_to_set():
    config = load_experiment("scenes_translation")
    assert early_ends(config) == early_ends(lengthened(config, 30.0)) == []
    (line,) = early_ends(lengthened(config, 100.0))
    assert line == (
        "optimizer.learning_rate falls to 0 at 40 kimg, and is used until 100: consider "
        "optimizer.learning_rate_schedule.kimg 100"
    )
    assert early_ends(rate_of(lengthened(config, 100.0), kimg=100.0)) == []
    assert early_ends(rate_of(lengthened(config, 100.0), final=1e-6)) == []


def test_rates_of_a_prior_count_from_the_start_of_their_stage():
    config = load_experiment("scenes_prior")
    assert early_ends(config) == []
    stage = dataclasses.replace(config.prior, autoencoder_kimg=60.0)
    (line,) = early_ends(dataclasses.replace(config, prior=stage))
    assert "falls to 0 at 40 kimg, and is used until 60: consider autoencoder_optimizer" in line
    (line,) = early_ends(lengthened(config, 200.0))
    assert "falls to 0 at 120 kimg, and is used until 200" in line
    assert line.endswith("consider transformer_optimizer.learning_rate_schedule.kimg 160")


def test_stages_that_never_begin_are_said():
    prior = lengthened(load_experiment("scenes_prior"), 40.0)
    (line,) = early_ends(prior)
    assert line.startswith("prior.autoencoder_kimg is 40 and train.total_kimg 40: the transformer")
    config = GANformer2Config(
        loss=GANformer2LossConfig(together_kimg=5.0), train=TrainConfig(total_kimg=4.0)
    )
    (line,) = early_ends(config)
    assert line.startswith(
        "loss.together_kimg is 5 and train.total_kimg 4: both stages are trained"
    )
    assert early_ends(lengthened(config, 6.0)) == []


def test_gans_without_schedules_say_nothing():
    assert early_ends(tiny_config()) == []


def test_training_says_it_before_it_begins(monkeypatch, tmp_path):
    said, began = [], []
    monkeypatch.setattr(run, "train", lambda *a, **b: began.append(len(said)) or True)
    config = lengthened(load_experiment("scenes_translation"), 100.0)
    assert run.train_experiment(config, tmp_path / "run", say=said.append)
    assert early_ends(config)[0] in said[: began[0]]


@pytest.mark.parametrize("name", built_in_configs())
def test_built_in_configs_train_to_their_end(name):
    assert early_ends(load_experiment(name)) == []

"""The kinds of training: each has a row in every table about kinds."""

from ganformer_jax.cli.train import OPTIONS
from ganformer_jax.config_kinds import KINDS
from ganformer_jax.experiment.kind_data import DATA
from ganformer_jax.experiment.kinds import TRAININGS
from ganformer_jax.experiment.run_images import IMAGES_OF


def test_tables_of_kinds_have_the_same_rows():
    configs = {kind.config for kind in KINDS.values()}
    assert set(OPTIONS) == set(DATA) == set(TRAININGS) == configs
    assert {"gan", *IMAGES_OF} == set(KINDS)

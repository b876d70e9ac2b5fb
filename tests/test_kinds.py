"""The kinds of training: each has a row in every table about kinds."""

import dataclasses

import pytest
from flax.traverse_util import flatten_dict

from ganformer_jax.cli.train import OPTIONS
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import load_experiment
from ganformer_jax.config.kinds import KINDS
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.kind_data import DATA
from ganformer_jax.experiment.kinds import TRAININGS
from ganformer_jax.experiment.run_images import IMAGES_OF
from ganformer_jax.report.summary import GRIDS
from ganformer_jax.train.run_folder import check_run


def test_tables_of_kinds_have_the_same_rows():
    configs = {kind.config for kind in KINDS.values()}
    assert set(OPTIONS) == set(DATA) == set(TRAININGS) == configs
    assert {"gan", *IMAGES_OF} == set(GRIDS) == set(KINDS)


def parts():
    """The classes of all configs, each once."""
    for kind in KINDS.values():
        config = kind.config()
        yield kind.config
        for field in dataclasses.fields(config):
            if dataclasses.is_dataclass(value := getattr(config, field.name)):
                yield type(value)


@pytest.mark.parametrize("part", dict.fromkeys(parts()), ids=lambda part: part.__name__)
def test_a_field_that_a_config_does_not_have_is_named_with_the_nearest(tmp_path, part):
    path, field = tmp_path / "mine.py", dataclasses.fields(part)[0].name
    path.write_text(
        f"from {part.__module__} import {part.__name__}\nconfig = {part.__name__}({field}x=1)\n"
    )
    with pytest.raises(UserError, match=f"{part.__name__} has no field {field}x; did you mean "):
        load_experiment(path)


@pytest.mark.parametrize("kind", KINDS)
def test_precision_may_change_between_commands(tmp_path, kind):
    config = KINDS[kind].config()
    values = flatten_dict(to_dict(config), sep=".")
    types = [name for name in values if name.endswith("dtype")]
    assert types
    for name in types:
        *groups, field = name.split(".")
        other = {"float32": "bfloat16", "bfloat16": "float32"}[values[name]]
        changed = dataclasses.replace(getattr(config, groups[0]), **{field: other})
        asked = dataclasses.replace(config, **{groups[0]: changed})
        (line,) = check_run(tmp_path, asked, to_dict(config))
        assert line.startswith(f"{name} was ")

"""Config files and dicts: round trips, and one clear line for whatever is wrong."""

import dataclasses
import json
import math
import re
import sys
import typing
from typing import Any

import numpy as np
import pytest

from ganformer_jax.config import (
    AttentionConfig,
    AugmentConfig,
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    OptimizerConfig,
    ScheduleConfig,
    SynthesisConfig,
    TrainConfig,
)
from ganformer_jax.config.checks import validate
from ganformer_jax.config.dicts import differences, from_dict, to_dict
from ganformer_jax.config.files import (
    built_in_configs,
    find_config,
    load_config,
    load_experiment,
)
from ganformer_jax.config.kinds import experiment_from_dict, validate_experiment
from ganformer_jax.errors import UserError

HEADER = "from ganformer_jax.config import *\n"


@pytest.mark.parametrize("name", built_in_configs())
def test_built_in_configs_are_found_by_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_experiment(name)
    validate_experiment(config)
    assert experiment_from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert find_config(f"configs/{name}.py") == find_config(name)


def test_there_are_built_in_configs():
    assert {"scenes", "ffhq", "clevr", "bedrooms", "cityscapes"} <= set(built_in_configs())


def test_a_file_is_a_config_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for path in ("ffhq.py", "configs/ffhq.py"):
        (tmp_path / path).write_text(HEADER + "config = Config()")
        assert load_config(path) == Config()
    assert load_config("ffhq") != Config()  # a name is a published one, whatever the folder holds


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ffgh", "no config ffgh (the built-in ones: bedrooms, bedrooms_dcgan, cityscapes, "),
        ("ffgh", "; did you mean ffhq?"),
        ("scene.py", "did you mean scenes.py?"),
        ("mine.json", "; did you mean mine.py?"),
        ("nowhere/configs/ffhq.py", "no config nowhere/configs/ffhq.py (the built-in ones: "),
    ],
)
def test_a_missing_config_names_the_nearest(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    for other in ("scenes.py", "mine.py"):
        (tmp_path / other).write_text("")
    with pytest.raises(UserError) as error:
        load_config(name)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_configs_of_other_kinds_are_read_by_another_function():
    with pytest.raises(UserError, match="kind prior, not of a GAN: read it with load_experiment"):
        load_config("scenes_prior")
    assert load_experiment("scenes_prior").kind == "prior"


def test_a_config_imports_one_beside_it(tmp_path, monkeypatch):
    beside = "from ganformer_jax import Config, LossConfig\nconfig = Config(LOSS)"
    (tmp_path / "beside.py").write_text(beside.replace("LOSS", "loss=LossConfig(r1_gamma=7.0)"))
    (tmp_path / "mine.py").write_text("from beside import config")
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    before = list(sys.path)
    assert load_config(tmp_path / "mine.py").loss.r1_gamma == 7.0
    assert sys.path == before


def test_left_out_fields_keep_their_defaults():
    config = from_dict(Config, {"generator": {"components": 4}})
    assert config == Config(generator=GeneratorConfig(components=4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"generater": {}}, "unknown option generater; did you mean generator?"),
        (
            {"generator": {"attention": {"head": 2}}},
            "unknown option generator.attention.head; did you mean heads?",
        ),
        ({"generator": {"xyzzy": 1}}, "unknown option generator.xyzzy"),
        ({"generator": 3}, "generator must be a group of options"),
        ({"generator": {"components": "8"}}, "generator.components must be of type int, not '8'"),
        ({"generator": {"components": True}}, "generator.components must be of type int"),
        ({"generator": {"components": None}}, "generator.components must be of type int"),
        ({"data": {"mirror": 1}}, "data.mirror must be of type bool, not 1"),
        (
            {"generator": {"attention": {"integration": "multiply"}}},
            "must be one of add, mul, both, not 'multiply'",
        ),
        (
            {"generator": {"attention_resolutions": [4, 8, 16]}},
            "generator.attention_resolutions must be a list of 2 values",
        ),
        (
            {"generator": {"attention_resolutions": [4, "8"]}},
            "generator.attention_resolutions must be of type int, not '8'",
        ),
        ({"generator": {"intermediate_size": "x"}}, "generator.intermediate_size must be"),
        ({"train": {"total_kimg": 10**400}}, "train.total_kimg must be of type float, not 1000"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(UserError) as error:
        from_dict(Config, values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_kinds_that_are_no_names_are_refused():
    with pytest.raises(UserError, match=r"kind must be one of gan, .*, not \['gan'\]"):
        experiment_from_dict({"kind": ["gan"]})


def test_numbers_that_float32_does_not_hold_are_refused():
    rate = dataclasses.replace(Config(), optimizer=OptimizerConfig(learning_rate=1e39))
    with pytest.raises(UserError, match="optimizer.learning_rate is 1e[+]39; float32 holds at mo"):
        validate(rate)


def test_types_that_fit_are_taken():
    config = from_dict(
        Config,
        {
            "generator": {"intermediate_size": None, "attention": {"norm": None}},
            "loss": {"r1_gamma": 5},
            "optimizer": {"ema_rampup": None},
        },
    )
    assert isinstance(config.loss.r1_gamma, float)
    assert config.generator.attention.norm is None and config.optimizer.ema_rampup is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = Config(", "line 2"),
        ("import sys\nsys.exit(0)\n", "ended the command (exit code 0)"),
        ("x = 1\n", "must define `config = Config(...)`"),
        ("config = 1\n", "must define `config = Config(...)`"),
        ("config = Config(generator=GeneratorConfig(componets=8))\n", "did you mean components?"),
        ("config = Config(generator=GeneratorConfig(components='8'))\n", "generator.components"),
        ("\nconfig = undefined\n", "line 3: NameError"),
    ],
)
def test_broken_files_are_one_line(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(HEADER + text)
    with pytest.raises(UserError) as error:
        load_config(path)
    assert message in str(error.value) and "broken.py" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_beside_a_config_are_those_of_its_folder(tmp_path):
    """Also if a config of another folder imported one of the same name before."""
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "beside_the_config.py").write_text(f"SEED = {seed}\n")
        text = "from beside_the_config import SEED\nconfig = Config(train=TrainConfig(seed=SEED))\n"
        (folder / "mine.py").write_text(HEADER + text)
        assert load_config(folder / "mine.py").train.seed == seed
    assert "beside_the_config" not in sys.modules


def test_differences_are_dotted():
    a = Config()
    b = dataclasses.replace(
        a,
        generator=GeneratorConfig(
            attention=AttentionConfig(heads=2), synthesis=SynthesisConfig(resample_filter=(1, 1))
        ),
    )
    assert differences(a, a) == {}
    assert differences(a, b) == {
        "generator.attention.heads": (1, 2),
        "generator.synthesis.resample_filter": ((1, 3, 3, 1), (1, 1)),
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": {"r1_gamma": math.nan}}, "loss.r1_gamma is nan; it should be 0 or more"),
        ({"loss": {"r1_gamma": math.inf}}, "loss.r1_gamma is inf; it should be 0 or more"),
        ({"loss": {"style_mixing": 1.5}}, "loss.style_mixing is 1.5; it should be from 0 to 1"),
        ({"optimizer": {"beta2": 1}}, "optimizer.beta2 is 1.0; it should be 0 or more, below 1"),
        ({"train": {"devices": 0}}, "train.devices is 0; it should be 1 or more"),
        ({"train": {"seed": 2**32}}, "train.seed is 4294967296; it should be from 0 to 4294967295"),
        (
            {"generator": {"attention": {"dropout": 1}}},
            "generator.attention.dropout is 1.0; it should be 0 or more, below 1",
        ),
        (
            {"generator": {"mapping": {"learning_rate_multiplier": 0}}},
            "generator.mapping.learning_rate_multiplier is 0.0; it should be above 0",
        ),
        (
            {"generator": {"image_channels": 33}},
            "generator.image_channels is 33; it should be from 1 to 32",
        ),
        (
            {"generator": {"base_grid": [4, 17]}},
            "generator.base_grid is [4, 17]; each number should be from 2 to 16",
        ),
    ],
)
def test_values_out_of_their_range_are_named(values, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        validate(from_dict(Config, values))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            Config(optimizer=OptimizerConfig(beta2_schedule=ScheduleConfig("cosin"))),  # type: ignore[arg-type]
            "beta2_schedule.kind must be one of constant, linear, cosine, not 'cosin'; did you",
        ),
        (
            Config(discriminator=DiscriminatorConfig(architecture="res")),  # type: ignore[arg-type]
            "discriminator.architecture must be one of resnet, skip, orig, not 'res'",
        ),
        (
            Config(augment=AugmentConfig(diff_augment=("colour",))),  # type: ignore[arg-type]
            "augment.diff_augment must be one of color, translation, cutout, not 'colour'",
        ),
        (
            Config(train=TrainConfig(platform="gpus")),  # type: ignore[arg-type]
            "train.platform must be one of cpu, gpu, tpu, not 'gpus'",
        ),
        (
            Config(generator=GeneratorConfig(attention_resolutions=[4, 8])),  # type: ignore[arg-type]
            "generator.attention_resolutions is [4, 8]; it should be a tuple",
        ),
        (
            Config(generator=GeneratorConfig(components=8.0)),  # type: ignore[arg-type]
            "generator.components is 8.0; it should be an integer",
        ),
        (
            Config(train=TrainConfig(batch_size="32")),  # type: ignore[arg-type]
            "train.batch_size is '32'; it should be an integer",
        ),
        (
            Config(optimizer=OptimizerConfig(learning_rate=True)),
            "optimizer.learning_rate is True; it should be a number",
        ),
    ],
)
def test_choices_that_python_code_makes_are_checked(config, message):
    """A name that nothing knows would train something else."""
    with pytest.raises(UserError, match=re.escape(message)):
        validate(config)


def test_numbers_of_numpy_are_numbers():
    learning_rate: Any = np.float32(0.001)
    validate(Config(train=TrainConfig(batch_size=np.int64(16))))  # type: ignore[arg-type]
    validate(Config(optimizer=OptimizerConfig(learning_rate=learning_rate)))


def test_every_number_of_a_config_has_a_range_or_a_check_of_its_own():
    checked_elsewhere = {"resolution", "attention_resolutions", "resample_filter"}
    for kind in [Config, *config_kinds(Config)]:
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            is_number = re.search(r"\b(int|float)\b", str(hint).partition("Range")[0])
            if is_number and name not in checked_elsewhere:
                assert typing.get_origin(hint) is typing.Annotated, f"{kind.__name__}.{name}"


def config_kinds(kind):
    for hint in typing.get_type_hints(kind).values():
        if dataclasses.is_dataclass(hint):
            yield hint
            yield from config_kinds(hint)


def test_configs_take_their_first_options_by_position():
    assert GeneratorConfig(64).resolution == 64
    assert DiscriminatorConfig("skip", 64).channel_base == 64


@pytest.mark.parametrize(
    "lines",
    [
        "from ganformer_jax.config_training import TrainConfig",
        "from ganformer_jax.config import GANformer2Config\nfrom ganformer_jax import config_prior",
        "import ganformer_jax.config_translation",
    ],
)
def test_config_files_of_version_0_1_import_modules_by_their_former_names(tmp_path, lines):
    path = tmp_path / "mine.py"
    path.write_text(f"{lines}\nfrom ganformer_jax import Config\nconfig = Config()\n")
    assert load_config(path) == Config()

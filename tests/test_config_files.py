"""Config files and dicts: round trips, and one clear line for whatever is wrong."""

import dataclasses
import json
from pathlib import Path

import pytest

from ganformer_jax.config import AttentionConfig, Config, GeneratorConfig, SynthesisConfig
from ganformer_jax.config_files import differences, from_dict, load_config, to_dict
from ganformer_jax.errors import UserError
from ganformer_jax.models import validate_networks

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.py"))
HEADER = "from ganformer_jax.config import *\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_is_valid_and_survives_json(path):
    config = load_config(path)
    validate_networks(config.generator, config.discriminator)
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


def test_there_are_configs():
    assert {"scenes", "ffhq", "clevr", "bedrooms", "cityscapes"} <= {p.stem for p in CONFIGS}


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
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(UserError) as error:
        from_dict(Config, values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


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


def test_a_missing_file_names_its_neighbor(tmp_path):
    (tmp_path / "scenes.py").write_text("")
    with pytest.raises(UserError, match="did you mean scenes.py"):
        load_config(tmp_path / "scene.py")
    with pytest.raises(UserError, match="no config file"):
        load_config(tmp_path / "nowhere" / "scene.py")


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

"""The command line: help, dry runs, and one clear line for every mistake."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ganformer_jax.classes import find_class, load_class_names, save_class_names
from ganformer_jax.cli import main
from ganformer_jax.cli.sample import _attends
from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]
SCENES = ("--config", str(REPOSITORY / "configs" / "scenes.py"))


def call(capsys, *arguments):
    """Runs the command line and returns its exit code, output and errors."""
    try:
        main(arguments)
        code = 0
    except SystemExit as exit:
        code = exit.code or 0
    out, err = capsys.readouterr()
    return code, out, err


def complaint(capsys, *arguments, code=1):
    """Runs what must fail, and returns the one line that it says."""
    found, out, err = call(capsys, *arguments)
    assert found == code, (found, out, err)
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert "Traceback" not in err + out
    return err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command trian; did you mean train?"),
        (
            ["xyzzy"],
            "unknown command xyzzy; there are prepare, train, sample, evaluate, import, export",
        ),
        (
            ["train", *SCENES, "--train.batch-siz", "8"],
            "unknown option --train.batch-siz; did you mean --train.batch-size?",
        ),
        (
            ["train", *SCENES, "--train.batch-siz=8"],
            "unknown option --train.batch-siz; did you mean --train.batch-size?",
        ),
        (["train", *SCENES, "--batch-size", "8"], "did you mean --train.batch-size?"),
        (["train", *SCENES, "--xyzzy", "8"], "unknown option --xyzzy; see "),
        (["train", *SCENES, "stray"], "unexpected argument stray"),
        (["train", *SCENES, "--train.batch-size", "many"], "--train.batch-size: invalid literal"),
        (["train", *SCENES, "--train.batch-size"], "Missing value for argument"),
        (["train", *SCENES, "--generator.attention.integration", "mil"], "invalid choice 'mil'"),
        (["sample", "--cout", "3"], "unknown option --cout; did you mean --count?"),
        (["sample", "--clas", "red"], "unknown option --clas; did you mean --class?"),
        (["sample", "--class-name", "red"], "unknown option --class-name; did you mean --class?"),
        (["sample", "--truncation-psi", "x"], "--truncation-psi: could not convert"),
        (["sample", "--out", "gs://b/x"], "--out gs:/b/x: name a folder or file of this machine"),
        (["train", *SCENES, "--workdir", "gs://b/x"], "--workdir gs:/b/x: name a folder"),
        (["sample", "--out=~/x"], "--out ~/x is not what you mean: write it out, /"),
    ],
)
def test_command_lines_that_make_no_sense(capsys, arguments, message):
    assert message in complaint(capsys, *arguments, code=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--generator.resolution", "48"], "generator.resolution is 48"),
        (["--generator.components", "7"], "generator.components is 7, which does not divide"),
        (["--train.batch-size", "6"], "train.batch_size 6"),
        (["--train.batch-size", "0"], "train.batch_size 0"),
        (["--train.devices", "1000"], "train.devices is 1000"),
        (["--init-from", "/nowhere/at/all"], "no run in /nowhere/at/all"),
        (["--optimizer.learning-rate", "-1"], "optimizer.learning_rate"),
        (["--loss.style-mixing", "1.5"], "loss.style_mixing"),
        (["--train.platform", "gpu"], "no gpu found: jax runs on cpu here"),
        (["--train.total-kimg", "inf"], "train.total_kimg is inf"),
        (["--train.seed", "-1"], "train.seed is -1"),
        (["--generator.attention.heads", "0"], "generator.attention.heads is 0"),
        (["--generator.positions.directions", "0"], "generator.positions.directions is 0"),
        (["--discriminator.minibatch-stddev-group", "0"], "minibatch_stddev_group is 0"),
        (["--data.name", "no_such_dataset"], "no_such_dataset"),
        (["--data.name", "s3://b/x"], "s3://b/x: datasets are read from folders and from gs://"),
        (["--data.directory", "gs://b/data"], "data.directory gs://b/data is not on this machine"),
    ],
)
def test_experiments_that_make_no_sense(capsys, tmp_path, options, message):
    workdir = tmp_path / "run"
    options = ["--data.directory", str(tmp_path / "data"), *options]
    said = complaint(capsys, "train", *SCENES, "--workdir", str(workdir), *options)
    assert message in said


def test_missing_config_names_its_neighbor(capsys):
    path = str(REPOSITORY / "configs" / "scene.py")
    assert "did you mean scenes.py?" in complaint(capsys, "train", "--config", path)


def test_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("kept")
    workdir = str(tmp_path / "file" / "run")
    assert "cannot write to" in complaint(capsys, "train", *SCENES, "--workdir", workdir)
    assert (tmp_path / "file").read_text() == "kept"


def test_absent_accelerator_and_silence(tmp_path):
    """In a process of its own, since jax looks for devices once."""
    command = [sys.executable, "run.py", "train", "--workdir", str(tmp_path / "run")]
    result = subprocess.run(
        [*command, "--train.platform", "tpu"],
        cwd=REPOSITORY,
        env={k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: no tpu found") and result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [False, True])
def test_sampling_without_a_run(capsys, tmp_path, make):
    workdir = tmp_path / "run"
    if make:
        workdir.mkdir()
    assert f"in {workdir}" in complaint(capsys, "sample", "--workdir", str(workdir))
    assert workdir.exists() == make and not list(tmp_path.glob("run/*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "--count"),
        (["--seed", "-1"], "--seed"),
        (["--best", "--step", "3"], "exclude"),
    ],
)
def test_samples_that_make_no_sense(capsys, options, message):
    assert message in complaint(capsys, "sample", *options)


@pytest.mark.parametrize(
    ("asked", "number"), [("red", 0), ("1", 2), ("0", 0), ("2", 2), ("deep blue", 1)]
)
def test_a_class_goes_by_its_name_or_else_its_number(tmp_path, asked, number):
    save_class_names(["red", "deep blue", "1"], tmp_path)
    assert find_class(asked, load_class_names(tmp_path, 3)) == number


@pytest.mark.parametrize(
    ("asked", "names", "message"),
    [
        ("redd", ["red", "blue"], "no class redd among 2 classes; did you mean red?"),
        ("2", ["red", "blue"], "classes are numbered from 0 to 1"),
        ("-1", ["red", "blue"], "classes are numbered from 0 to 1"),
        ("red", [], "trained without classes"),
    ],
)
def test_a_class_that_is_not_there(asked, names, message):
    with pytest.raises(UserError, match=re.escape(message)):
        find_class(asked, names)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[", "damaged"), ('{"red": 0}', "list of names"), ('["red"]', "names 1 classes, but")],
)
def test_names_of_classes_that_cannot_be_used(tmp_path, text, message):
    assert load_class_names(tmp_path, 2) == ["0", "1"]
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_class_names(tmp_path, 2)


def test_attention_is_drawn_only_where_there_is_some():
    config = GeneratorConfig(resolution=32, components=2)
    assert _attends(config)
    assert not _attends(dataclasses.replace(config, components=0))
    assert not _attends(dataclasses.replace(config, attention_resolutions=(64, 128)))


def test_help_explains_every_option(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0 and all(name in out for name in ("train", "sample", "config"))
    code, out, _ = call(capsys, "train", *SCENES, "--help")
    assert code == 0
    _, listed, _ = call(capsys, "config", *SCENES, "--list")
    options = [line.split()[0] for line in listed.splitlines()]
    assert len(options) > 70
    for option in [*options, "--workdir", "--init-from", "--dry-run"]:
        assert option in out
    code, out, _ = call(capsys, "sample", "--help")
    assert code == 0 and "--overwrite" in out


def test_dry_run_prints_the_resolved_experiment_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "train", *SCENES, "--train.batch-size", "8", "--dry-run")
    resolved = json.loads(out)
    assert code == 0 and resolved["train"]["batch_size"] == 8
    assert resolved["generator"]["components"] == 8  # from the file, not the dataclass
    assert not list(tmp_path.iterdir())
    code, out, _ = call(capsys, "config", *SCENES, "--train.batch_size", "8")
    assert json.loads(out) == resolved


def test_options_override_the_config_file_and_each_type_is_read(capsys):
    options = "--generator.attention.norm None --generator.no-latent-positions"
    options += " --generator.attention-resolutions 8 16 --optimizer.ema-rampup None"
    code, out, err = call(capsys, "config", *SCENES, *options.split())
    assert code == 0, err
    resolved = json.loads(out)
    assert resolved["generator"]["attention"]["norm"] is None
    assert resolved["generator"]["latent_positions"] is False
    assert resolved["generator"]["attention_resolutions"] == [8, 16]
    assert resolved["optimizer"]["ema_rampup"] is None

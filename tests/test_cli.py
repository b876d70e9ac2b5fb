"""The command line: help, dry runs, and one clear line for every mistake."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call, complaint
from processes import ENVIRONMENT

from ganformer_jax.classes import find_class, load_class_names, save_class_names
from ganformer_jax.config import Config
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command trian; did you mean train?"),
        (
            ["xyzzy"],
            "unknown command xyzzy; the commands are prepare, train, sample, visualize, ",
        ),
        (
            ["train", "--train.batch-siz", "8"],
            "unknown option --train.batch-siz; did you mean --train.batch-size?",
        ),
        (
            ["train", "--train.batch-siz=8"],
            "unknown option --train.batch-siz; did you mean --train.batch-size?",
        ),
        (["train", "--batch-size", "8"], "did you mean --train.batch-size?"),
        (["train", "--xyzzy", "8"], "unknown option --xyzzy; see "),
        (["train", "stray"], "unexpected argument stray"),
        (["train", "--train.batch-size", "many"], "--train.batch-size: invalid literal"),
        (["train", "--train.batch-size"], "Missing value for argument"),
        (["train", "--generator.attention.integration", "mil"], "invalid choice 'mil'"),
        (["project", "--images", "a.png"], "unknown option --images: leave it out, and keep what"),
        (["sample", "--cout", "3"], "unknown option --cout; did you mean --count?"),
        (["sample", "--clas", "red"], "unknown option --clas; did you mean --class?"),
        (["sample", "--class-name", "red"], "unknown option --class-name; did you mean --class?"),
        (["sample", "--truncation-psi", "x"], "--truncation-psi: could not convert"),
        (["sample", "--out", "gs://b/x"], "--out gs:/b/x: name a folder or file of this machine"),
        (["train", "--workdir", "gs://b/x"], "--workdir gs:/b/x: name a folder"),
        (["sample", "--out=~/x"], "--out ~/x: the shell did not expand ~; use /"),
        (["train", "--workdir", ""], "--workdir is empty: name a folder or file, or leave it out"),
    ],
)
def test_command_lines_that_cannot_be_understood(capsys, arguments, message):
    assert message in complaint(capsys, *arguments, code=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--generator.resolution", "48"], "generator.resolution is 48"),
        (["--generator.components", "7"], "generator.components is 7, which does not divide"),
        (["--generator.components", "0"], "so images would not depend on a latent: turn style on"),
        (["--train.batch-size", "6"], "train.batch_size is 6"),
        (["--train.batch-size", "0"], "train.batch_size is 0; it should be 1 or more"),
        (["--train.devices", "1000"], "train.devices is 1000"),
        (["--init-from", "/nowhere/at/all"], "no run and no file /nowhere/at/all"),
        (["--data.directory", ""], "data.directory is empty: give it a value"),
        (["--data.name="], "data.name is empty: give it a value"),
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
def test_experiments_that_cannot_be_trained(capsys, tmp_path, options, message):
    workdir = tmp_path / "run"
    options = ["--data.directory", str(tmp_path / "data"), *options]
    said = complaint(capsys, "train", "--workdir", str(workdir), *options)
    assert message in said


def test_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("kept")
    workdir = str(tmp_path / "file" / "run")
    assert "cannot write to" in complaint(capsys, "train", "--workdir", workdir)
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
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("error: no tpu found") and "Traceback" not in result.stderr
    assert len(lines) == 1 or importlib.util.find_spec("libtpu"), "which has lines of its own"
    assert not (tmp_path / "run").exists()


def test_the_config_of_a_run_needs_a_folder(capsys, tmp_path, monkeypatch):
    """The default would be runs/config, and a run that is to be resumed would start anew."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / "mine" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(to_dict(Config())))
    said = complaint(capsys, "train", "--config", str(path))
    assert f"is the config of a run: give --workdir {path.parent} to resume that run" in said
    assert call(capsys, "train", "--config", str(path), "--dry-run")[0] == 0
    assert not (tmp_path / "runs" / "config").exists()


FAILING_WHILE_UPDATES_COMPILE = """
import sys, time, training
from ganformer_jax import __main__, cli
from ganformer_jax.errors import UserError
from ganformer_jax.train import compile

def run(options):
    training.mean_programs().compile_in_background()
    raise UserError("no data")

compile.compile_program = lambda name, lowered: time.sleep(600)
cli.train.run = run
sys.argv = ["ganformer-jax", "train"]
__main__.main()
"""


def test_an_error_does_not_wait_for_updates_that_compile(tmp_path):
    command = [sys.executable, "-c", FAILING_WHILE_UPDATES_COMPILE]
    result = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=240
    )
    assert (result.returncode, result.stderr) == (1, "error: no data\n")


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
        (["--best", "--step", "3"], "cannot be combined"),
    ],
)
def test_samples_that_cannot_be_made(capsys, options, message):
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


def option_names(values, prefix="--"):
    for name, value in values.items():
        name = prefix + name.replace("_", "-")
        if isinstance(value, dict):
            yield from option_names(value, f"{name}.")
        else:
            yield name


def test_help_explains_every_option(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0 and call(capsys)[:2] == (0, out)
    names = ("prepare", "train", "sample", "directions", "edit", "evaluate", "import")
    assert all(name in out for name in names)
    code, out, _ = call(capsys, "train", "--config", "ffhq", "--help")
    assert code == 0
    options = list(option_names(to_dict(Config())))
    assert len(options) > 70
    for option in [*options, "--workdir", "--init-from", "--dry-run"]:
        assert option in out
    assert "(default: 25000.0)" in out  # of that config
    code, out, _ = call(capsys, "sample", "--help")
    assert code == 0 and "--overwrite" in out


def test_help_breaks_lines_where_the_terminal_ends(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    code, out, _ = call(capsys, "project", "--help")
    assert code == 0 and "in a Laplacian pyramid. By default LPIPS if its weights" in out
    assert "usage: ganformer-jax project [-h] [PROJECT OPTIONS] IMAGE [IMAGE ...]" in out
    code, out, _ = call(capsys, "train", "--config", "scenes_prior", "--help")
    assert code == 0 and "in thousands of images; 0 turns them off." in out


def test_dry_run_prints_the_resolved_config_and_writes_nothing(capsys, tmp_path, monkeypatch):
    """From an empty folder, where the default config is found as well."""
    monkeypatch.chdir(tmp_path)
    options = "--train.batch_size 8 --generator.attention.norm None --generator.no-latent-positions"
    options += " --generator.attention-resolutions 8 16 --optimizer.ema-rampup None"
    code, out, err = call(capsys, "train", *options.split(), "--dry-run")
    assert code == 0, err
    resolved = json.loads(out)
    assert resolved["generator"]["components"] == 8  # from the config, not the dataclass
    assert resolved["train"]["batch_size"] == 8
    assert resolved["generator"]["attention"]["norm"] is None
    assert resolved["generator"]["latent_positions"] is False
    assert resolved["generator"]["attention_resolutions"] == [8, 16]
    assert resolved["optimizer"]["ema_rampup"] is None
    assert not list(tmp_path.iterdir())

    again = tmp_path / "config.json"
    again.write_text(out)
    assert call(capsys, "train", "--config", str(again), "--dry-run") == (0, out, "")
    said = complaint(capsys, "train", "--config", str(again), "--loss.r1-gamma=nan", "--dry-run")
    assert "loss.r1_gamma is nan; it should be 0 or more" in said


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (command, "--truncation-psi")
        for command in ("sample", "visualize", "edit", "directions", "evaluate")
    ]
    + [("project", "--learning-rate"), ("prepare", "--ratio"), ("edit", "--limit")],
)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_must_be_finite(capsys, command, flag, value):
    assert complaint(capsys, command, f"{flag}={value}").startswith(
        f"error: {flag} {value}: give a finite number"
    )


def test_numbers_must_fit_into_float32(capsys):
    for command, flag in (("edit", "--amount"), ("sample", "--truncation-psi")):
        said = complaint(capsys, command, f"{flag}=-1e39")
        assert f"{flag} -1e+39: give a number that float32 holds" in said
    assert "--amounts 1e+39" in complaint(capsys, "directions", "--amounts", "0", "1e39")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 GiB"), 1, "out of memory on the device"),
        (PermissionError(13, "Permission denied", "x"), 1, "cannot read or write x: Permission"),
    ],
)
def test_errors_of_a_command_are_one_line(capsys, monkeypatch, error, code, message):
    def fail(options):
        raise error

    monkeypatch.setattr("ganformer_jax.cli.export.run", fail)
    assert message in complaint(capsys, "export", code=code)

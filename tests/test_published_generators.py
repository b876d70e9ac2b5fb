"""Commands that look at a generator, given published snapshots, and conditions."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
from command_line import call, complaint
from exports import initial_variables
from tiny import tiny_config

from ganformer_jax.convert.export import save_generator
from ganformer_jax.sampling import Synthesizer

DATA = pathlib.Path(__file__).parent / "data"
SNAPSHOTS = [
    "official-snapshot.pkl",
    pytest.param("official-tf-snapshot.pkl", marks=pytest.mark.slow),  # of 256 pixels
    "stylegan2-ada-snapshot.pkl",
    "nvidia-averages.pkl",
]
QUICK = ("--seeds", "0,1", "--batch-size", "2")


@pytest.fixture(params=SNAPSHOTS)
def snapshot(request, tmp_path):
    path = tmp_path / request.param
    shutil.copy(DATA / request.param, path)
    return path, request.param.startswith("official")  # whether it has components


def succeed(capsys, *arguments):
    code, out, err = call(capsys, *map(str, arguments))
    assert code == 0, err
    return out


@pytest.mark.slow
def test_published_snapshots_are_seen_and_edited(snapshot, tmp_path, capsys):
    path, has_components = snapshot
    given = ("--workdir", path)
    figures = ["samples", "interpolation-w", *(["segments"] if has_components else [])]
    video = ("--frames", "2", "--video", "gif")
    succeed(capsys, "visualize", *given, *QUICK, "--figures", *figures, *video)
    seen = {file.name for file in (tmp_path / f"{path.stem}-figures").iterdir()}
    assert {f"{name}.png" for name in figures} | {"latents.npz"} <= seen

    found = ("--kinds", "factorization", "--count", "50", "--factors", "1", "--amounts", "0", "1")
    out = tmp_path / "directions"
    succeed(capsys, "directions", *given, *found, "--out", out)
    assert (out / "global.png").exists()
    assert (out / "components.png").exists() == has_components

    edits = [("--component", "global", "--swap", "7")]
    edits += [("--direction", "global 1", "--amount", "2", "--directions", out / "directions.npz")]
    edits += [("--component", "1", "--remove")] if has_components else []
    for number, edit in enumerate(edits):
        folder = tmp_path / f"edited-{number}"
        succeed(capsys, "edit", *given, *QUICK, *edit, "--out", folder)
        assert (folder / "edits.png").exists() and (folder / "edits.jsonl").exists()
    if not has_components:
        said = complaint(capsys, "edit", *map(str, given), *QUICK, "--component", "1", "--remove")
        assert "component" in said


def test_conditions_are_seen_and_edited(tmp_path, capsys):
    config = dataclasses.replace(tiny_config(3).generator, latent_size=12, label_size=2)
    path, variables = tmp_path / "generator.safetensors", initial_variables(config)
    save_generator(path, config, variables)
    given = ("--workdir", path, *QUICK, "--condition", "0.5,0.25")
    only = ("--figures", "samples", "interpolation-z", "--frames", "2", "--video", "gif")
    succeed(capsys, "visualize", *given, *only)
    with np.load(tmp_path / "generator-figures" / "latents.npz") as file:
        w_BxKxLxD = file["w"]
    latents = Synthesizer(config, 2).latents(variables, [0, 1], [[0.5, 0.25]] * 2, 0.7)
    np.testing.assert_array_equal(w_BxKxLxD, latents.w_BxKxLxD)
    succeed(capsys, "edit", *given, "--component", "2", "--remove", "--out", tmp_path / "edited")
    assert (tmp_path / "edited" / "edits.png").exists()
    wrong = ("--condition", "1,2,3", "--out", str(tmp_path / "wrong"))
    assert "a condition has 2" in complaint(capsys, "visualize", "--workdir", str(path), *wrong)

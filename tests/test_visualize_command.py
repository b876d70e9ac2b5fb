"""`visualize`: figures of every kind of generator, and the same images from their latents."""

import dataclasses
import json
import shlex

import exports
import numpy as np
import pytest
from command_line import call, complaint
from PIL import Image
from tiny import tiny_config

from ganformer_jax import hosts
from ganformer_jax.cli.visualize import Figure
from ganformer_jax.experiment.figures import FIGURES
from ganformer_jax.signals import Stopped

GANFORMER = dataclasses.replace(tiny_config(3).generator, latent_size=12)
STYLEGAN2 = tiny_config(0).generator
KINDS = {
    "ganformer": GANFORMER,
    "stylegan2": STYLEGAN2,
    "one component": dataclasses.replace(tiny_config(1).generator, latent_size=4),
    "labels": dataclasses.replace(GANFORMER, label_size=2),
    "oblong": dataclasses.replace(GANFORMER, base_grid=(2, 4)),
    "one channel": dataclasses.replace(GANFORMER, image_channels=1),
    "five channels": dataclasses.replace(GANFORMER, image_channels=5),
    "no noise": dataclasses.replace(
        STYLEGAN2, synthesis=dataclasses.replace(STYLEGAN2.synthesis, noise=False)
    ),
}
OF_COMPONENTS = {"attention", "segments", "layers", "interpolation-components"}
OF_COMPONENTS |= {"mixing-components", "removal"}
WITHOUT = {
    "stylegan2": OF_COMPONENTS,
    "one component": {"removal"},
    "no noise": OF_COMPONENTS | {"noise"},
}
VIDEOS = {"interpolation-z", "interpolation-w"}
QUICK = ("--frames", "2", "--batch-size", "4", "--video", "gif")


def export(folder, kind):
    return exports.export(folder, KINDS[kind])


def milliseconds(video):
    """The duration of a GIF, in which equal frames that follow each other are one."""
    durations = []
    for frame in range(video.n_frames):
        video.seek(frame)
        durations.append(video.info["duration"])
    return sum(durations)


def test_the_command_line_lists_every_figure():
    assert list(Figure.__args__) == list(FIGURES)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_every_kind_of_generator(tmp_path, capsys, kind):
    """All that suit it; the others are named in one line each."""
    path = export(tmp_path, kind)
    code, out, err = call(capsys, "visualize", "--workdir", path, "--seeds", "0-2", *QUICK)
    assert code == 0, err
    folder = tmp_path / "generator-figures"
    refused = {line.split()[2].rstrip(":") for line in out.splitlines() if line[:9] == "no figure"}
    assert refused == WITHOUT.get(kind, set())
    names = {"attention-layers" if name == "layers" else name for name in set(FIGURES) - refused}
    files = {file.name for file in folder.iterdir()}
    assert files == {f"{n}.png" for n in names} | {f"{n}.gif" for n in VIDEOS} | {"latents.npz"}
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 90 and np.ptp(np.asarray(image)) > 0, name
    with Image.open(folder / "interpolation-w.gif") as video:
        height, width = (4, 8) if kind == "oblong" else (8, 8)
        assert video.size == (width * 256 // height, 256)
        assert milliseconds(video) == pytest.approx(6 * 1000 / 30, rel=0.15)


def test_images_are_made_again_from_their_latents(tmp_path, capsys):
    path, only = export(tmp_path, "labels"), ("--figures", "samples", "noise", "interpolation-w")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    chosen = ("--seeds", "5,3,9", "--class", "1", "--truncation-psi", "0.5")
    code, _, err = call(capsys, "visualize", "--workdir", path, "--out", a, *chosen, *only, *QUICK)
    assert code == 0, err
    latents = ("--latents", f"{a}/latents.npz")
    code, out, err = call(
        capsys, "visualize", "--workdir", path, "--out", b, *latents, *only, *QUICK
    )
    assert code == 0 and "images will differ" not in out, err
    for name in ("samples.png", "noise.png", "interpolation-w.png", "interpolation-w.gif"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    with np.load(tmp_path / "b" / "latents.npz") as file:
        about = json.loads(str(file["about"]))
    assert [image["seed"] for image in about["images"]] == [5, 3, 9]
    assert len(about["weights"]) == 16 and about["noise"] == "const"


def test_one_component_of_all(tmp_path, capsys):
    path = export(tmp_path, "ganformer")
    for component, name in (((), "all"), (("--component", "2"), "one")):
        code, _, err = call(
            capsys,
            *("visualize", "--workdir", path, "--out", str(tmp_path / name), "--seeds", "0,1"),
            *("--figures", "interpolation-components", "removal", *component, *QUICK),
        )
        assert code == 0, err
    sizes = {}
    for name in ("all", "one"):
        with Image.open(tmp_path / name / "interpolation-components.png") as image:
            sizes[name] = image.height
    assert sizes["all"] - sizes["one"] == 2 * 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--figures", "removal"), "no figure removal: this generator has no attention"),
        (("--seeds", "3", "--figures", "mixing-layers"), "it needs 2 images: give more --seeds"),
        (("--component", "1"), "the components of this generator are none"),
        (("--frames", "0"), "--frames must be 1 or more"),
        (("--batch-size", "0"), "--batch-size must be 1 or more"),
        (("--latents", "missing.npz"), "no file missing.npz"),
        (("--latents", "x.npz", "--seeds", "3"), "--latents cannot be combined with --seeds"),
        (("--best",), "has no checkpoints"),
        (("--class", "a"), "a"),
        (("--seeds", "3-1"), "--seeds"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, capsys, options, message):
    path = export(tmp_path, "stylegan2")
    assert message in complaint(capsys, "visualize", "--workdir", path, *QUICK, *options)
    folder = tmp_path / "generator-figures"
    assert {file.suffix for file in folder.glob("*")} <= {".npz"}


def test_nothing_is_replaced(tmp_path, capsys):
    path = export(tmp_path, "stylegan2")
    folder = tmp_path / "generator-figures"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    only = ("--figures", "samples", "--seeds", "0", *QUICK)
    assert "has files: choose another --out" in complaint(
        capsys, "visualize", "--workdir", path, *only
    )
    code, _, err = call(capsys, "visualize", "--workdir", path, *only, "--overwrite")
    assert code == 0, err
    assert (folder / "mine.txt").read_text() == "mine"


def test_what_was_begun_is_replaced_by_the_command_that_starts_again(tmp_path, capsys, monkeypatch):
    path, out = export(tmp_path, "stylegan2"), tmp_path / "my figures"
    given = ["visualize", "--workdir", path, "--figures", "samples", "--seeds", "0", *QUICK]
    given += ["--out", str(out)]

    def stop(*arguments, **options):
        raise Stopped("SIGTERM")

    def end(code):
        raise SystemExit(code)

    monkeypatch.setattr(hosts, "end", end)
    for name in ("save_latents", "save_png"):
        with monkeypatch.context() as patched:
            patched.setattr(f"ganformer_jax.experiment.figures.files.{name}", stop)
            code, said, _ = call(capsys, *given)
        again = shlex.split(said.splitlines()[-1].partition("to start again: ")[2])[1:]
        assert code == 0 and again == given + ["--overwrite"] * out.exists()
    code, _, err = call(capsys, *again)
    assert code == 0 and (out / "samples.png").exists(), err


@pytest.mark.parametrize("out", ["file", "file/x/y", "link"])
@pytest.mark.parametrize("command", ["visualize", "edit", "directions", "project", "export"])
def test_outputs_that_cannot_be_written_are_refused_at_once(tmp_path, capsys, command, out):
    path = export(tmp_path, "stylegan2")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    given = [command, "--workdir", path, "--out", str(tmp_path / out)]
    given += {"project": ["x.png"], "edit": ["--component", "global", "--swap", "1"]}.get(
        command, []
    )
    if command == "export":
        given[2:] = [str(tmp_path), "--out", str(tmp_path / out / "x")]
    said = complaint(capsys, *given)
    assert f"{tmp_path / out.partition('/')[0]} is not a folder; choose another --out" in said


def test_folders_that_are_not_writable_are_refused_at_once(tmp_path, capsys, monkeypatch):
    path = export(tmp_path, "stylegan2")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    said = complaint(capsys, "visualize", "--workdir", path, "--out", str(tmp_path / "a" / "b"))
    assert f"cannot write to {tmp_path / 'a' / 'b'}: {tmp_path} is not writable" in said


def test_latents_of_another_generator(tmp_path, capsys):
    path = export(tmp_path, "stylegan2")
    np.savez(tmp_path / "l.npz", w=np.zeros((2, 4, 4), np.float32))
    said = complaint(
        capsys, "visualize", "--workdir", path, "--latents", str(tmp_path / "l.npz"), *QUICK
    )
    assert "this generator's w is [B, 1, " in said

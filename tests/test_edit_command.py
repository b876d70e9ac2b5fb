"""`directions` and `edit`: every kind of edit, on every kind of generator."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from command_line import call, complaint
from exports import export
from PIL import Image
from tiny import tiny_config

from ganformer_jax.config.attention import MergeConfig
from ganformer_jax.directions import Direction, save_directions
from ganformer_jax.load import load
from ganformer_jax.sampling import Synthesizer, read_latents, save_latents, swap_components

GANFORMER = dataclasses.replace(tiny_config(2).generator, attention_resolutions=(4, 8))
KINDS = {
    "ganformer": GANFORMER,
    "stylegan2": tiny_config(0).generator,
    "one component": dataclasses.replace(tiny_config(1).generator, latent_size=4),
    "labels": dataclasses.replace(GANFORMER, label_size=2),
    "oblong": dataclasses.replace(GANFORMER, base_grid=(2, 4)),
    "one channel": dataclasses.replace(GANFORMER, image_channels=1),
    "five channels": dataclasses.replace(GANFORMER, image_channels=5),
}
PLACES = dataclasses.replace(
    GANFORMER, attention=dataclasses.replace(GANFORMER.attention, places=True, kmeans_iterations=0)
)
SEEDS = ("--seeds", "0-2")
QUICK = ("--batch-size", "8")
FEW = ("--count", "40", "--factors", "2", "--amounts", "-1", "0", "1", "--batch-size", "8")


def edited(capsys, path, *options):
    code, out, err = call(capsys, "edit", "--workdir", path, *QUICK, *options)
    assert code == 0, err
    return out


def image(file):
    with Image.open(file) as opened:
        return np.asarray(opened)


def records(folder):
    return [json.loads(line) for line in (folder / "edits.jsonl").read_text().splitlines()]


def synthesized(path, latents, attention=False):
    generator, variables = load(path)
    synthesizer = Synthesizer(generator.config, 8, attention=attention)
    return synthesizer(jax.device_put(variables), latents)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_directions_then_edits_of_every_kind_of_generator(tmp_path, capsys, kind):
    config, seed = KINDS[kind], 2 if kind == "one channel" else 1  # whose images are not all black
    path = export(tmp_path, config, seed)
    code, out, err = call(capsys, "directions", "--workdir", path, *FEW)
    assert code == 0, err
    assert "no directions by attributes: " in out and "is a file" in out
    has_attention = bool(config.components)
    assert ("no directions by regions: this generator has no attention" in out) != has_attention
    folder = tmp_path / "generator-directions"
    table = [json.loads(line) for line in (folder / "directions.jsonl").read_text().splitlines()]
    names = [record["name"] for record in table]
    assert names[:4] == ["global 1", "global 2", "global-coarse 1", "global-coarse 2"]
    for record in table:
        assert record["scale"] > 0 and np.isfinite(record.get("r2", 0.0))
    sheets = {file.stem for file in folder.glob("*.png")}
    assert {"global", "global-coarse", "global-middle", "global-fine"} <= sheets
    assert ("components" in sheets) == has_attention
    with Image.open(folder / "global.png") as sheet:
        assert min(sheet.size) > 90 and np.ptp(np.asarray(sheet)) > 0
    edited(capsys, path, *SEEDS, "--direction", "global 1", "--amount", "2")
    found = records(tmp_path / "generator-edited")
    assert [record["seed"] for record in found] == [0, 1, 2]
    assert any(record["change"] > 0 for record in found)
    assert all("inside" not in record for record in found)
    if not has_attention:
        return
    colors = {"gray"} if config.image_channels == 1 else {"red", "green", "blue"}
    component = next(
        n.split()[1] for n in names if n.startswith("component ") and n.split()[-1] in colors
    )
    color = {1: ["200"]}.get(config.image_channels, ["#c83264"])
    out = edited(capsys, path, *SEEDS, "--overwrite", "--component", component, "--recolor", *color)
    assert "R2 of the directions on held-out images: " in out
    found = records(tmp_path / "generator-edited")
    assert set(found[0]["target_change"]) == colors
    for record in found:
        assert record["change_of_w"] <= 3 + 1e-6
        if record["region_before"]:
            now = record["region_before"]
            for name, change in record["target_change"].items():
                goal = {"gray": 200, "red": 200, "green": 50, "blue": 100}[name]
                assert now[name] + change == pytest.approx(goal)


def test_latents_of_an_edit_make_the_same_images(tmp_path, capsys):
    """Read by a program, and by `visualize`; and they can be edited again."""
    path = export(tmp_path, GANFORMER)
    out = tmp_path / "a"
    edited(capsys, path, *SEEDS, "--component", "1", "--swap", "9", "--out", str(out))
    names = {"000000.png", "000001.png", "000002.png", "latents.npz", "edits.png", "edits.jsonl"}
    assert {file.name for file in out.iterdir()} == names
    config = load(path)[0].config
    made = synthesized(path, read_latents(out / "latents.npz", config))
    for seed in range(3):
        np.testing.assert_array_equal(image(out / f"00000{seed}.png"), made.images[seed])
    code, said, err = call(
        capsys,
        *("visualize", "--workdir", path, "--latents", str(out / "latents.npz")),
        *("--out", str(tmp_path / "v"), "--figures", "samples", *QUICK),
    )
    assert code == 0 and "images will differ" not in said, err
    grid = image(tmp_path / "v" / "samples.png")
    scale = 96 // 8
    first = grid[2 : 2 + 8 * scale : scale, 2 : 2 + 8 * scale : scale]
    np.testing.assert_array_equal(first, made.images[0])
    latents = ("--latents", str(out / "latents.npz"))
    edited(capsys, path, *latents, "--component", "2", "--remove", "--out", str(tmp_path / "b"))
    (first, *_) = records(tmp_path / "b")
    assert first["edits"] == ["swap component 1 with seed 9", "remove component 2"]
    assert first["seed"] == 0


def test_a_swap_is_that_of_latents(tmp_path, capsys):
    path = export(tmp_path, KINDS["labels"])
    generator, variables = load(path)
    synthesizer = Synthesizer(generator.config, 8)
    w = synthesizer.latents(variables, [0, 1, 2], [0, 1, 0], 0.7).w_BxKxLxD
    other = synthesizer.latents(variables, [9] * 3, [0, 1, 0], 0.7).w_BxKxLxD
    for component, place in (("2", 1), ("global", -1)):
        out = tmp_path / component
        edited(capsys, path, *SEEDS, "--component", component, "--swap", "9", "--out", str(out))
        found = read_latents(out / "latents.npz", generator.config).w_BxKxLxD
        np.testing.assert_array_equal(found, swap_components(w, other, [place]))
    said = complaint(
        capsys,
        *("edit", "--workdir", path, "--latents", str(tmp_path / "2" / "latents.npz")),
        *("--component", "global", "--swap", "3", "--out", str(tmp_path / "x")),
    )
    assert "needs labels: give --seeds" in said


def test_no_pixel_attends_to_a_component_that_was_removed(tmp_path, capsys):
    path = export(tmp_path, GANFORMER)
    out = tmp_path / "out"
    edited(capsys, path, *SEEDS, "--component", "1", "--remove", "--out", str(out))
    made = synthesized(path, read_latents(out / "latents.npz", GANFORMER), attention=True)
    assert made.attention and all(layer[:, 0].max() == 0 for layer in made.attention)
    assert all(record["region_after"] is None for record in records(out))


def test_a_component_with_a_place_is_moved_by_it(tmp_path, capsys):
    """Without directions."""
    path = export(tmp_path, PLACES)
    out = tmp_path / "out"
    options = ["--component", "2", "--move", "-0.25", "0.5", *SEEDS, "--out", str(out)]
    assert "move component 2 -0.25 0.5" in edited(capsys, path, *options)
    latents = read_latents(out / "latents.npz", load(path)[0].config)
    assert latents.shift_BxKx2 is not None
    np.testing.assert_array_equal(latents.shift_BxKx2[:, 1], np.tile([1.0, -0.5], (3, 1)))
    made = synthesized(path, latents)
    for row, record in enumerate(records(out)):
        np.testing.assert_array_equal(image(out / record["file"]), made.images[row])


def test_the_last_visible_component_is_not_removed(tmp_path, capsys):
    """Attention to none of them would be attention to all."""
    path = export(tmp_path, GANFORMER)
    out = tmp_path / "a"
    edited(capsys, path, *SEEDS, "--component", "1", "--remove", "--out", str(out))
    latents = ("--latents", str(out / "latents.npz"))
    given = ("edit", "--workdir", path, *QUICK, *latents, "--out", str(tmp_path / "b"))
    said = complaint(capsys, *given, "--component", "2", "--remove")
    assert "component 2 is the last visible one in 3 of 3 images" in said
    assert not (tmp_path / "b").exists()
    code, _, err = call(capsys, *given, "--component", "1", "--remove")  # it is hidden already
    assert code == 0, err


def test_all_components_with_places_can_be_removed(tmp_path, capsys):
    """Pixels then attend to nothing."""
    path = export(tmp_path, PLACES)
    latents: list[str] = []
    for component in range(1, PLACES.components + 1):
        out = tmp_path / str(component)
        removal = ("--component", str(component), "--remove", "--out", str(out))
        edited(capsys, path, *(latents or SEEDS), *removal)
        latents = ["--latents", str(out / "latents.npz")]
    found = read_latents(latents[1], PLACES)
    assert found.mask_BxK is not None and found.mask_BxK.max() == 0


def test_a_k_gan_has_nothing_to_edit(tmp_path, capsys):
    """Its last latent is one of the images that it merges."""
    path = export(tmp_path, dataclasses.replace(KINDS["stylegan2"], merge=MergeConfig(images=2)))
    given = ("edit", "--workdir", path, *QUICK, *SEEDS, "--out", str(tmp_path / "edits"))
    said = complaint(capsys, *given, "--component", "global", "--swap", "7")
    assert "this generator is a k-GAN, which has neither a global latent nor components" in said
    assert not (tmp_path / "edits").exists()


def test_latents_keep_their_truncation(tmp_path, capsys):
    """And what is swapped in has that of its file, unless another one is given."""
    path = export(tmp_path, GANFORMER)
    generator, variables = load(path)
    synthesizer = Synthesizer(generator.config, 8)
    made = synthesizer.latents(jax.device_put(variables), [0, 1, 2], None, 0.4, 2)
    save_latents(tmp_path / "latents.npz", made)
    given = ("edit", "--workdir", path, *QUICK, "--latents", str(tmp_path / "latents.npz"))
    said = complaint(capsys, *given, "--truncation-psi", "0.1", "--component", "1", "--remove")
    assert "--truncation-psi and --truncation-cutoff have no effect on --latents" in said
    swap = ("--component", "global", "--swap", "7")
    for options, psi, cutoff in (((), 0.4, 2), (("--truncation-psi", "0.9"), 0.9, None)):
        out = tmp_path / f"{psi}"
        call(capsys, *given, *swap, *options, "--out", str(out))
        other = synthesizer.latents(jax.device_put(variables), [7], None, psi, cutoff)
        found = read_latents(out / "latents.npz", GANFORMER)
        np.testing.assert_allclose(found.w_BxKxLxD[0, -1], other.w_BxKxLxD[0, -1], atol=1e-6)
        np.testing.assert_array_equal(found.w_BxKxLxD[:, 0], made.w_BxKxLxD[:, 0])


def test_an_amount_of_zero_changes_no_bit(tmp_path, capsys):
    """And another one changes the latents by the direction, of the chosen component."""
    path = export(tmp_path, GANFORMER)
    vector = np.full((1, GANFORMER.w_size), 0.5, np.float32)
    saved = [Direction("components 1", "components", vector, 3.0, "factorization", (1, 2))]
    save_directions(tmp_path / "d.npz", saved)
    given = ("--directions", str(tmp_path / "d.npz"), "--direction", "components 1")
    generator, variables = load(path)
    before = Synthesizer(generator.config, 8).latents(variables, [0, 1, 2], None, 0.7)
    images = synthesized(path, before).images
    for amount in ("0", "-2"):
        out = tmp_path / amount
        edited(
            capsys, path, *SEEDS, *given, "--component", "2", "--amount", amount, "--out", str(out)
        )
        after = read_latents(out / "latents.npz", generator.config).w_BxKxLxD
        expected = np.zeros_like(after)
        expected[:, 1, 1:3] = float(amount) * 3 * 0.5
        np.testing.assert_allclose(after - before.w_BxKxLxD, expected, atol=1e-5)
        same = [np.array_equal(image(out / f"00000{i}.png"), images[i]) for i in range(3)]
        assert all(same) == (amount == "0")
    assert {record["change"] for record in records(tmp_path / "0")} == {0.0}
    assert all(record["inside"] in (0.0, None) for record in records(tmp_path / "0"))


ONE = "give one of --remove, --swap, --move, --recolor, --direction"


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ganformer", (), ONE),
        ("ganformer", ("--remove", "--swap", "3"), f"{ONE}, not several"),
        ("ganformer", ("--remove",), "--remove needs --component"),
        ("ganformer", ("--component", "1", "--direction", "x"), "--amount NUMBER need each other"),
        ("ganformer", ("--component", "3", "--remove"), "name one from 1 to 2, or global"),
        ("ganformer", ("--component", "x", "--remove"), "name one from 1 to 2, or global"),
        ("ganformer", ("--component", "global", "--remove"), "the global latent has no region"),
        ("ganformer", ("--component", "1", "--move", "0", "0.1"), "run `directions` first"),
        ("ganformer", ("--direction", "a", "--amount", "1"), "run `directions` first"),
        ("ganformer", ("--component", "1", "--swap", "-1"), "--swap must be a seed"),
        ("ganformer", ("--component", "1", "--move", "0", "1", "--limit", "0"), "--limit must be"),
        ("ganformer", ("--component", "1", "--swap", "1", "--limit", "2"), "no effect on --swap"),
        (
            "ganformer",
            ("--component", "1", "--remove", "--directions", "d.npz"),
            "--directions has no effect on --remove: leave it out",
        ),
        (
            "places",
            ("--component", "1", "--move", "0", "0.1", "--limit", "2"),
            "--limit has no effect on --move of a component with a place",
        ),
        (
            "ganformer",
            ("--direction", "a", "--amount", "1", "--limit", "2"),
            "--limit has no effect on --direction",
        ),
        ("ganformer", ("--direction", "a", "--amount", "nan"), "--amount nan: give a finite"),
        ("ganformer", ("--direction", "a", "--amount", "-inf"), "--amount -inf: give a finite"),
        ("ganformer", ("--component", "1", "--move", "nan", "0"), "--move nan: give a finite"),
        ("ganformer", ("--component", "1", "--move", "0", "inf"), "--move inf: give a finite"),
        ("ganformer", ("--component", "1", "--recolor", "nan", "0", "0"), "numbers from 0 to 255"),
        ("ganformer", ("--component", "1", "--recolor", "0", "0", "inf"), "numbers from 0 to 255"),
        ("ganformer", ("--component", "1", "--recolor", "red"), "or one color like #ff8000"),
        ("ganformer", ("--component", "1", "--swap", "1", "--layer", "3"), "layers of this "),
        ("ganformer", ("--component", "1", "--remove", "--layer", "99"), "--layer 99: the att"),
        ("ganformer", ("--component", "global", "--swap", "1", "--layer", "-1"), "--layer -1: "),
        ("ganformer", ("--direction", "a", "--amount", "1", "--layer", "99"), "--layer 99: "),
        (
            "stylegan2",
            ("--component", "global", "--swap", "1", "--layer", "0"),
            "--layer 0: this generator has no attention",
        ),
        ("ganformer", ("--component", "1", "--swap", "1", "--latents", "no.npz"), "no file no.npz"),
        ("stylegan2", ("--component", "1", "--remove"), "this generator has no attention"),
        ("one component", ("--component", "1", "--remove"), "a single component cannot be hidden"),
    ],
)
def test_what_cannot_be_edited(tmp_path, capsys, kind, options, message):
    path = export(tmp_path, PLACES if kind == "places" else KINDS[kind])
    assert message in complaint(capsys, "edit", "--workdir", path, *QUICK, *options)
    assert not (tmp_path / "generator-edited").exists()


def test_directions_that_do_not_fit_an_edit(tmp_path, capsys):
    path = export(tmp_path, KINDS["one channel"])
    vector = np.ones((1, GANFORMER.w_size), np.float32)
    facts = {"property": "row", "per_unit": 0.1, "products": {"row": 1.0}, "r2": 0.5}
    save_directions(
        tmp_path / "d.npz",
        [
            Direction("global 1", "global", vector, 1.0, "factorization"),
            Direction("components 1", "components", vector, 1.0, "factorization"),
            Direction("component 1 row", "component 1", vector, 1.0, "regression", facts=facts),
        ],
    )
    given = ("edit", "--workdir", path, *QUICK, *SEEDS, "--directions", str(tmp_path / "d.npz"))
    for options, message in [
        (("--direction", "globl 1", "--amount", "1"), "did you mean global 1?"),
        (("--direction", "xyz", "--amount", "1"), "are global 1, components 1, component 1 row"),
        (("--direction", "components 1", "--amount", "1"), "needs --component"),
        (
            ("--direction", "global 1", "--amount", "1", "--component", "1"),
            "is of global, not of component 1",
        ),
        (
            ("--direction", "component 1 row", "--amount", "1", "--component", "2"),
            "is of component 1, not of component 2",
        ),
        (("--component", "1", "--move", "0", "0.1"), "no direction of component 1 column"),
        (("--component", "1", "--recolor", "#ff0000"), "give one number from 0 to 255 (gray)"),
        (("--component", "1", "--recolor", "0", "9"), "give one number from 0 to 255 (gray)"),
        (("--component", "1", "--recolor", "256"), "give numbers from 0 to 255"),
    ]:
        assert message in complaint(capsys, *given, *options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("stylegan2", ("--kinds", "regions"), "no directions by regions: this generator has no "),
        ("ganformer", ("--kinds", "attributes"), "is a file, which has no dataset"),
        ("ganformer", ("--kinds", "regions", "--layer", "3"), "--layer 3: the attention layers"),
        ("ganformer", ("--layer", "99"), "--layer 99: the attention layers"),
        ("ganformer", ("--kinds", "factorization", "--count", "19"), "--count must be 20 or more"),
        ("ganformer", ("--amounts", "-1", "nan"), "--amounts nan: give a finite"),
        ("ganformer", ("--amounts", "inf", "0"), "--amounts inf: give a finite"),
        ("ganformer", ("--seed", "-1"), "--seed and the seeds after it"),
        ("ganformer", ("--factors", "0"), "--factors must be 1 or more"),
    ],
)
def test_what_has_no_directions(tmp_path, capsys, kind, options, message):
    path = export(tmp_path, KINDS[kind])
    assert message in complaint(capsys, "directions", "--workdir", path, *FEW, *options)
    assert not (tmp_path / "generator-directions").exists()


def test_nothing_is_replaced(tmp_path, capsys):
    path = export(tmp_path, KINDS["stylegan2"])
    for name in ("edited", "directions"):
        folder = tmp_path / f"generator-{name}"
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    swap = ("--component", "global", "--swap", "3", "--seeds", "0")
    for command, options in (("edit", swap), ("directions", ("--count", "20", "--factors", "1"))):
        given = (command, "--workdir", path, *QUICK, *options)
        assert "has files: choose another --out" in complaint(capsys, *given)
        code, out, err = call(capsys, *given, "--overwrite")
        assert code == 0, err
    assert (tmp_path / "generator-edited" / "mine.txt").read_text() == "mine"
    assert image(tmp_path / "generator-edited" / "000000.png").shape == (8, 8, 3)

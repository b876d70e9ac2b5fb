"""Regions of a generator whose components are known to move and color a blob."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_config

from ganformer_jax.errors import UserError
from ganformer_jax.experiment.figures import FigureContext
from ganformer_jax.experiment.latents.directions import DirectionSearch, find_directions
from ganformer_jax.experiment.latents.edit_files import apply_edit, summary, write_edit
from ganformer_jax.experiment.latents.editing import change_region, describe_fit, of_component
from ganformer_jax.sampling import ImageLatents, Synthesized
from ganformer_jax.scenes.layout import IMAGE_ATTRIBUTES

CONFIG = tiny_config(2).generator
SIDE, BLOB = 64, 8


@dataclasses.dataclass(frozen=True)
class Blobs:
    """In place of a `Synthesizer`: the first component's w has a square's place and red.

    The square is where pixels attend to it most; w of the other component is not read.
    """

    config: object = CONFIG
    batch_size: int = 16
    attention: bool = False
    noise: str = "const"

    def __call__(self, variables, latents):
        count = len(latents)
        images = np.full((count, SIDE, SIDE, 3), 50, np.uint8)
        attention = np.zeros((count, 2, 1, SIDE, SIDE), np.float32)
        attention[:, 1] = 0.5
        for row, w_D in enumerate(latents.w_BxKxLxD[:, 0, 0]):
            top, left = np.clip(np.round(28 + 4 * w_D[:2] + [0, w_D[2]]), 0, SIDE - BLOB).astype(
                int
            )
            here = slice(top, top + BLOB), slice(left, left + BLOB)
            images[row, *here, 0] = np.clip(120 + 20 * w_D[2], 0, 255)
            attention[row, 0, 0, *here] = 1
        return Synthesized(images, (attention,) if self.attention else ())


def context(count, seed=0):
    shape = count, CONFIG.num_latents, 3, CONFIG.w_size
    w_D = np.random.default_rng(seed).standard_normal((count, CONFIG.num_latents, CONFIG.w_size))
    w_BxKxLxD = np.broadcast_to(w_D[:, :, None], shape).astype(np.float32)
    latents = ImageLatents(w_BxKxLxD, np.arange(count, dtype=np.uint32))
    return FigureContext(Blobs(), {}, latents)


@pytest.fixture(scope="module")
def found():
    lines = []
    search = DirectionSearch(context(400), lambda: pytest.fail(), progress=False)
    groups = find_directions(search, ["regions"], lines.append)
    return groups, lines


def test_properties_that_vary_have_directions(found):
    """The square's place and red; its area, green and blue are constant."""
    (own, rest), _ = found
    assert [one.name for one in own.directions] == [
        "component 1 row",
        "component 1 column",
        "component 1 red",
    ]
    assert all(one.facts["r2"] > 0.99 for one in own.directions)
    assert all(abs(one.facts["r2"]) < 0.2 for one in rest.directions)  # w 2 is not read
    row, column, red = own.directions
    np.testing.assert_allclose(np.abs(row.vector_KxD[0]), [1, 0, 0, 0], atol=0.15)
    assert row.facts["per_unit"] == pytest.approx(4 / SIDE, rel=0.1)
    # column leaves red: only the second number of w may change
    np.testing.assert_allclose(column.vector_KxD[0, [0, 2]] / column.vector_KxD[0, 1], 0, atol=0.02)


def test_a_region_is_moved_by_what_was_asked(found):
    directions = {one.name: one for group in found[0] for one in group.directions}
    own, other = of_component(directions, 0), context(12, seed=1)
    targets = {"row": 8 / SIDE, "column": -4 / SIDE}
    edit = change_region(other, 0, own, targets, relative=True, limit=np.inf)
    [result] = apply_edit(other, edit)
    for record in result.records:
        moved = {
            name: record["region_after"][name] - record["region_before"][name]
            for name in ("row", "column", "red")
        }
        assert moved["row"] == pytest.approx(8 / SIDE, abs=1.6 / SIDE)
        assert moved["column"] == pytest.approx(-4 / SIDE, abs=1.6 / SIDE)
        assert moved["red"] == pytest.approx(0, abs=2.5)
        assert record["inside"] > 20 * record["outside"] or record["inside"] > 20
    assert "row +0.1" in summary(edit, result.records) and "column -0.06" in summary(
        edit, result.records
    )
    assert "expect little" not in describe_fit(own, ["row", "column"])


def test_a_region_is_recolored_and_stays_where_it_is(found):
    directions = {one.name: one for group in found[0] for one in group.directions}
    own, other = of_component(directions, 0), context(12, seed=2)
    edit = change_region(other, 0, own, {"red": 130.0}, relative=False, limit=np.inf)
    [result] = apply_edit(other, edit)
    for record in result.records:
        before, after = record["region_before"], record["region_after"]
        assert after["red"] == pytest.approx(130, abs=2)
        assert after["row"] == pytest.approx(before["row"], abs=1.1 / SIDE)
        assert after["column"] == pytest.approx(before["column"], abs=1.1 / SIDE)
    with pytest.raises(UserError, match="no direction of component 1 green"):
        change_region(other, 0, own, {"green": 3.0}, relative=False, limit=1)


def test_images_are_edited_and_written_batch_by_batch(found, tmp_path, monkeypatch):
    """Memory is bounded by a batch; the records are those of one large batch."""
    directions = {one.name: one for group in found[0] for one in group.directions}
    own, other, sizes = of_component(directions, 0), context(40, seed=4), []
    make = Blobs.__call__
    monkeypatch.setattr(Blobs, "__call__", lambda *a: sizes.append(len(a[2])) or make(*a))
    tables = []
    for batch_size in (64, 9):
        some = dataclasses.replace(other, synthesizer=Blobs(batch_size=batch_size))
        edit = change_region(some, 0, own, {"row": 0.1}, relative=True, limit=2.0)
        folder, names = tmp_path / str(batch_size), [f"{row:06d}" for row in range(40)]
        files, _ = write_edit(some, edit, names, folder, progress=False)
        assert all(file.is_file() for file in files) and len(files) == 43
        tables.append([(folder / name).read_bytes() for name in ("edits.jsonl", "edits.png")])
        assert len(tables[-1][0].splitlines()) == 40
    assert tables[0] == tables[1]
    assert sizes[:2] == [40, 40]  # before and after
    assert set(sizes[2:]) == {9, 4}


def test_long_changes_are_shortened(found):
    directions = {one.name: one for group in found[0] for one in group.directions}
    own, other = of_component(directions, 0), context(3, seed=3)
    edit = change_region(other, 0, own, {"row": 16 / SIDE}, relative=True, limit=2.0)
    assert [fact["change_of_w"] for fact in edit.facts] == pytest.approx([2.0] * 3)
    assert [fact["share_made"] for fact in edit.facts] == pytest.approx([0.5] * 3, rel=0.1)
    assert "3 shortened to --limit" in summary(edit, next(apply_edit(other, edit)).records)


def test_few_samples_have_no_directions():
    search = DirectionSearch(context(19), lambda: pytest.fail(), progress=False)
    with pytest.raises(ValueError, match="20 samples are needed, not 19"):
        find_directions(search)


def test_attributes_that_w_does_not_predict_have_no_directions():
    """As with --truncation-psi 0, where w is the same for all images and noise decides the rest."""
    one = context(30)
    latents = dataclasses.replace(one.latents, w_BxKxLxD=np.zeros_like(one.latents.w_BxKxLxD))

    class Segmenter:
        reliable = np.ones(len(IMAGE_ATTRIBUTES), bool)

        def segmenter(self, images):
            return None, np.random.default_rng(0).random((len(images), len(self.reliable)))

    same = dataclasses.replace(one, latents=latents)
    search = DirectionSearch(same, Segmenter, progress=False)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="a linear model of w predicts none of the attributes"):
        find_directions(search, ["attributes"])


def test_components_without_a_region_are_left_out():
    """All pixels attend to the second component, whose region then has no place and no area."""

    @dataclasses.dataclass(frozen=True)
    class Hidden(Blobs):
        def __call__(self, variables, latents):
            made = super().__call__(variables, latents)
            return made._replace(
                attention=tuple(layer * [[[[[0]]], [[[1]]]]] for layer in made.attention)
            )

    hidden = dataclasses.replace(context(30), synthesizer=Hidden())
    lines = []
    search = DirectionSearch(hidden, lambda: pytest.fail(), progress=False)
    groups = find_directions(search, ["regions"], lines.append)
    assert [group.component for group in groups] == [1]  # of its color
    assert [one.facts["property"] for one in groups[0].directions] == ["red"]
    assert lines == [
        "no directions of component 1: it has a region in 0 of 30 images, 20 are needed"
    ]

"""Images of the viewer: edited latents, segments, changes, labels, and every kind of generator."""

import dataclasses

import numpy as np
import pytest
from viewed import KINDS, LABELS, variables_of, viewed

from ganformer_jax.errors import UserError
from ganformer_jax.metrics.edits import edit_changes, pixel_change
from ganformer_jax.sampling import Synthesizer, interpolate, swap_components
from ganformer_jax.viewer import State, ViewedEdit

SEED, OTHER, PSI = 5, 11, 0.6
ATTENDED = [kind for kind in KINDS if kind not in ("stylegan2", "k-GAN", "unattended")]


def edited(*edits, **values):
    return State(SEED, PSI, edits=edits, **values)


def latents_of(kind, seed=SEED, noise="const"):
    """A synthesizer, variables and latents of a seed, without anything of the viewer."""
    config = KINDS[kind]
    synthesizer = Synthesizer(config, 1, noise, attention=True)
    variables = variables_of(config)
    return synthesizer, variables, synthesizer.latents(variables, [seed], None, PSI)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["const", "random", "none"])
@pytest.mark.parametrize("edit", ["nothing", "swap", "global", "interpolate", "all", "remove"])
def test_images_are_those_of_the_synthesizer(edit, noise):
    """To the bit, whatever the edit; the noise stays that of the seed."""
    synthesizer, variables, latents = latents_of("ganformer", noise=noise)
    w_1xKxLxD = latents.w_BxKxLxD
    other = synthesizer.latents(variables, [OTHER], None, PSI).w_BxKxLxD
    edits = {
        "nothing": [],
        "swap": [ViewedEdit(1, "swap", OTHER)],
        "global": [ViewedEdit("global", "swap", OTHER)],
        "interpolate": [ViewedEdit(2, "interpolate", OTHER, 0.25)],
        "all": [ViewedEdit("all", "interpolate", OTHER, 0.25)],
        "remove": [ViewedEdit(0, "remove")],
    }
    expected = {
        "nothing": lambda: latents,
        "swap": lambda: latents.with_w(swap_components(w_1xKxLxD, other, [1])),
        "global": lambda: latents.with_w(swap_components(w_1xKxLxD, other, [3])),
        "interpolate": lambda: latents.with_w(
            interpolate(w_1xKxLxD, swap_components(w_1xKxLxD, other, [2]), 0.25)
        ),
        "all": lambda: latents.with_w(interpolate(w_1xKxLxD, other, 0.25)),
        "remove": lambda: latents.without(0),
    }
    direct = synthesizer(variables, expected[edit]())
    shown = viewed("ganformer").view(edited(*edits[edit], noise=noise))
    np.testing.assert_array_equal(shown.image, direct.images[0])
    strongest = direct.attention[-1].mean(2)[0].argmax(0)  # one of two layers of 8x8
    last = viewed("ganformer").view(edited(*edits[edit], noise=noise, layer=2))
    np.testing.assert_array_equal(last.segments, strongest)
    np.testing.assert_array_equal(shown.segments, strongest)  # the last is shown at first
    if edit != "nothing":
        before = viewed("ganformer").view(edited(noise=noise)).image
        assert (before != shown.image).any() and shown.change > 0


def test_edits_follow_each_other():
    """All latents first, then one of a third seed: as written, not as sorted."""
    synthesizer, variables, latents = latents_of("ganformer")
    others = [
        synthesizer.latents(variables, [seed], None, PSI).w_BxKxLxD for seed in (OTHER, OTHER + 1)
    ]
    halfway = interpolate(latents.w_BxKxLxD, others[0], 0.5)
    direct = latents.with_w(swap_components(halfway, others[1], [1])).without(2)
    edits = (
        ViewedEdit("all", "interpolate", OTHER, 0.5),
        ViewedEdit(1, "swap", OTHER + 1),
        ViewedEdit(2, "remove"),
    )
    found = viewed("ganformer").latents(edited(*edits))
    np.testing.assert_array_equal(found.w_BxKxLxD, direct.w_BxKxLxD)
    np.testing.assert_array_equal(found.mask_BxK, [[1, 1, 0]])
    swapped_first = viewed("ganformer").latents(edited(*edits[1::-1]))
    assert (swapped_first.w_BxKxLxD != found.w_BxKxLxD).any()
    assert found.facts[0]["truncation_psi"] == PSI  # which `edit --swap` gives other latents
    unedited = viewed("ganformer").latents(edited())
    np.testing.assert_array_equal(unedited.w_BxKxLxD, latents.w_BxKxLxD)  # the cache is intact


def test_all_components_with_places_can_be_removed():
    viewer = viewed("places")
    state = viewer.parse({"edits": [{"component": k, "kind": "remove"} for k in range(3)]})
    np.testing.assert_array_equal(viewer.latents(state).mask_BxK, [[0, 0, 0]])


def test_a_k_gan_has_no_global_latent():
    generator = viewed("k-GAN")
    edit = {"component": "global", "kind": "swap", "seed": 3}
    with pytest.raises(UserError, match='component must be "all": a k-GAN has no global latent'):
        generator.parse({"seed": 1, "edits": [edit]})
    assert generator.parse({"seed": 1, "edits": [edit | {"component": "all"}]}).edits


def test_a_moved_component_is_that_of_the_synthesizer():
    synthesizer, variables, latents = latents_of("places")
    expected = synthesizer(variables, latents.moved(1, 0.5, -0.25))
    state = edited(ViewedEdit(1, "move", x=0.25, y=-0.25), ViewedEdit(1, "move", x=0.25))
    np.testing.assert_array_equal(viewed("places").view(state).image, expected.images[0])
    kept = viewed("places").latents(state)
    np.testing.assert_allclose(kept.shift_BxKx2, [[[0, 0], [0.5, -0.25], [0, 0]]])
    unedited = viewed("places").view(edited())
    np.testing.assert_array_equal(unedited.image, synthesizer(variables, latents).images[0])


@pytest.mark.parametrize("component", [0, 2, "global", "all"])
def test_the_ends_of_an_interpolation(component):
    generator = viewed("ganformer")

    def image(kind, t=1.0):
        return generator.view(edited(ViewedEdit(component, kind, OTHER, t))).image

    unedited = generator.view(edited())
    np.testing.assert_array_equal(image("interpolate", 0.0), unedited.image)
    np.testing.assert_array_equal(image("interpolate", 1.0), image("swap"))
    assert (image("swap") != unedited.image).any()
    if component == "all":
        other = generator.view(State(OTHER, PSI))
        np.testing.assert_array_equal(image("swap"), other.image)


@pytest.mark.parametrize("layer", [None, 0, 1, 2])
def test_nothing_attends_to_a_removed_component(layer):
    generator = viewed("ganformer")
    before = generator.view(edited(layer=layer))
    assert before.segments is not None
    largest = int(np.bincount(before.segments.ravel()).argmax())
    after = generator.view(edited(ViewedEdit(largest, "remove"), layer=layer))
    assert largest not in after.segments
    assert largest in before.segments


def test_changes_inside_and_outside_regions_of_the_unedited_image():
    generator = viewed("ganformer")
    edit = ViewedEdit("global", "swap", OTHER)
    before, after = generator.view(edited(layer=2)), generator.view(edited(edit, layer=2))
    change = pixel_change(before.image[None], after.image[None])
    assert after.change == pytest.approx(change.mean()) and before.change == 0
    defined = 0
    for component, (inside, outside) in enumerate(after.changes):
        region = (before.segments == component)[None]
        expected = edit_changes(change, region)
        np.testing.assert_array_equal([inside, outside], [expected.inside[0], expected.outside[0]])
        defined += not np.isnan(inside)
    assert defined >= 2
    np.testing.assert_array_equal(np.nan_to_num(before.changes), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_generator(kind):
    generator = viewed(kind)
    start = generator.start
    shown = generator.view(start)
    height, width = (4, 8) if kind == "oblong" else (8, 8)
    assert shown.image.shape == (height, width, KINDS[kind].image_channels)
    assert (shown.segments is None) == (kind not in ATTENDED)
    swapped = dataclasses.replace(start, edits=(ViewedEdit("global", "swap", OTHER),))
    assert (generator.view(swapped).image != shown.image).any()


def test_labels_decide_the_image():
    for kind, other in (("classes", 1), ("conditions", [3.0, 1.0])):
        generator = viewed(kind)
        first, second = generator.parse({}), generator.parse({"label": other})
        assert first.label == LABELS[kind].start
        assert (generator.view(first).image != generator.view(second).image).any()
    one_hot = viewed("conditions").parse({"label": [0, 1]})
    by_number = viewed("classes").parse({"label": 1})
    images = viewed("conditions").view(one_hot).image, viewed("classes").view(by_number).image
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("label", [[2.5, 5, 3, 0], [2, 5, 7, 0], [2, -1, 3, 0]])
def test_captions_are_of_known_tokens(label):
    generator = viewed("captions")
    assert generator.parse({"label": [2, 6, 3, 0]}).label == (2, 6, 3, 0)
    with pytest.raises(UserError, match="label: captions must be 1 rows of 4 tokens"):
        generator.parse({"label": label})

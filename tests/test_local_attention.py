"""Attention of each position to the 3x3 around it: against published weights, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import Vector

from ganformer_jax.models.attention_layer import AttentionLayer, AttentionState, SynthesisContext
from ganformer_jax.nn import local_attention
from ganformer_jax.nn.layers import ModulatedConvolution
from ganformer_jax.nn.local_attention import LocalAttention, neighborhoods
from ganformer_jax.nn.microbatch import Microbatch

# The published code applies this layer's dropout in sampling too, twice at 6%: the vector holds
# one draw of it. These are the dropped cells (head * 9 + place) at positions (image, row, column)
# of the first layer, found by trying all choices of up to four; only these give the published map.
KEPT = (1 - 0.06) ** 2
DROPPED = {
    (0, 0, 0): (0, 23, 28),
    (0, 0, 1): (6, 26, 34),
    (0, 0, 2): (7, 8, 28, 31),
    (0, 0, 3): (15, 16, 35),
    (0, 1, 0): (),
    (0, 1, 1): (11, 26, 29),
    (0, 1, 2): (15,),
    (0, 3, 3): (8, 13, 16),
    (1, 0, 0): (3, 14, 16, 26),
    (1, 0, 1): (18, 26),
    (1, 0, 3): (28, 32),
    (1, 1, 1): (13, 16, 18, 21),
    (1, 1, 3): (14, 29, 30, 35),
    (1, 2, 1): (22, 26, 32),
    (1, 2, 2): (6, 28, 30),
    (1, 3, 0): (3, 9, 14),
    (1, 3, 2): (1, 8),
    (2, 0, 2): (2, 9, 10, 15),
    (2, 1, 0): (4, 5, 26),
    (2, 1, 1): (7, 24, 26),
    (2, 1, 3): (7, 22, 33),
    (2, 2, 0): (22, 31, 32, 35),
    (2, 2, 1): (2, 24, 30, 31),
    (2, 2, 2): (8,),
    (2, 2, 3): (4, 22, 25),
    (2, 3, 1): (2, 24),
    (2, 3, 2): (16, 22, 32),
    (3, 0, 1): (0, 7, 15, 31),
    (3, 0, 2): (1, 17, 28, 33),
    (3, 0, 3): (0, 18, 26),
    (3, 1, 0): (5, 6, 7, 30),
    (3, 1, 1): (0, 20, 32, 34),
    (3, 1, 3): (2, 9, 10, 21),
    (3, 2, 0): (7, 8, 26, 27),
    (3, 2, 2): (5, 8, 23, 26),
    (3, 3, 1): (10, 21, 31, 33),
    (3, 3, 3): (1, 17, 32),
}
IMAGES, SIDE, HEADS, NEIGHBORS = 4, 4, 4, 9


def published_dropout(monkeypatch):
    """Let the layer drop the cells of the published run, in two calls."""
    mask = np.ones((IMAGES, SIDE, SIDE, HEADS * NEIGHBORS), np.float32)
    for position, cells in DROPPED.items():
        mask[position][list(cells)] = 0
    scales = iter([mask.reshape(IMAGES, SIDE, SIDE, HEADS, NEIGHBORS) / KEPT, 1.0])
    monkeypatch.setattr(local_attention, "Dropout", lambda _: lambda x, _: x * next(scales))


@pytest.mark.parametrize("dropout", [True, False])
def test_the_published_layer_where_its_dropout_is_known(monkeypatch, report_line, dropout):
    vector = Vector("tf_local_attention")
    generator, variables = vector.load_tf()
    config, synthesis = generator.config, variables["params"]["synthesis"]
    constants = variables["constants"]["synthesis"]["block_4"]["layer_1"]["attention"]
    layer, w_BxKxD = synthesis["block_4"]["layer_1"], jnp.asarray(vector["out/w"])
    if dropout:
        published_dropout(monkeypatch)
    with jax.default_matmul_precision("highest"):
        grid = synthesis["stem"]["constant"]
        x = LocalAttention(grid.shape[-1], HEADS).apply(
            {"params": layer["local_attention"]},
            jnp.tile(grid[None], (IMAGES, 1, 1, 1)),
            synthesis["local_positions"],
            train=dropout,
        )
        scale = ModulatedConvolution(grid.shape[-1], 3, convolve=False)
        x = scale.apply({"params": layer["convolution"]}, x, w_BxKxD[:, -1])
        positions = variables["params"]["latent_positions"]
        _, state = AttentionLayer(config, 4).apply(
            {"params": layer["attention"], "constants": constants},
            x,
            w_BxKxD[:, :-1],
            AttentionState(),
            SynthesisContext("const", position_KxD=positions),
        )
    ours = np.asarray(state.maps[0][:, :, 0])
    step = vector["out/att_maps"].shape[-1] // SIDE
    published = vector["out/att_maps"][:, :, 0, 0, ::step, ::step]
    images, rows, columns = np.array(list(DROPPED)).T
    errors = np.abs(ours - published)[images, :, rows, columns].max(-1)
    report_line(
        f"local attention, published dropout {'on' if dropout else 'off'}: {len(errors)} positions "
        f"within {errors.max():.1e}, median {np.median(errors):.1e}"
    )
    if dropout:
        assert errors.max() < 2e-6
    else:  # the one position where nothing was dropped has all shares scaled all the same
        assert np.median(errors) > 1e-3


def test_neighborhoods_go_row_by_row_and_end_in_zeros():
    x = jnp.arange(1.0, 13.0).reshape(1, 3, 4, 1)
    around = np.asarray(neighborhoods(x))[0, ..., 0]
    np.testing.assert_array_equal(around[1, 1], [1, 2, 3, 5, 6, 7, 9, 10, 11])
    np.testing.assert_array_equal(around[0, 0], [0, 0, 0, 0, 1, 2, 0, 5, 6])
    np.testing.assert_array_equal(around[2, 3], [7, 8, 0, 11, 12, 0, 0, 0, 0])


def layer_and_inputs(dropout=0.0):
    layer = LocalAttention(8, 4, dropout)
    x = jax.random.normal(jax.random.key(0), (4, 5, 3, 6))
    positions = jax.random.normal(jax.random.key(1), (9, 16))
    variables = layer.init(jax.random.key(2), x, positions)
    return layer, variables, x, positions


def test_a_position_sees_the_3x3_around_it_and_no_more():
    layer, variables, x, positions = layer_and_inputs()
    before = layer.apply(variables, x, positions)
    after = layer.apply(variables, x.at[:, 2, 1].add(1.0), positions)
    changed = np.asarray(jnp.any(before != after, (0, 3)))
    expected = np.zeros((5, 3), bool)
    expected[1:4] = True
    np.testing.assert_array_equal(changed, expected)


def test_microbatches_draw_the_dropout_of_the_whole():
    layer, variables, x, positions = layer_and_inputs(dropout=0.5)
    rngs = {"dropout": jax.random.key(3)}
    whole = layer.apply(variables, x, positions, train=True, rngs=rngs)
    assert bool(jnp.any(whole != layer.apply(variables, x, positions)))
    for index in range(2):
        microbatch = Microbatch(index, 2)
        part = layer.apply(
            variables, microbatch.take(x), positions, train=True, microbatch=microbatch, rngs=rngs
        )
        np.testing.assert_allclose(part, microbatch.take(whole), rtol=1e-5, atol=1e-6)


def test_channels_that_heads_do_not_divide_are_named():
    layer = LocalAttention(6, 4)
    with pytest.raises(ValueError, match="4 heads do not divide 6 channels"):
        layer.init(jax.random.key(0), jnp.zeros((1, 2, 2, 6)), jnp.zeros((9, 16)))

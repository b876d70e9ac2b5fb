r"""Rules that map arrays of the published PyTorch and TensorFlow networks to our variables.

A row of the tables has our path, the PyTorch pattern and the TensorFlow pattern, or None if the
framework has no such array. `\1` in a path is the first group of the pattern.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Layout = Callable[[np.ndarray], np.ndarray]

PYTORCH, TENSORFLOW = "PyTorch", "TensorFlow"


class Rule(NamedTuple):
    """A pattern of published names, and the path of the variable with their value."""

    framework: str
    pattern: str  # matches the full published name
    path: str  # `collection/module/.../leaf`
    layout: Layout  # converts the published value to ours


# Layouts ----------------------------------------------------------------------------------------


def keep(value: np.ndarray) -> np.ndarray:
    """Return the value as it is."""
    return value


def transpose(value: np.ndarray) -> np.ndarray:
    """Transpose dense weights [out, in]; vectors are unchanged."""
    return value.T


def oihw_to_hwio(value: np.ndarray) -> np.ndarray:
    """Transpose convolution weights [out, in, height, width]."""
    return value.transpose(2, 3, 1, 0)


def chw_to_hwc(value: np.ndarray) -> np.ndarray:
    """Transpose an image [channels, height, width], dropping leading axes of size 1."""
    return value.reshape(value.shape[-3:]).transpose(1, 2, 0)


def rows_chw_to_hwc(value: np.ndarray) -> np.ndarray:
    """Reorder dense weights [in, out] whose inputs are a flattened 4x4 grid: channels last."""
    grid = value.reshape(value.shape[0] // 16, 4, 4, -1)
    return grid.transpose(1, 2, 0, 3).reshape(value.shape)


def columns_chw_to_hwc(value: np.ndarray) -> np.ndarray:
    """Reorder dense weights [in, out], or biases [out], whose outputs are a flattened 4x4 grid."""
    return rows_chw_to_hwc(value.reshape(-1, value.shape[-1]).T).T.reshape(value.shape)


def noise_grids(value: np.ndarray) -> np.ndarray:
    """Drop the channel axis of noise [images, 1, height, width]; of one image, also the first."""
    return value[:, 0] if len(value) > 1 else value[0, 0]


def stem_grids(value: np.ndarray) -> np.ndarray:
    """Transpose initial grids [images, channels, 4, 4]; drop the image axis if it has size 1."""
    return value.transpose(0, 2, 3, 1) if len(value) > 1 else chw_to_hwc(value)


# Modules ----------------------------------------------------------------------------------------


class At(NamedTuple):
    """A module or an array: our path, its PyTorch pattern and its TensorFlow pattern."""

    path: str
    pytorch: str | None
    tensorflow: str | None

    def inner(self, path: str, pytorch: str | None, tensorflow: str | None) -> At:
        """Return a module or an array inside this one."""
        return At(
            f"{self.path}/{path}",
            None if self.pytorch is None or pytorch is None else self.pytorch + pytorch,
            None if self.tensorflow is None or tensorflow is None else self.tensorflow + tensorflow,
        )


def _array(
    at: At, layouts: tuple[Layout, Layout] = (keep, keep), collection: str = "params"
) -> list[Rule]:
    columns = zip((PYTORCH, TENSORFLOW), at[1:], layouts, strict=True)
    path = f"{collection}/{at.path}"
    return [Rule(name, pattern, path, layout) for name, pattern, layout in columns if pattern]


def _dense(at: At) -> list[Rule]:
    """Return the rules of a dense layer; `%s` stands for "weight" and "bias"."""
    rules = []
    for name, leaf in (("weight", "kernel"), ("bias", "bias")):
        patterns = (pattern and pattern % name for pattern in at[1:])
        rules += _array(At(f"{at.path}/{leaf}", *patterns), (transpose, keep))
    return rules


def _attention(at: At) -> list[Rule]:
    layers = [
        at.inner("queries", r"\.to_queries\.%s", "/%s_query"),
        at.inner("keys", r"\.to_keys\.%s", "/%s_key"),
        at.inner("values", r"\.to_values\.%s", "/%s_value"),
        at.inner("query_positions", r"\.from_pos_map\.%s", "/%s_from_pos"),
        at.inner("key_positions", r"\.to_pos_map\.%s", "/%s_to_pos"),
        at.inner("modulation", r"\.modulation\.%s", "/%s_out"),
        at.inner("gate_x/features", r"\.from_gate_attention\.gate\.%s", "/%s_n_cont"),
        at.inner("gate_x/position", r"\.from_gate_attention\.gate_pos\.%s", "/%s_n_pos"),
        at.inner("gate_y/features", r"\.to_gate_attention\.gate\.%s", "/%s_e_cont"),
        at.inner("gate_y/position", r"\.to_gate_attention\.gate_pos\.%s", "/%s_e_pos"),
    ]
    iteration = rf"score_weights_\{(at.tensorflow or '').count('(') + 1}"
    return [
        *itertools.chain.from_iterable(map(_dense, layers)),
        *_array(at.inner("centroids", r"\.centroids", "/toasgn_init")),
        *_array(at.inner("score_weights_0", r"\.att_weight", None)),
        *_array(at.inner(iteration, None, r"/iter_(\d+)/st_weights")),
    ]


def _branch(at: At) -> list[Rule]:
    """Return the rules of one branch of the mapping network."""
    return [
        *_dense(at.inner(r"layer_\1", r"\.l(\d+)\.%s", r"/Dense(\d+)/%s")),
        *_dense(at.inner(r"layer_\1/dense_\2", r"\.l(\d+)\.fc(\d)\.%s", r"/Dense(\d+)_(\d)/%s")),
        *_dense(at.inner("output", r"\.out_layer\.%s", "/output/%s")),
        *_attention(at.inner(r"attention_\1", r"\.sa(\d+)", r"/AttLayer_(\d+)")),
    ]


def _modulated(at: At, tensorflow_layout: Layout = keep) -> list[Rule]:
    style = at.inner("style/kernel", r"\.affine\.weight", "/mod_weight")
    return [
        *_array(at.inner("kernel", r"\.weight", "/weight"), (oihw_to_hwio, tensorflow_layout)),
        *_array(style, (transpose, keep)),
        # TensorFlow adds 1 to these biases when it applies them.
        *_array(at.inner("style/bias", r"\.affine\.bias", "/mod_bias"), (keep, lambda b: b + 1)),
    ]


def _convolution(path: str, pytorch: str, tensorflow: str) -> list[Rule]:
    at = At(path, pytorch, tensorflow)
    return [
        *_array(at.inner("kernel", r"\.weight", "/weight"), (oihw_to_hwio, keep)),
        *_array(at.inner("bias", r"\.biasAct\.bias", "/bias")),
    ]


def _component_update(at: At, name: str) -> list[Rule]:
    """Return the rules of an attention layer of components and its residual dense layers."""
    return [
        *_attention(at.inner("attention", None, f"/AttLayer_{name}")),
        *_dense(at.inner("dense_0", None, f"/Dense{name}_0/%s")),
        *_dense(at.inner("dense_1", None, f"/Dense{name}_1/%s")),
    ]


def _local_attention(at: At) -> list[Rule]:
    """Return the rules of attention to the 3x3 neighborhood of each position."""
    layers = [
        at.inner("queries", None, "/AttLayer_att2d/%s_query"),
        at.inner("keys", None, "/AttLayer_att2d/%s_key"),
        at.inner("values", None, "/AttLayer_att2d/%s_value"),
        at.inner("key_positions", None, "/AttLayer_att2d/%s_to_pos"),
        at.inner("modulation", None, "/AttLayer_att2d/%s_out"),
    ]
    return [
        *_array(at.inner("channels/kernel", None, "/newdim")),
        *itertools.chain.from_iterable(map(_dense, layers)),
        *_array(at.inner("query_positions_bias", None, "/AttLayer_att2d/bias_from_pos")),
    ]


def _grid_positions(at: At) -> list[Rule]:
    return [
        *_array(at.inner("grid", "grid_pos", None), collection="constants"),
        *_array(at.inner("cells", "grid_pos", "emb")),
        *_array(at.inner("slopes", "slopes", "emb")),
        *_array(at.inner("columns", "pos0", "x_emb")),
        *_array(at.inner("rows", "pos1", "y_emb")),
    ]


# Networks ---------------------------------------------------------------------------------------

# TensorFlow layers such as 8x8/Conv0_up are renamed to 8/layer_0 first, see `tensorflow.py`.
_BLOCK = At(r"synthesis/block_\1", r"synthesis\.b(\d+)", r"synthesis/(\d+)")
_LAYER = _BLOCK.inner(r"layer_\2", r"\.conv([01])", r"/layer_([01])")
_GRID = _LAYER.inner("attention/positions", r"\.", "/grid/")
_STEM = At("synthesis/stem", r"synthesis\.b4\.", "synthesis/4/")

GENERATOR = [
    *_array(At("latent_positions", "pos", "ltnt_emb/emb")),
    *_array(At("w_average", r"mapping\.w_avg", "dlatent_avg"), collection="moments"),
    *_dense(At("mapping/label_embedding", r"mapping\.embed\.%s", None)),
    *_branch(At("mapping/global", r"mapping\.global_mlp", "mapping/global")),
    *_branch(At("mapping/components", r"mapping\.mlp", "mapping")),
    *_branch(At("mapping/shared", None, "mapping")),
    *_dense(At("mapping/start", None, "mapping/%s_map_start")),
    *_dense(At("mapping/positions", None, "mapping/%s_map_pos")),
    *_dense(At("mapping/end", None, "mapping/%s_map_end")),
    *_dense(At("mapping/join", None, "mapping/%s_inmap")),
    *_dense(At("mapping/split", None, "mapping/%s_outmap")),
    *_array(_STEM.inner("constant", "const", "Const/const"), (chw_to_hwc, stem_grids)),
    *_array(
        _STEM.inner("dense/kernel", r"conv_stem\.weight", "Dense/weight"),
        (lambda value: columns_chw_to_hwc(value.T), columns_chw_to_hwc),
    ),
    *_array(_STEM.inner("dense/bias", r"conv_stem\.bias", None), (columns_chw_to_hwc, keep)),
    *_array(_STEM.inner("bias", None, "Dense/bias")),
    *_array(_STEM.inner("noise/strength", None, "Dense/noise_strength")),
    *_array(_STEM.inner("noise/noise", None, "layer_1/noise"), (keep, noise_grids), "constants"),
    *_modulated(
        _BLOCK.inner(r"layer_\2/convolution", r"\.conv(0)", "/layer_(0)"),
        lambda kernel: kernel[::-1, ::-1],  # TensorFlow stores it rotated by 180 degrees
    ),
    *_modulated(_BLOCK.inner(r"layer_\2/convolution", r"\.conv(1)", "/layer_(1)")),
    *_array(_LAYER.inner("bias", r"\.biasAct\.bias", "/bias")),
    *_array(_LAYER.inner("noise/strength", r"\.noise_strength", "/noise_strength")),
    *_array(
        _LAYER.inner("noise/noise", r"\.noise_const", "/noise"), (keep, noise_grids), "constants"
    ),
    *_grid_positions(_GRID),
    *_attention(_LAYER.inner("attention/top_down", r"\.transformer", "/AttLayer_l2n")),
    *_component_update(_LAYER.inner("attention/bottom_up", None, ""), "n2l"),
    *_component_update(_LAYER.inner("attention/among_components", None, ""), "l2l"),
    *_attention(_LAYER.inner("attention/among_pixels", None, "/AttLayer_n2n")),
    *_local_attention(_LAYER.inner("local_attention", None, "")),
    *_array(At("synthesis/local_positions", None, "synthesis/att2d_grid/emb")),
    *_array(_BLOCK.inner("merge/scores/kernel", None, r"/merge\d+/weight")),
    *_modulated(_BLOCK.inner("last_convolution", r"\.conv_last", "/ToRGB/extraLayer")),
    *_modulated(_BLOCK.inner("to_image/convolution", r"\.torgb", "/ToRGB")),
    *_array(_BLOCK.inner("to_image/bias", r"\.torgb\.biasAct\.bias", "/ToRGB/bias")),
    *_array(_BLOCK.inner("skip/kernel", r"\.skip\.weight", "/Skip/weight"), (oihw_to_hwio, keep)),
]

_SEEN = At(r"block_\1", None, r"(\d+)")
_SEEN_GRID = _SEEN.inner("attention/positions", None, "/grid/")

DISCRIMINATOR = [
    *_array(At("latent_positions", None, "ltnt_emb/emb")),
    *_array(At("aggregators", None, "aggregators")),
    *_array(At("local_positions", None, "att2d_grid/emb")),
    *_grid_positions(_SEEN_GRID),
    *_attention(_SEEN.inner("attention/bottom_up", None, "/AttLayer_n2l")),
    *_attention(_SEEN.inner("attention/top_down", None, "/AttLayer_l2n")),
    *_component_update(_SEEN.inner("attention/among_aggregators", None, ""), "l2l"),
    *_attention(_SEEN.inner("attention/among_pixels", None, "/AttLayer_n2n")),
    *_local_attention(_SEEN.inner("local_attention", None, "")),
    *_dense(At("aggregator_scores/dense", None, "ComponentScores/Dense/%s")),
    *_dense(At("aggregator_scores/output", None, "ComponentScores/Output/%s")),
    *_convolution(r"from_image_\1", r"b(\d+)\.fromrgb", r"(\d+)/FromRGB"),
    *_convolution(r"block_\1/convolution_\2", r"b(\d+)\.conv(0)", r"(\d+)/Conv(0)"),
    *_convolution(r"block_\1/convolution_\2", r"b(\d+)\.conv(1)", r"(\d+)/Conv(1)_down"),
    *_convolution(r"block_\1/skip", r"b(\d+)\.skip", r"(\d+)/Skip"),
    *_convolution("convolution", r"b4\.conv", "4/Conv"),
    *_array(
        At("dense/kernel", r"b4\.fc\.weight", "4/Dense0/weight"),
        (lambda value: rows_chw_to_hwc(value.T), rows_chw_to_hwc),
    ),
    *_array(At("dense/bias", r"b4\.fc\.bias", "4/Dense0/bias")),
    *_dense(At("output", r"b4\.out\.%s", "Output/%s")),
]

r"""Where each name of the published PyTorch and TensorFlow networks goes.

A rule is a pattern of their name and a path of ours; `\1` is what a group matched.
"""

from __future__ import annotations

import itertools

from ganformer_jax.convert import match
from ganformer_jax.convert.match import Rule

_PARTS = {"weight": "kernel", "bias": "bias"}


def _dense(pattern: str, path: str, layout=match.transpose) -> list[Rule]:
    """Weight and bias of a dense layer."""
    return [Rule(rf"{pattern}\.{a}", f"{path}/{b}", layout) for a, b in _PARTS.items()]


# PyTorch: attention -----------------------------------------------------------------------------

_ATTENTION = {
    "to_queries": "queries",
    "to_keys": "keys",
    "to_values": "values",
    "from_pos_map": "query_positions",
    "to_pos_map": "key_positions",
    "modulation": "modulation",
    r"from_gate_attention\.gate": "gate_x/features",
    r"from_gate_attention\.gate_pos": "gate_x/position",
    r"to_gate_attention\.gate": "gate_y/features",
    r"to_gate_attention\.gate_pos": "gate_y/position",
}


def _attention(pattern: str, path: str) -> list[Rule]:
    rules = [_dense(rf"{pattern}\.{a}", f"{path}/{b}") for a, b in _ATTENTION.items()]
    return [
        *itertools.chain.from_iterable(rules),
        Rule(rf"{pattern}\.centroids", f"{path}/centroids", match.keep),
        Rule(rf"{pattern}\.att_weight", f"{path}/score_weights_0", match.keep),
    ]


# PyTorch: generator -----------------------------------------------------------------------------


def _branch(pattern: str, path: str) -> list[Rule]:
    return [
        *_dense(rf"{pattern}\.l(\d+)", rf"{path}/layer_\1"),
        *_dense(rf"{pattern}\.l(\d+)\.fc(\d)", rf"{path}/layer_\1/dense_\2"),
        *_dense(rf"{pattern}\.out_layer", f"{path}/output"),
        *_attention(rf"{pattern}\.sa(\d+)", rf"{path}/attention_\1"),
    ]


def _modulated(pattern: str, path: str) -> list[Rule]:
    return [
        Rule(rf"{pattern}\.weight", f"{path}/kernel", match.oihw_to_hwio),
        *_dense(rf"{pattern}\.affine", f"{path}/style"),
    ]


_BLOCK, _OURS = r"synthesis\.b(\d+)", r"synthesis/block_\1"
_LAYER, _OUR_LAYER = rf"{_BLOCK}\.conv([01])", rf"{_OURS}/layer_\2"
_GRID = rf"{_OUR_LAYER}/attention/positions"

GENERATOR = [
    Rule("pos", "params/latent_positions", match.keep),
    Rule(r"mapping\.w_avg", "moments/w_average", match.keep),
    *_dense(r"mapping\.embed", "params/mapping/label_embedding"),
    *_branch(r"mapping\.global_mlp", "params/mapping/global"),
    *_branch(r"mapping\.mlp", "params/mapping/components"),
    Rule(r"synthesis\.b4\.const", "params/synthesis/stem/constant", match.chw_to_hwc),
    Rule(
        r"synthesis\.b4\.conv_stem\.weight",
        "params/synthesis/stem/dense/kernel",
        lambda value: match.columns_chw_to_hwc(value.T),
    ),
    Rule(
        r"synthesis\.b4\.conv_stem\.bias",
        "params/synthesis/stem/dense/bias",
        match.columns_chw_to_hwc,
    ),
    *_modulated(_LAYER, f"params/{_OUR_LAYER}/convolution"),
    Rule(rf"{_LAYER}\.biasAct\.bias", f"params/{_OUR_LAYER}/bias", match.keep),
    Rule(rf"{_LAYER}\.noise_strength", f"params/{_OUR_LAYER}/noise/strength", match.keep),
    Rule(rf"{_LAYER}\.noise_const", f"constants/{_OUR_LAYER}/noise/noise", match.keep),
    Rule(rf"{_LAYER}\.grid_pos", f"constants/{_GRID}/grid", match.keep),
    Rule(rf"{_LAYER}\.grid_pos", f"params/{_GRID}/cells", match.keep),
    Rule(rf"{_LAYER}\.slopes", f"params/{_GRID}/slopes", match.keep),
    Rule(rf"{_LAYER}\.pos0", f"params/{_GRID}/columns", match.keep),
    Rule(rf"{_LAYER}\.pos1", f"params/{_GRID}/rows", match.keep),
    *_attention(rf"{_LAYER}\.transformer", f"params/{_OUR_LAYER}/attention/top_down"),
    *_modulated(rf"{_BLOCK}\.conv_last", rf"params/{_OURS}/last_convolution"),
    *_modulated(rf"{_BLOCK}\.torgb", rf"params/{_OURS}/to_image/convolution"),
    Rule(rf"{_BLOCK}\.torgb\.biasAct\.bias", rf"params/{_OURS}/to_image/bias", match.keep),
    Rule(rf"{_BLOCK}\.skip\.weight", rf"params/{_OURS}/skip/kernel", match.oihw_to_hwio),
]


# PyTorch: discriminator -------------------------------------------------------------------------


def _convolution(pattern: str, path: str) -> list[Rule]:
    return [
        Rule(rf"{pattern}\.weight", f"{path}/kernel", match.oihw_to_hwio),
        Rule(rf"{pattern}\.biasAct\.bias", f"{path}/bias", match.keep),
    ]


DISCRIMINATOR = [
    *_convolution(r"b(\d+)\.fromrgb", r"params/from_image_\1"),
    *_convolution(r"b(\d+)\.conv([01])", r"params/block_\1/convolution_\2"),
    *_convolution(r"b(\d+)\.skip", r"params/block_\1/skip"),
    *_convolution(r"b4\.conv", "params/convolution"),
    Rule(r"b4\.fc\.weight", "params/dense/kernel", lambda value: match.rows_chw_to_hwc(value.T)),
    Rule(r"b4\.fc\.bias", "params/dense/bias", match.keep),
    *_dense(r"b4\.out", "params/output"),
]


# TensorFlow: attention --------------------------------------------------------------------------

_TF_ATTENTION = {
    "query": "queries",
    "key": "keys",
    "value": "values",
    "from_pos": "query_positions",
    "to_pos": "key_positions",
    "out": "modulation",
    "n_cont": "gate_x/features",
    "n_pos": "gate_x/position",
    "e_cont": "gate_y/features",
    "e_pos": "gate_y/position",
}


def _tf_dense(pattern: str, path: str, suffix: str = "") -> list[Rule]:
    return [Rule(f"{pattern}/{a}{suffix}", f"{path}/{b}", match.keep) for a, b in _PARTS.items()]


def _tf_attention(pattern: str, path: str) -> list[Rule]:
    rules = [_tf_dense(pattern, f"{path}/{b}", f"_{a}") for a, b in _TF_ATTENTION.items()]
    return [
        *itertools.chain.from_iterable(rules),
        Rule(f"{pattern}/toasgn_init", f"{path}/centroids", match.keep),
        Rule(rf"{pattern}/iter_(\d+)/st_weights", _last_group(pattern, path), match.keep),
    ]


def _last_group(pattern: str, path: str) -> str:
    return rf"{path}/score_weights_\{pattern.count('(') - pattern.count('(?') + 1}"


def _tf_update(name: str, ours: str) -> list[Rule]:
    """A layer in which components attend, and its residual dense layers."""
    path = f"params/{_TF_OUR_LAYER}/attention/{ours}"
    return [
        *_tf_attention(f"{_TF_LAYER}/AttLayer_{name}", f"{path}/attention"),
        *_tf_dense(f"{_TF_LAYER}/Dense{name}_0", f"{path}/dense_0"),
        *_tf_dense(f"{_TF_LAYER}/Dense{name}_1", f"{path}/dense_1"),
    ]


# TensorFlow: generator --------------------------------------------------------------------------


def add_one(value):
    """Modulation biases, which TensorFlow stores one less."""
    return value + 1.0


def flip(value):
    """Kernels that TensorFlow stores turned by 180 degrees, where a convolution upsamples."""
    return value[::-1, ::-1]


def _tf_modulated(pattern: str, path: str, layout=match.keep) -> list[Rule]:
    return [
        Rule(f"{pattern}/weight", f"{path}/kernel", layout),
        Rule(f"{pattern}/mod_weight", f"{path}/style/kernel", match.keep),
        Rule(f"{pattern}/mod_bias", f"{path}/style/bias", add_one),
    ]


def _tf_branch(pattern: str, path: str) -> list[Rule]:
    return [
        *_tf_dense(rf"{pattern}/Dense(\d+)", rf"{path}/layer_\1"),
        *_tf_dense(rf"{pattern}/Dense(\d+)_(\d)", rf"{path}/layer_\1/dense_\2"),
        *_tf_dense(f"{pattern}/output", f"{path}/output"),
        *_tf_attention(rf"{pattern}/AttLayer_(\d+)", rf"{path}/attention_\1"),
    ]


# Layers such as 8x8/Conv0_up are renamed to 8/layer_0 before matching, see `tensorflow.py`.
_TF_BLOCK = r"synthesis/(\d+)"
_TF_LAYER, _TF_OUR_LAYER = rf"{_TF_BLOCK}/layer_([01])", r"synthesis/block_\1/layer_\2"
_TF_GRID = f"params/{_TF_OUR_LAYER}/attention/positions"

TF_GENERATOR = [
    Rule("ltnt_emb/emb", "params/latent_positions", match.keep),
    Rule("dlatent_avg", "moments/w_average", match.keep),
    *_tf_branch("mapping/global", "params/mapping/global"),
    *_tf_branch("mapping", "params/mapping/components"),
    *_tf_branch("mapping", "params/mapping/shared"),
    *_tf_dense("mapping", "params/mapping/join", "_inmap"),
    *_tf_dense("mapping", "params/mapping/split", "_outmap"),
    Rule("synthesis/4/Const/const", "params/synthesis/stem/constant", match.chw_to_hwc),
    Rule(
        "synthesis/4/Dense/weight", "params/synthesis/stem/dense/kernel", match.columns_chw_to_hwc
    ),
    Rule("synthesis/4/Dense/noise_strength", "params/synthesis/stem/noise/strength", match.keep),
    Rule("synthesis/4/Dense/bias", "params/synthesis/stem/bias", match.keep),
    *_tf_modulated(rf"{_TF_BLOCK}/layer_(0)", f"params/{_TF_OUR_LAYER}/convolution", flip),
    *_tf_modulated(rf"{_TF_BLOCK}/layer_(1)", f"params/{_TF_OUR_LAYER}/convolution"),
    Rule(f"{_TF_LAYER}/bias", f"params/{_TF_OUR_LAYER}/bias", match.keep),
    Rule(f"{_TF_LAYER}/noise_strength", f"params/{_TF_OUR_LAYER}/noise/strength", match.keep),
    Rule(f"{_TF_LAYER}/noise", f"constants/{_TF_OUR_LAYER}/noise/noise", lambda value: value[0, 0]),
    Rule(r"synthesis/4/layer_1/noise", "constants/synthesis/stem/noise/noise", lambda v: v[0, 0]),
    Rule(f"{_TF_LAYER}/grid/emb", f"{_TF_GRID}/cells", match.keep),
    Rule(f"{_TF_LAYER}/grid/emb", f"{_TF_GRID}/slopes", match.keep),
    Rule(f"{_TF_LAYER}/grid/x_emb", f"{_TF_GRID}/columns", match.keep),
    Rule(f"{_TF_LAYER}/grid/y_emb", f"{_TF_GRID}/rows", match.keep),
    *_tf_attention(f"{_TF_LAYER}/AttLayer_l2n", f"params/{_TF_OUR_LAYER}/attention/top_down"),
    *_tf_update("n2l", "bottom_up"),
    *_tf_update("l2l", "among_components"),
    *_tf_modulated(rf"{_TF_BLOCK}/ToRGB/extraLayer", r"params/synthesis/block_\1/last_convolution"),
    *_tf_modulated(rf"{_TF_BLOCK}/ToRGB", r"params/synthesis/block_\1/to_image/convolution"),
    Rule(rf"{_TF_BLOCK}/ToRGB/bias", r"params/synthesis/block_\1/to_image/bias", match.keep),
    Rule(rf"{_TF_BLOCK}/Skip/weight", r"params/synthesis/block_\1/skip/kernel", match.keep),
]


# TensorFlow: discriminator ----------------------------------------------------------------------

TF_DISCRIMINATOR = [
    *_tf_dense(r"(\d+)/FromRGB", r"params/from_image_\1"),
    *_tf_dense(r"(\d+)/Conv0", r"params/block_\1/convolution_0"),
    *_tf_dense(r"(\d+)/Conv1_down", r"params/block_\1/convolution_1"),
    *_tf_dense(r"(\d+)/Skip", r"params/block_\1/skip"),
    *_tf_dense("4/Conv", "params/convolution"),
    Rule("4/Dense0/weight", "params/dense/kernel", match.rows_chw_to_hwc),
    Rule("4/Dense0/bias", "params/dense/bias", match.keep),
    *_tf_dense("Output", "params/output"),
]

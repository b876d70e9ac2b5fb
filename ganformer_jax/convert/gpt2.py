"""Weights of GPT-2 with Hugging Face's names, from safetensors or `torch.save` files."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ganformer_jax.config.prior import TransformerConfig
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.errors import UserError
from ganformer_jax.models.causal_transformer import CausalTransformer

LAYER = {
    "attention_norm": "ln_1",
    "attention": "attn.c_attn",
    "attended": "attn.c_proj",
    "norm": "ln_2",
    "hidden": "mlp.c_fc",
    "output": "mlp.c_proj",
}
"""Modules of a layer: our names, and those in the file; kernels are [input, output] in both."""
PREFIX = "transformer."
"""Prefix of all names in files of models with a head."""
HEAD = "lm_head.weight"
"""Output embedding, which equals the token embedding."""
MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
"""Causal masks, which old files contain."""


def read_gpt2(
    path: pathlib.Path, heads: int | None = None
) -> tuple[CausalTransformer, dict[str, Any]]:
    """Read a GPT-2.

    Args:
        path: A safetensors file, or one that `torch.save` wrote.
        heads: Number of attention heads, which the file does not contain; by default one for every
            64 numbers of a token, as published.

    Returns:
        The transformer that its shapes imply, and its parameters.

    Raises:
        UserError: If the file cannot be read, or contains no GPT-2, or other arrays as well.
    """
    stored = read_state_dict(path).items()
    arrays = {name.removeprefix(PREFIX): array for name, array in stored}
    arrays = {name: array for name, array in arrays.items() if not MASKS.fullmatch(name)}
    words, places = (_take(path, arrays, f"{name}.weight", 2) for name in ("wte", "wpe"))
    head = _take(path, arrays, HEAD, 2) if HEAD in arrays else words
    if not np.array_equal(head, words):
        raise UserError(f"{path} does not contain a GPT-2: {HEAD} differs from wte.weight")
    layers = {name.split(".")[1] for name in arrays if name.startswith("h.")}
    params: dict[str, Any] = {"words": words, "places": places, "norm": _norm(path, arrays, "ln_f")}
    for number in range(len(layers)):
        params[f"layer_{number}"] = {
            name: (_norm if "norm" in name else _dense)(path, arrays, f"h.{number}.{there}")
            for name, there in LAYER.items()
        }
    if arrays:
        raise UserError(f"{path} does not contain a GPT-2: it has an array {min(arrays)}")
    width = words.shape[1]
    heads = heads or width // 64
    if not layers or not heads or width % heads:
        raise UserError(f"{path}: give a number of heads that divides its width, {width}")
    hidden = params["layer_0"]["hidden"]["bias"]
    config = TransformerConfig(len(layers), width, heads, hidden_width=len(hidden))
    return CausalTransformer(config, len(words), len(places)), params


def _take(path: pathlib.Path, arrays: dict[str, np.ndarray], name: str, rank: int) -> np.ndarray:
    """Remove an array from `arrays`, and return it in float32."""
    if name not in arrays:
        raise UserError(f"{path} does not contain a GPT-2: it has no {name}")
    array = arrays.pop(name)
    if not jnp.issubdtype(array.dtype, np.floating) or array.ndim != rank:
        raise UserError(f"{path}: {name} is {array.dtype} {list(array.shape)}, not weights")
    return array.astype(np.float32)


def _dense(path: pathlib.Path, arrays: dict[str, np.ndarray], name: str) -> Mapping[str, Any]:
    kernel = _take(path, arrays, f"{name}.weight", 2)
    return {"kernel": kernel, "bias": _take(path, arrays, f"{name}.bias", 1)}


def _norm(path: pathlib.Path, arrays: dict[str, np.ndarray], name: str) -> Mapping[str, Any]:
    names = {"scale": "weight", "bias": "bias"}
    return {here: _take(path, arrays, f"{name}.{there}", 1) for here, there in names.items()}

"""Weights of GPT-2 with Hugging Face's names, from safetensors or `torch.save` files."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

from ganformer_jax.config.prior import TransformerConfig
from ganformer_jax.convert.named_weights import NamedWeights
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
"""Modules of a layer: our names, and those in the file; kernels are [input, output] in both. The
width of "output" is that of "hidden", which comes before it."""
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
    weights = NamedWeights(path, "GPT-2", arrays)
    words = weights.take("wte.weight", None, None)
    width, layers = words.shape[1], weights.count_layers("h.")
    places = weights.take("wpe.weight", None, width)
    head = weights.take(HEAD, *words.shape) if HEAD in arrays else words
    if not np.array_equal(head, words):
        raise UserError(f"{path} does not contain a GPT-2: {HEAD} differs from wte.weight")
    norm = weights.norm("ln_f", width)
    params: dict[str, Any] = {"words": words, "places": places, "norm": norm}
    for number in range(layers):
        params[f"layer_{number}"] = _layer(weights, f"h.{number}", width)
    weights.refuse(arrays)
    heads = heads or width // 64
    if not layers or not heads or width % heads:
        raise UserError(f"{path}: give a number of heads that divides its width, {width}")
    hidden = params["layer_0"]["hidden"]["bias"]
    config = TransformerConfig(layers, width, heads, hidden_width=len(hidden))
    return CausalTransformer(config, len(words), len(places)), params


def _layer(weights: NamedWeights, prefix: str, width: int) -> dict[str, Any]:
    """Return the parameters of a layer."""
    params: dict[str, Any] = {}
    outputs = {"attention": 3 * width, "hidden": None}
    for name, there in LAYER.items():
        if "norm" in name:
            params[name] = weights.norm(f"{prefix}.{there}", width)
            continue
        inputs = len(params["hidden"]["bias"]) if name == "output" else width
        kernel = weights.take(f"{prefix}.{there}.weight", inputs, outputs.get(name, width))
        bias = weights.take(f"{prefix}.{there}.bias", kernel.shape[1])
        params[name] = {"kernel": kernel, "bias": bias}
    return params

"""Weights of BERT with Hugging Face's names, from safetensors or `torch.save` files."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.errors import UserError

TABLES = {"words": "word", "places": "position", "segments": "token_type"}
LAYER = {
    "queries": "attention.self.query",
    "keys": "attention.self.key",
    "values": "attention.self.value",
    "attended": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "hidden": "intermediate.dense",
    "output": "output.dense",
    "norm": "output.LayerNorm",
}
"""Modules of a layer: our names, and those in the file."""
PREFIX = "bert."
"""Prefix of all names in files of models with a task head."""


def read_bert(
    path: pathlib.Path, heads: int | None = None
) -> tuple[TextEncoderConfig, dict[str, Any]]:
    """Read the encoder of a BERT.

    Args:
        path: A safetensors file, or one that `torch.save` wrote.
        heads: Number of attention heads, which the file does not contain; by default one for every
            64 numbers of a token, as published.

    Returns:
        The config that its shapes imply, and the parameters for `TextEncoder`. Parameters of task
        heads are left out.

    Raises:
        UserError: If the file cannot be read, or does not contain a BERT.
    """
    arrays = {_plain(name): array for name, array in read_state_dict(path).items()}
    config = _config(path, arrays, heads)
    params: dict[str, Any] = {
        name: _take(path, arrays, f"embeddings.{there}_embeddings.weight")
        for name, there in TABLES.items()
    }
    params["norm"] = _norm(path, arrays, "embeddings.LayerNorm")
    params["pooler"] = _dense(path, arrays, "pooler.dense")
    for number in range(config.layers):
        params[f"layer_{number}"] = {
            name: (_norm if "norm" in name else _dense)(
                path, arrays, f"encoder.layer.{number}.{there}"
            )
            for name, there in LAYER.items()
        }
    return config, params


def _plain(name: str) -> str:
    """Return a name without the prefix, and with the current names of layer normalization."""
    name = name.removeprefix(PREFIX)
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        name = name.replace(old, new)
    return name


def _config(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], heads: int | None
) -> TextEncoderConfig:
    """Return the config that the shapes of arrays imply."""
    vocabulary, width = _take(path, arrays, "embeddings.word_embeddings.weight").shape
    layers = {name.split(".")[2] for name in arrays if name.startswith("encoder.layer.")}
    heads = heads or width // 64
    if not heads or width % heads:
        raise UserError(f"{path}: give a number of heads that divides its width, {width}")
    hidden = _take(path, arrays, "encoder.layer.0.intermediate.dense.weight") if layers else None
    return TextEncoderConfig(
        layers=len(layers),
        width=width,
        heads=heads,
        hidden_width=4 * width if hidden is None else len(hidden),
        vocabulary=vocabulary,
        longest=len(_take(path, arrays, "embeddings.position_embeddings.weight")),
        segments=len(_take(path, arrays, "embeddings.token_type_embeddings.weight")),
        learning_rate_multiplier=1.0,  # our parameters are stored divided by it
    )


def _take(path: pathlib.Path, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise UserError(f"{path} does not contain a BERT: it has no {name}")
    array = arrays[name]
    if not jnp.issubdtype(array.dtype, np.floating) or not 1 <= array.ndim <= 2:
        raise UserError(f"{path}: {name} is {array.dtype} {list(array.shape)}, not weights")
    return array.astype(np.float32)


def _dense(path: pathlib.Path, arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    kernel = _take(path, arrays, f"{name}.weight").T
    return {"kernel": kernel, "bias": _take(path, arrays, f"{name}.bias")}


def _norm(path: pathlib.Path, arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    names = {"scale": "weight", "bias": "bias"}
    return {here: _take(path, arrays, f"{name}.{there}") for here, there in names.items()}

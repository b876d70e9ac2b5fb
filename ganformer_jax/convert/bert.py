"""Weights of BERT with Hugging Face's names, from safetensors or `torch.save` files."""

from __future__ import annotations

import pathlib
from typing import Any

from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.convert.named_weights import NamedWeights
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.errors import UserError

TABLES = {"places": "position", "segments": "token_type"}
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
"""Modules of a layer: our names, and those in the file. The width of "output" is that of "hidden",
which comes before it."""
PREFIX = "bert."
"""Prefix of all names in files of models with a task head."""
PARTS = ("embeddings.", "encoder.", "pooler.")
"""Beginnings of the names of an encoder's arrays; others are of task heads."""
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
"""Constants that some files contain."""


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
        UserError: If the file cannot be read, or does not contain a BERT, or its encoder has other
            arrays as well.
    """
    stored = {_plain(name): array for name, array in read_state_dict(path).items()}
    weights = NamedWeights(path, "BERT", stored)
    words = weights.take("embeddings.word_embeddings.weight", None, None)
    width, layers = words.shape[1], weights.count_layers("encoder.layer.")
    heads = heads or width // 64
    if not heads or width % heads:
        raise UserError(f"{path}: give a number of heads that divides its width, {width}")
    params: dict[str, Any] = {"words": words}
    for name, there in TABLES.items():
        params[name] = weights.take(f"embeddings.{there}_embeddings.weight", None, width)
    params["norm"] = weights.norm("embeddings.LayerNorm", width)
    params["pooler"] = _dense(weights, "pooler.dense", width, width)
    for number in range(layers):
        params[f"layer_{number}"] = _layer(weights, f"encoder.layer.{number}", width)
    parts = (name for name in stored if name.startswith(PARTS))
    weights.refuse(name for name in parts if name not in BUFFERS)
    return TextEncoderConfig(
        layers=layers,
        width=width,
        heads=heads,
        hidden_width=len(params["layer_0"]["hidden"]["bias"]) if layers else 4 * width,
        vocabulary=len(words),
        longest=len(params["places"]),
        segments=len(params["segments"]),
        learning_rate_multiplier=1.0,  # our parameters are stored divided by it
    ), params


def _plain(name: str) -> str:
    """Return a name without the prefix, and with the current names of layer normalization."""
    name = name.removeprefix(PREFIX)
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        name = name.replace(old, new)
    return name


def _layer(weights: NamedWeights, prefix: str, width: int) -> dict[str, Any]:
    """Return the parameters of a layer."""
    params: dict[str, Any] = {}
    for name, there in LAYER.items():
        if "norm" in name:
            params[name] = weights.norm(f"{prefix}.{there}", width)
            continue
        outputs = None if name == "hidden" else width
        inputs = len(params["hidden"]["bias"]) if name == "output" else width
        params[name] = _dense(weights, f"{prefix}.{there}", inputs, outputs)
    return params


def _dense(weights: NamedWeights, name: str, inputs: int, outputs: int | None) -> dict[str, Any]:
    kernel = weights.take(f"{name}.weight", outputs, inputs).T
    return {"kernel": kernel, "bias": weights.take(f"{name}.bias", kernel.shape[1])}

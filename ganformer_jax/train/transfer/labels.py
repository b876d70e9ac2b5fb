"""Rules that fit weights to other classes or conditions.

Where it can, the function stays the same: without labels it is that of every label, and classes
that both sides have keep theirs.
"""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np

from ganformer_jax.config import Config, GeneratorConfig
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.train.transfer.leaves import Leaf, Leaves

# Labels in the mapping network

EMBEDDING = "mapping.label_embedding"


def fit_mapping(leaves: Leaves, there: GeneratorConfig, here: GeneratorConfig) -> None:
    """Fit the label embedding, and the layers that read it beside z."""
    width, wanted_width = _label_width(there), _label_width(here)
    if width == wanted_width:
        if _same_encoder(there.text, here.text):
            _fit_embedding(leaves, EMBEDDING, there.label_width, here.label_width)
        else:  # what is embedded has another meaning
            _drop(leaves, EMBEDDING)
        return
    first, wanted = _first_dense(there), _first_dense(here)
    for branch in there.labeled_branches:
        together = branch == "components" and there.mapping.shared_width
        if branch not in here.labeled_branches or together:
            continue
        if first is not None and first == wanted:
            _leave_label(leaves, f"mapping.{branch}.{first}", there)
            _add_label(leaves, f"mapping.{branch}.{first}", there.z_size, wanted_width)
        elif first is None and wanted == "input" and not width:
            sizes = there.z_size, there.w_size
            if sizes == (here.z_size, here.w_size):
                _add_input(leaves, f"mapping.{branch}", here)


def _same_encoder(there: TextEncoderConfig, here: TextEncoderConfig) -> bool:
    """Return whether vectors of captions mean the same, but for how fast the encoder trains."""
    multiplier = here.learning_rate_multiplier
    return dataclasses.replace(there, learning_rate_multiplier=multiplier) == here


def _label_width(config: GeneratorConfig) -> int:
    return (config.mapping.label_width or config.z_size) if config.label_size else 0


def _first_dense(config: GeneratorConfig) -> str | None:
    """Return the dense layer that reads z and the label; None if it has a skip path."""
    mapping = config.mapping
    if mapping.residual and config.z_size + _label_width(config) != config.w_size:
        return "input"
    if not mapping.num_layers:
        return "output"
    return None if mapping.residual else "layer_0"


def _leave_label(leaves: Leaves, name: str, there: GeneratorConfig) -> None:
    """Replace the label in the layer that reads it: by the mean of all classes, or by zeros."""
    if not there.label_size:
        return
    size = there.z_size
    kernel, bias = leaves[f"{name}.kernel"], leaves[f"{name}.bias"]
    embedding, embedding_bias = leaves[f"{EMBEDDING}.kernel"], leaves[f"{EMBEDDING}.bias"]
    classes = embedding.value / math.sqrt(there.label_width) + embedding_bias.value[None]
    note = f"mean over {there.label_width} classes"
    if there.text.vocabulary:  # vectors of captions are not classes, and have no known mean
        classes, note = embedding_bias.value[None], "label of zeros"
    classes = classes / np.sqrt(np.mean(np.square(classes), 1, keepdims=True) + 1e-8)
    width = len(kernel.value)
    leaves[f"{name}.kernel"] = kernel.adapted(
        kernel.value[:size] * math.sqrt(size / width), "without the rows of the label"
    )
    leaves[f"{name}.bias"] = bias.adapted(
        bias.value + classes.mean(0) @ kernel.value[size:] / math.sqrt(width),
        note,
        kernel,
        embedding,
        embedding_bias,
    )


def _add_label(leaves: Leaves, name: str, size: int, label_width: int) -> None:
    """Add rows of zeros for the label to the layer that reads z."""
    if not label_width:
        return
    path = f"{name}.kernel"
    kernel = leaves[path].value
    rows = np.pad(kernel * math.sqrt((size + label_width) / size), ((0, label_width), (0, 0)))
    leaves[path] = leaves[path].adapted(rows, "rows of zeros for the label")


def _add_input(leaves: Leaves, branch: str, here: GeneratorConfig) -> None:
    """Add the layer that reads z and the label before residual layers; it returns z as it is.

    A shift of z keeps it where the leaky ReLU is linear, and the next layers subtract it again: z
    of mean square 1 is within the square root of its width, and normal z nearly always within 6.
    """
    size, multiplier = here.z_size, here.mapping.learning_rate_multiplier
    width, shift = size + _label_width(here), max(math.sqrt(here.z_size), 6.0)
    scale = 1 / (math.sqrt(2) * multiplier)
    note = "returns z as it is; the label has no effect at first"
    kernel = np.eye(width, size) * math.sqrt(width) * scale
    leaves[f"{branch}.input.kernel"] = Leaf(kernel, (), note)
    leaves[f"{branch}.input.bias"] = Leaf(np.full(size, shift * scale), (), note)
    layer = f"{branch}.layer_0"
    subtracted, kernel = "subtracts the shift of the new input", leaves[f"{layer}.dense_0.kernel"]
    bias = leaves[f"{layer}.dense_0.bias"]
    value = bias.value - shift * kernel.value.sum(0) / math.sqrt(size)
    leaves[f"{layer}.dense_0.bias"] = bias.adapted(value, subtracted, kernel)
    bias = leaves[f"{layer}.dense_1.bias"]
    leaves[f"{layer}.dense_1.bias"] = bias.adapted(bias.value - shift / multiplier, subtracted)


def _drop(leaves: Leaves, *names: str) -> None:
    """Leave the dense layers of these names out, so that they start anew."""
    for path in [f"{name}.{part}" for name in names for part in ("kernel", "bias")]:
        leaves.pop(path, None)


def _fit_embedding(leaves: Leaves, name: str, given: int, wanted: int) -> None:
    """Change the number of classes of a label embedding; those that stay keep their vectors."""
    if given != wanted:
        path = f"{name}.kernel"
        value = _fit_classes(leaves[path].value, wanted, 0) * math.sqrt(wanted / given)
        leaves[path] = leaves[path].adapted(value, _classes_note(given, wanted))


def _fit_classes(values: np.ndarray, wanted: int, axis: int) -> np.ndarray:
    """Return the first classes, with their mean for those that are missing."""
    taken = np.take(values, range(min(values.shape[axis], wanted)), axis)
    missing = wanted - taken.shape[axis]
    mean = np.repeat(taken.mean(axis, keepdims=True), missing, axis)
    return np.concatenate([taken, mean], axis)


def _classes_note(given: int, wanted: int) -> str:
    if wanted < given:
        return f"the first {wanted} of {given} classes"
    return f"{given} classes, and their mean for {wanted - given} more"


# Labels of a DCGAN or SAGAN

ROWS_OF_CLASSES = re.compile(r".*norm_[01]\.(gain|bias)|label_embedding\.kernel")


FIRST_OF_DCGAN = "synthesis.dense.kernel"
"""The layer of a DCGAN that reads z and, behind it, the class."""


def fit_first_of_dcgan(leaves: Leaves, there: GeneratorConfig, here: GeneratorConfig) -> None:
    """Change the number of rows for classes in the layer that reads z and the class."""
    given, wanted = there.label_size, here.label_size
    if {there.network, here.network} != {"dcgan"} or there.z_size != here.z_size or given == wanted:
        return
    value, z_size = leaves[FIRST_OF_DCGAN].value, there.z_size
    if given and wanted:
        rows, note = _fit_classes(value[z_size:], wanted, 0), _classes_note(given, wanted)
    else:
        rows, note = np.zeros((wanted, value.shape[1]), value.dtype), "rows of zeros for the label"
    if not wanted:
        note = "without the rows of the label"
    adapted = leaves[FIRST_OF_DCGAN].adapted(np.concatenate([value[:z_size], rows]), note)
    leaves[FIRST_OF_DCGAN] = adapted


def fit_rows_of_classes(leaves: Leaves, given: int, wanted: int) -> None:
    """Change the number of rows of the arrays that have one for each class."""
    if not given or not wanted or given == wanted:
        return
    for path, leaf in leaves.items():
        if ROWS_OF_CLASSES.fullmatch(path):
            value = _fit_classes(leaf.value, wanted, 0)
            leaves[path] = leaf.adapted(value, _classes_note(given, wanted))


# Logits


def fit_logits(leaves: Leaves, there: Config, here: Config) -> None:
    """Fit the layers that return a logit for each class, or one without classes."""
    given, wanted = there.generator.label_width, here.generator.label_width
    kind, wanted_kind = _logit(there), _logit(here)
    same_encoder = _same_encoder(there.discriminator.text, here.discriminator.text)
    if "none" not in (kind, wanted_kind) and not same_encoder:
        _drop(leaves, "output", "label_embedding")  # products with labels of another meaning
        return
    if (kind, given) == (wanted_kind, wanted):
        return
    if kind == wanted_kind == "embedding":
        _fit_embedding(leaves, "label_embedding", given, wanted)
        return
    for name in ("kernel", "bias"):
        output, shared = leaves.pop(f"output.{name}"), leaves.pop(f"unconditional.{name}", None)
        if "embedding" in (kind, wanted_kind):
            continue  # products with a vector are of no use as logits
        captioned = bool(there.generator.text.vocabulary)  # whose logits are not of classes
        classes = None if kind == "none" or captioned else output
        shared = output if kind == "none" else shared
        if wanted_kind == "none":
            leaves[f"output.{name}"] = _mean_logit(classes, shared, given)
            continue
        separate = wanted_kind == "projection"
        per_class = _class_logits(classes, shared, wanted, with_shared=not separate)
        leaves[f"output.{name}"] = per_class
        if separate:
            zeros = Leaf(np.zeros_like(per_class.value[..., :1]), (), "zeros: all is in the output")
            leaves[f"unconditional.{name}"] = zeros if shared is None else shared


def _logit(config: Config) -> str:
    return config.discriminator.label_logit if config.generator.label_size else "none"


def _mean_logit(classes: Leaf | None, shared: Leaf | None, count: int) -> Leaf:
    """Return what gives one logit for all classes: the mean of theirs."""
    if classes is None:
        assert shared is not None
        return shared
    mean, note = classes.value.mean(-1, keepdims=True), f"mean over {count} classes"
    if shared is None:
        return classes.adapted(mean, note)
    return classes.adapted(mean + shared.value, f"{note}, and what they share", shared)


def _class_logits(
    classes: Leaf | None, shared: Leaf | None, wanted: int, with_shared: bool
) -> Leaf:
    """Return what gives a logit for each class, with what classes share if nothing else adds it."""
    if classes is None:
        assert shared is not None
        copies = np.repeat(shared.value, wanted, -1)
        if with_shared:
            return shared.adapted(copies, f"{wanted} copies of the logit without classes")
        return Leaf(np.zeros_like(copies), (), "zeros: the label has no effect at first")
    given = classes.value.shape[-1]
    if given != wanted:
        value = _fit_classes(classes.value, wanted, -1)
        classes = classes.adapted(value, _classes_note(given, wanted))
    if with_shared and shared is not None:
        classes = classes.adapted(classes.value + shared.value, "with what they share", shared)
    return classes

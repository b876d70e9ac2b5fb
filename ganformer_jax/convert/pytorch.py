"""Networks of the published PyTorch code, from constructor arguments and a state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig, MappingConfig
from ganformer_jax.convert.arguments import (
    Arguments,
    ConversionError,
    attention_config,
    position_config,
    synthesis_config,
    untracked_mean,
)
from ganformer_jax.convert.build import Leaves, build_discriminator, build_generator, fill
from ganformer_jax.convert.filters import check_filters, filter_taps
from ganformer_jax.convert.nvidia import (
    is_nvidia,
    load_nvidia_discriminator,
    load_nvidia_generator,
)
from ganformer_jax.convert.rules import DISCRIMINATOR, GENERATOR, PYTORCH
from ganformer_jax.models import Discriminator, Generator
from ganformer_jax.nn.positions import grid_directions

WHOLE_BATCH = 1 << 30
FILTERS = r".*resample_kernel"
TRAINING_ARGUMENTS = ("class_name", "reg_interval", "opt_args")
UNREAD_ARGUMENTS = ("dim_base",)  # written by `--autotune`, but not used by published networks


def load_generator(
    state_dict: Mapping[str, Any], init_kwargs: Mapping[str, Any]
) -> tuple[Generator, dict[str, Any]]:
    """Load a published generator: GANformer's, or NVIDIA's with the defaults of stylegan2-ada.

    Args:
        state_dict: Arrays of parameters and buffers by published name; the names distinguish the
            two.
        init_kwargs: Arguments of the published constructor, plain values and dicts.

    Returns:
        Our module and its float32 variables.

    Raises:
        ConversionError: If names, shapes or arguments have no counterpart.
    """
    if is_nvidia(state_dict):
        return load_nvidia_generator(state_dict, init_kwargs)
    generator, template = build_generator(_generator_config(init_kwargs))
    config = generator.config
    check_filters(state_dict, "resample_kernel", "conv0", config.synthesis.resample_filter)
    published = dict(state_dict)
    if config.positions.kind == "linear":
        published |= _slopes(published, config.positions.directions)
    unused = _unused(config)
    defaults = untracked_mean(Arguments(init_kwargs, "generator"), config.w_size)
    return generator, fill(published, GENERATOR, PYTORCH, unused, template, defaults)


def load_discriminator(
    state_dict: Mapping[str, Any], init_kwargs: Mapping[str, Any]
) -> tuple[Discriminator, dict[str, Any]]:
    """Load a published discriminator.

    Arguments, results and errors are those of `load_generator`.
    """
    if is_nvidia(state_dict):
        return load_nvidia_discriminator(state_dict, init_kwargs)
    arguments = Arguments(init_kwargs, "discriminator")
    discriminator, template = build_discriminator(*_discriminator_config(arguments))
    taps = discriminator.config.resample_filter
    check_filters(state_dict, "resample_kernel", "conv1", taps)
    return discriminator, fill(state_dict, DISCRIMINATOR, PYTORCH, [FILTERS], template)


def _generator_config(init_kwargs: Mapping[str, Any]) -> GeneratorConfig:
    top = Arguments(init_kwargs, "generator")
    mapping = Arguments(top.get({}, "mapping_kwargs"), "mapping network")
    synthesis = Arguments(top.get({}, "synthesis_kwargs"), "synthesis network")
    _refuse_unsupported(top, mapping, synthesis)
    components = top.get(1, "k") - 1
    first, last = synthesis.get(0, "start_res"), synthesis.get(20, "end_res") - 1
    config = GeneratorConfig(
        resolution=top.required("img_resolution"),
        image_channels=top.get(3, "img_channels"),
        components=components,
        latent_size=top.required("z_dim") * max(components, 1),
        intermediate_size=top.required("w_dim") * max(components, 1),
        label_size=top.get(0, "c_dim"),
        component_dropout=top.get(0.0, "component_dropout"),
        latent_positions=synthesis.get(False, "use_pos"),
        attention_resolutions=(2**first, 2**last)
        if synthesis.get(False, "transformer")
        else (2, 1),
        attention=attention_config(synthesis, weight_per_iteration=False),
        positions=position_config(synthesis),
        mapping=_mapping_config(mapping),
        synthesis=synthesis_config(
            synthesis,
            channel_base=synthesis.get(32 << 10, "channel_base"),
            channel_max=synthesis.get(512, "channel_max"),
            stem="latent_dense" if synthesis.get(False, "latent_stem") else "constant",
            last_convolution=True,
            resample_filter=filter_taps(synthesis, "resample_kernel"),
        ),
    )
    for arguments in (top, mapping, synthesis):
        arguments.finish()
    return config


def _refuse_unsupported(top: Arguments, mapping: Arguments, synthesis: Arguments) -> None:
    """Refuse features of the published code that this package does not have."""
    latents, transformer = top.get(1, "k"), mapping.get(False, "transformer")
    if transformer != (latents > 1):
        raise ConversionError(
            f"generator argument k={latents} does not fit transformer={transformer}"
        )
    defaults = {"use_pos": False, "num_heads": 1, "attention_dropout": 0.12, "ltnt_gate": False}
    for name, default in defaults.items():
        value, other = synthesis.get(default, name), mapping.get(default, name)
        if value != other and mapping.get(False, "ltnt2ltnt"):
            raise ConversionError(
                f"argument {name} is {other!r} for the mapping network but {value!r} for "
                "synthesis; only one value for both is supported"
            )
    if synthesis.get(False, "kmeans") and synthesis.get(False, "iterative"):
        raise ConversionError(
            "centroids carried across layers (iterative=True) are not supported, as the published "
            "code computes others than the paper; train with attention.kmeans_carried instead"
        )
    synthesis.ignore("iterative", *UNREAD_ARGUMENTS)
    top.ignore(*TRAINING_ARGUMENTS)
    top.require(crop_ratio=None)
    mapping.require(act="lrelu", shared=False, integration="add", norm=None)
    synthesis.require(act="lrelu", shared=False, crop_ratio=None)


def _mapping_config(mapping: Arguments) -> MappingConfig:
    mapping.ignore("w_avg_beta", "layer_dim")
    # The published code has one hidden layer for 0 too.
    layers, residual = mapping.get(8, "num_layers") or 1, mapping.get(False, "resnet")
    return MappingConfig(
        num_layers=(layers + 1) // 2 if residual else layers,
        residual=residual,
        width=None if residual else mapping.get(None, "layer_dim"),
        label_width=mapping.get(None, "embed_dim"),
        self_attention=mapping.get(False, "ltnt2ltnt"),
        normalize="joint",
        normalize_global=mapping.get(True, "normalize_global"),
        learning_rate_multiplier=mapping.get(0.01, "lrmul"),
    )


def _discriminator_config(arguments: Arguments) -> tuple[DiscriminatorConfig, int, int, int]:
    """Return the config, and the resolution, channels and classes of the images."""
    arguments.require(crop_ratio=None)
    arguments.ignore("mapping_kwargs", *TRAINING_ARGUMENTS, *UNREAD_ARGUMENTS)
    block = Arguments(arguments.get({}, "block_kwargs"), "discriminator block")
    last = Arguments(arguments.get({}, "epilogue_kwargs"), "discriminator epilogue")
    block.require(act="lrelu")
    last.require(act="lrelu")
    stddev_group = last.get(4, "mbstd_group_size")
    config = DiscriminatorConfig(
        architecture=arguments.get("resnet", "architecture"),
        channel_base=arguments.get(32 << 10, "channel_base"),
        channel_max=arguments.get(512, "channel_max"),
        minibatch_stddev_group=WHOLE_BATCH if stddev_group is None else stddev_group,
        minibatch_stddev_channels=last.get(1, "mbstd_num_channels"),
        resample_filter=filter_taps(block, "resample_kernel"),
    )
    size = arguments.required("img_resolution")
    channels, classes = arguments.get(3, "img_channels"), arguments.get(0, "c_dim")
    for group in (arguments, block, last):
        group.finish()
    return config, size, channels, classes


def _unused(config: GeneratorConfig) -> list[str]:
    """Return patterns of arrays that the published generator stores but never reads."""
    layer = r"synthesis\.b\d+\.(conv[01]|conv_last|torgb)"
    unused = [FILTERS, rf"{layer}\.pos0"]
    if config.positions.kind == "linear":
        unused += [rf"{layer}\.grid_pos"]  # read as slopes
    if config.attention.kmeans_iterations:
        unused += [rf"{layer}\.transformer\.(to_keys|to_pos_map)\..*"]
    if not config.reads_latent_positions:
        unused += [r"pos"]
    if not config.latent_positions:
        unused += [r"mapping\.mlp\.sa\d+\.(from|to)_pos_map\..*"]
        unused += [r"mapping\.mlp\.sa\d+\.(from|to)_gate_attention\.gate_pos\..*"]
        unused += [rf"{layer}\.transformer\.(to_pos_map|to_gate_attention\.gate_pos)\..*"]
    if not config.synthesis.style:
        unused += [rf"{layer}\.affine\..*"]
    return unused


def _slopes(state_dict: Mapping[str, Any], directions: int) -> Leaves:
    """Recover the slopes of linear positions from the grids that the published code stores.

    A grid contains the coordinate along each direction times the slopes of that direction, so any
    cell off the center line determines the slopes. The farthest cell does so most accurately.
    """
    slopes = {}
    for name, value in state_dict.items():
        found = re.fullmatch(r"synthesis\.b(\d{1,4})\..*\.grid_pos", name)
        if not found:
            continue
        size = int(found[1])
        if np.ndim(value) != 3 or np.shape(value)[:2] != (size, size) or not np.size(value):
            raise ConversionError(f"{name} has shape {np.shape(value)}, not {size}x{size}")
        grid = np.asarray(value, np.float64).reshape(size * size, directions, -1)
        coordinates = np.asarray(grid_directions(size, size, directions), np.float64)
        coordinates = coordinates.reshape(size * size, directions)
        farthest, index = np.abs(coordinates).argmax(0), np.arange(directions)
        exact = grid[farthest, index] / coordinates[farthest, index][:, None]
        slopes[name.replace("grid_pos", "slopes")] = exact.astype(np.float32)
    return slopes

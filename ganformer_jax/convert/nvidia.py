r"""StyleGAN2 networks of NVIDIA's PyTorch code, stylegan2-ada-pytorch and stylegan3.

Both have the same networks and names of arrays. Their constructors differ in the place of the
arguments of the synthesis network (in `synthesis_kwargs`, or among the others) and in the default
of `conv_clamp` (None, or 256). Blocks that ran in half precision are computed in float32 here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ganformer_jax.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    LabelMappingConfig,
    MappingConfig,
    SynthesisConfig,
)
from ganformer_jax.convert.arguments import Arguments, ConversionError, untracked_mean
from ganformer_jax.convert.build import build_discriminator, build_generator, fill
from ganformer_jax.convert.filters import check_filters, filter_taps
from ganformer_jax.convert.rules import (
    PYTORCH,
    Layout,
    Rule,
    chw_to_hwc,
    keep,
    oihw_to_hwio,
    rows_chw_to_hwc,
    transpose,
)
from ganformer_jax.models import Discriminator, Generator

DEFAULT_CLAMPS = {"stylegan2-ada": None, "stylegan3": 256.0}
WHOLE_BATCH = 1 << 30
FILTERS = r".*\.resample_filter"
ALIAS_FREE = re.compile(r"synthesis\.(?:input\.|L\d+_)")


def load_nvidia_generator(
    state_dict: Mapping[str, Any], init_kwargs: Mapping[str, Any], version: str = "stylegan2-ada"
) -> tuple[Generator, dict[str, Any]]:
    """Load a StyleGAN2 generator of stylegan2-ada-pytorch or stylegan3.

    Args:
        state_dict: Arrays of parameters and buffers by published name.
        init_kwargs: Arguments of the published constructor, plain values and dicts.
        version: Code that the arguments and defaults are from: "stylegan2-ada" or "stylegan3".

    Returns:
        Our module and its float32 variables.

    Raises:
        ConversionError: If names, shapes or arguments have no counterpart.
    """
    refuse_alias_free(state_dict)
    top = Arguments(init_kwargs, "generator")
    generator, template = build_generator(_generator_config(top, version))
    config = generator.config
    check_filters(state_dict, "resample_filter", "conv0", config.synthesis.resample_filter)
    defaults = untracked_mean(top, config.w_size)
    rules = _generator_rules(config.mapping.num_layers + 1)
    return generator, fill(state_dict, rules, PYTORCH, [FILTERS], template, defaults)


def load_nvidia_discriminator(
    state_dict: Mapping[str, Any], init_kwargs: Mapping[str, Any], version: str = "stylegan2-ada"
) -> tuple[Discriminator, dict[str, Any]]:
    """Load a discriminator of stylegan2-ada-pytorch or stylegan3.

    Arguments, results and errors are those of `load_nvidia_generator`.
    """
    arguments = Arguments(init_kwargs, "discriminator")
    discriminator, template = build_discriminator(*_discriminator_config(arguments, version))
    config = discriminator.config
    check_filters(state_dict, "resample_filter", "conv1", config.resample_filter)
    rules = _discriminator_rules(config.label_mapping.num_layers)
    return discriminator, fill(state_dict, rules, PYTORCH, [FILTERS], template)


def is_nvidia(names: Iterable[str]) -> bool:
    """Return whether arrays are from NVIDIA's code; GANformer has `resample_kernel` instead."""
    return any(name.endswith("resample_filter") for name in names)


def refuse_alias_free(names: Mapping[str, Any]) -> None:
    """Refuse the arrays of an alias-free generator, which StyleGAN3 introduced."""
    if any(ALIAS_FREE.match(name) for name in names):
        raise ConversionError(
            "an alias-free generator (StyleGAN3) is not a StyleGAN2 network and has no counterpart "
            "here; use a snapshot of stylegan3's configuration stylegan2"
        )


# Arguments


def _default_clamp(version: str) -> float | None:
    if version not in DEFAULT_CLAMPS:
        raise ConversionError(
            f"version {version!r} is unknown; choose from {', '.join(DEFAULT_CLAMPS)}"
        )
    return DEFAULT_CLAMPS[version]


def _generator_config(top: Arguments, version: str) -> GeneratorConfig:
    default_clamp = _default_clamp(version)
    mapping = Arguments(top.get({}, "mapping_kwargs"), "mapping network")
    synthesis = top
    if version == "stylegan3":
        synthesis.ignore("fused_modconv_default")
    else:
        synthesis = Arguments(top.get({}, "synthesis_kwargs"), "synthesis network")
    get = synthesis.get
    synthesis.require(activation="lrelu", kernel_size=3)
    synthesis.ignore("num_fp16_res", "fp16_channels_last")
    top.ignore("class_name")
    config = GeneratorConfig(
        resolution=top.required("img_resolution"),
        image_channels=top.required("img_channels"),
        components=0,
        latent_size=top.required("z_dim"),
        intermediate_size=top.required("w_dim"),
        label_size=top.required("c_dim"),
        mapping=_mapping_config(mapping, top.required("w_dim"), top.required("c_dim")),
        synthesis=SynthesisConfig(
            architecture=get("skip", "architecture"),
            channel_base=get(32768, "channel_base"),
            channel_max=get(512, "channel_max"),
            noise=get(True, "use_noise"),
            last_convolution=False,
            resample_filter=filter_taps(synthesis, "resample_filter"),
            clamp=get(default_clamp, "conv_clamp"),
        ),
    )
    for arguments in (top, mapping, synthesis):
        arguments.finish()
    return config


def _mapping_config(mapping: Arguments, width: int, labels: int) -> MappingConfig:
    mapping.ignore("w_avg_beta")
    layers, hidden, embedding, multiplier = _mapping_layers(mapping, width, at_least=1)
    return MappingConfig(
        num_layers=layers - 1,  # the last is our output layer
        residual=False,
        width=hidden,
        last_hidden_width=hidden,
        label_width=(embedding or width) if labels else None,
        self_attention=False,
        learning_rate_multiplier=multiplier,
    )


def _mapping_layers(
    mapping: Arguments, width: int, at_least: int
) -> tuple[int, int | None, int | None, int | float]:
    """Return the number of layers, the widths of hidden ones and embedding, and the multiplier.

    A width is None if it equals that of the output, or is not used.
    """
    mapping.require(activation="lrelu")
    layers = mapping.get(8, "num_layers")
    if type(layers) is not int or layers < at_least:
        raise ConversionError(
            f"{mapping.network} argument num_layers={layers!r} is not supported, only {at_least} "
            "or more"
        )
    hidden = mapping.get(None, "layer_features")
    hidden = None if layers < 2 or hidden == width else hidden
    embedding = mapping.get(None, "embed_features")
    embedding = None if embedding == width else embedding
    if embedding == 0 or embedding and not layers:
        raise ConversionError(
            f"{mapping.network} argument embed_features={embedding!r} is not supported with "
            f"num_layers={layers} and an output of {width}"
        )
    return layers, hidden, embedding, mapping.get(0.01, "lr_multiplier")


def _discriminator_config(
    arguments: Arguments, version: str
) -> tuple[DiscriminatorConfig, int, int, int]:
    """Return the config, and the resolution, channels and classes of the images."""
    get = arguments.get
    arguments.ignore("class_name", "num_fp16_res")
    block = Arguments(get({}, "block_kwargs"), "discriminator block")
    block.require(activation="lrelu")
    block.ignore("fp16_channels_last", "freeze_layers")  # the latter only affects training
    last = Arguments(get({}, "epilogue_kwargs"), "discriminator epilogue")
    last.require(activation="lrelu")
    classes = arguments.required("c_dim")
    width, mapping = get(None, "cmap_dim"), Arguments(get({}, "mapping_kwargs"), "label mapping")
    group = last.get(4, "mbstd_group_size")
    config = DiscriminatorConfig(
        architecture=get("resnet", "architecture"),
        channel_base=get(32768, "channel_base"),
        channel_max=get(512, "channel_max"),
        minibatch_stddev_group=WHOLE_BATCH if group is None else group,
        minibatch_stddev_channels=last.get(1, "mbstd_num_channels"),
        resample_filter=filter_taps(block, "resample_filter"),
        clamp=get(_default_clamp(version), "conv_clamp"),
        label_logit="embedding" if classes else "class",
    )
    if classes:  # an unconditional discriminator has no mapping network
        labels = _label_mapping(mapping, width, config.channels_at(4))
        config = dataclasses.replace(config, label_mapping=labels)
        mapping.finish()
    size, channels = arguments.required("img_resolution"), arguments.required("img_channels")
    for group_of_arguments in (arguments, block, last):
        group_of_arguments.finish()
    return config, size, channels, classes


def _label_mapping(mapping: Arguments, width: int | None, channels: int) -> LabelMappingConfig:
    full = channels if width is None else width
    layers, hidden, embedding, multiplier = _mapping_layers(mapping, full, at_least=0)
    return LabelMappingConfig(
        num_layers=layers,
        width=width,
        hidden_width=hidden,
        embedding_width=embedding,
        learning_rate_multiplier=multiplier,
    )


# Arrays


def _array(name: str, path: str, layout: Layout = keep) -> Rule:
    path = path if path.startswith(("moments/", "constants/")) else f"params/{path}"
    return Rule(PYTORCH, name, path, layout)


def _layer(name: str, path: str, layout: Layout = oihw_to_hwio) -> list[Rule]:
    """Return the rules of a layer's weight and bias."""
    weight = _array(rf"{name}\.weight", f"{path}/kernel", layout)
    return [weight, _array(rf"{name}\.bias", f"{path}/bias")]


def _modulated(name: str, path: str) -> list[Rule]:
    """Return the rules of a modulated convolution, without its bias."""
    weight = _array(rf"{name}\.weight", f"{path}/kernel", oihw_to_hwio)
    return [weight, *_layer(rf"{name}\.affine", f"{path}/style", transpose)]


def _mapping_rules(network: str, branch: str, layers: int) -> list[Rule]:
    """Return the rules of a mapping network, whose last published layer is our output layer."""
    return [
        *_layer(r"mapping\.embed", f"{network}label_embedding", transpose),
        *_layer(r"mapping\.fc(\d+)", rf"{branch}/layer_\1", transpose),
        *_layer(rf"mapping\.fc{layers - 1}", f"{branch}/output", transpose),
    ]


def _generator_rules(mapping_layers: int) -> list[Rule]:
    block, ours = r"synthesis\.b(\d+)", r"synthesis/block_\1"
    layer, inner = rf"{block}\.conv([01])", rf"{ours}/layer_\2"
    return [
        _array(r"mapping\.w_avg", "moments/w_average"),
        *_mapping_rules("mapping/", "mapping/global", mapping_layers),
        _array(r"synthesis\.b4\.const", "synthesis/stem/constant", chw_to_hwc),
        *_modulated(layer, f"{inner}/convolution"),
        _array(rf"{layer}\.bias", f"{inner}/bias"),
        _array(rf"{layer}\.noise_strength", f"{inner}/noise/strength"),
        _array(rf"{layer}\.noise_const", f"constants/{inner}/noise/noise"),
        *_modulated(rf"{block}\.torgb", f"{ours}/to_image/convolution"),
        _array(rf"{block}\.torgb\.bias", f"{ours}/to_image/bias"),
        _array(rf"{block}\.skip\.weight", f"{ours}/skip/kernel", oihw_to_hwio),
    ]


def _discriminator_rules(mapping_layers: int) -> list[Rule]:
    return [
        *_layer(r"b(\d+)\.fromrgb", r"from_image_\1"),
        *_layer(r"b(\d+)\.conv([01])", r"block_\1/convolution_\2"),
        _array(r"b(\d+)\.skip\.weight", r"block_\1/skip/kernel", oihw_to_hwio),
        *_layer(r"b4\.conv", "convolution"),
        *_layer(r"b4\.fc", "dense", lambda weight: rows_chw_to_hwc(weight.T)),
        *_layer(r"b4\.out", "output", transpose),
        *_mapping_rules("", "label_mapping", mapping_layers),
    ]

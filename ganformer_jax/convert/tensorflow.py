"""Networks of the published TensorFlow code, from static arguments and variables.

The names of arguments differ between two versions of that code; both are supported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ganformer_jax.config import (
    AggregatorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    MappingConfig,
    MergeConfig,
)
from ganformer_jax.convert.arguments import (
    Arguments,
    attention_config,
    position_config,
    synthesis_config,
)
from ganformer_jax.convert.build import Leaves, build_discriminator, build_generator, fill, flatten
from ganformer_jax.convert.filters import filter_taps
from ganformer_jax.convert.rules import DISCRIMINATOR, GENERATOR, TENSORFLOW
from ganformer_jax.models import Discriminator, Generator
from ganformer_jax.nn.positions import sinusoidal

TRAINING_ARGUMENTS = (
    "truncation_psi truncation_cutoff dlatent_avg_beta w_avg_beta style_mixing component_mixing "
    "fused_modconv randomize_noise noise_mode fmap_min dtype"
).split()
ATTENTION_ARGUMENTS = (
    "a_dim latent_size components_num num_heads use_pos img2img ltnt2ltnt ltnt2img start_res "
    "end_res ltnt_gate img_gate pos_dim pos_type pos_init pos_directions_num attention_dropout"
).split()
MERGES: dict[Any, Any] = {"leaves": "leaves_of_batch"}
"""Kinds of merging whose published names differ from ours."""
LOCAL_UNUSED = r"AttLayer_att2d/weight_from_pos"


def load_tf_generator(
    variables: Mapping[str, Any], static_kwargs: Mapping[str, Any]
) -> tuple[Generator, dict[str, Any]]:
    """Load a generator of the published TensorFlow code.

    Args:
        variables: Arrays by TensorFlow name: `ltnt_emb/...`, `mapping/...`, `synthesis/...` and,
            if it was tracked, `dlatent_avg`. Names under `D/` belong to the discriminator.
        static_kwargs: Arguments of the published network function.

    Returns:
        Our module and its float32 variables.

    Raises:
        ConversionError: If names, shapes or arguments have no counterpart.
    """
    arguments = Arguments(static_kwargs, "generator")
    generator, template = build_generator(_generator_config(arguments))
    config = generator.config
    own = {name: value for name, value in variables.items() if not name.startswith("D/")}
    own = _plain_names(own, config, arguments)
    unused, defaults = _unused(config, arguments), _defaults(config, template)
    return generator, fill(own, GENERATOR, TENSORFLOW, unused, template, defaults)


def load_tf_discriminator(
    variables: Mapping[str, Any], static_kwargs: Mapping[str, Any]
) -> tuple[Discriminator, dict[str, Any]]:
    """Load a discriminator of the published TensorFlow code.

    Arguments, results and errors are those of `load_tf_generator`, except that names may start with
    `D/`; if some do, the others belong to the generator.
    """
    arguments = Arguments(static_kwargs, "discriminator")
    discriminator, template = build_discriminator(*_discriminator_config(arguments))
    own = {name[2:]: value for name, value in variables.items() if name.startswith("D/")}
    plain: Leaves = {}
    for name, value in (own or variables).items():
        grid = re.fullmatch(r"pos_emb(\d{1,2})/(\w+)", name)
        plain[f"{2 ** int(grid[1])}/grid/{grid[2]}" if grid else _plain_block(name)] = value
    unused = [r"ltnt_emb/emb", r"\d+/grid/.*", rf"\d+/{LOCAL_UNUSED}"]
    return discriminator, fill(plain, DISCRIMINATOR, TENSORFLOW, unused, template)


def _generator_config(arguments: Arguments) -> GeneratorConfig:
    get = arguments.get
    _refuse_unsupported(arguments)
    merge, attends = _merge_config(arguments), get(False, "transformer")
    components = get(1, "components_num") * attends
    latents, highest = merge.images or max(components, 1), get(1024, "resolution").bit_length() - 1
    lowest, end = get(0, "start_res"), get(20, "end_res")
    config = GeneratorConfig(
        resolution=get(1024, "resolution"),
        image_channels=get(3, "num_channels"),
        components=components,
        latent_size=get(512, "z_dim", "latent_size") * latents,
        intermediate_size=get(512, "w_dim", "dlatent_size") * latents,
        component_dropout=get(0.0, "component_dropout") * attends,
        latent_positions=get(False, "use_pos"),
        attention_resolutions=(2**lowest, 2 ** (end - 1)),
        image_attention_resolution=_self_attended(arguments) if attends else None,
        local_attention_below=_power(get(0, "local_attention")),
        components_attend_image=get(False, "img2ltnt"),
        # With both, the published code computes this one and discards its result.
        components_attend_components=get(False, "ltnt2ltnt") and not get(False, "img2ltnt"),
        attention=attention_config(arguments, weight_per_iteration=True),
        positions=position_config(arguments),
        mapping=_mapping_config(arguments),
        merge=merge,
        synthesis=synthesis_config(
            arguments,
            channel_base=2 * get(16 << 10, "channel_base", "fmap_base"),
            channel_max=get(512, "channel_max", "fmap_max"),
            stem="latent" if get(False, "latent_stem") else "constant",
            last_convolution=components > 0 and highest <= end,
            tanh=get(False, "tanh"),
            resample_filter=filter_taps(arguments, "resample_kernel", without=(1, 1)),
        ),
    )
    arguments.finish()
    return config


def _refuse_unsupported(arguments: Arguments) -> None:
    """Refuse values that the published commands do not set, or that never ran."""
    arguments.require(
        crop_ratio=None,
        fmap_decay=1.0,
        mapping_nonlinearity="lrelu",
        nonlinearity="lrelu",
        normalize_latents=True,
        iterative=False,
        c_dim=0,
        label_size=0,
    )
    arguments.ignore(*TRAINING_ARGUMENTS)


def _merge_config(arguments: Arguments) -> MergeConfig:
    get = arguments.get
    layer, kind = get(-1, "merge_layer"), get("sum", "merge_type")
    uniform, images = get(False, "merge_same"), get(1, "components_num")
    if not get(False, "merge"):
        among = get(False, "mapping_ltnt2ltnt") and get(False, "mapping_resnet")
        together = get(0, "mapping_shared_dim") or among
        alone = images == 1 and not get(False, "transformer")
        # A StyleGAN2 whose mapping network has attention or shared layers is loaded as a k-GAN that
        # merges a single image.
        return MergeConfig(images=1, kind="sum") if together and alone else MergeConfig()
    arguments.require(transformer=False)
    resolution = 2**layer if 0 <= layer < 20 else get(1024, "resolution")
    # A layer beyond the last one stands for the image.
    resolution = min(resolution, get(1024, "resolution"))
    return MergeConfig(images, MERGES.get(kind, kind), resolution, uniform)


def _self_attended(arguments: Arguments) -> int | None:
    """Return the resolution at which image positions attend to each other."""
    at, lowest, end = (
        arguments.get(default, name)
        for default, name in ((0, "img2img"), (0, "start_res"), (20, "end_res"))
    )
    return 2**at if at and lowest <= at < end else None


def _power(exponent: int) -> int | None:
    return 2**exponent if exponent else None


def _mapping_config(arguments: Arguments) -> MappingConfig:
    get = arguments.get
    layers, residual = _mapping_layers(arguments)
    shared_width = get(0, "mapping_shared_dim") or 0
    return MappingConfig(
        num_layers=layers,
        residual=residual,
        shared_width=shared_width,
        inner_width=get(None, "mapping_dim"),
        # Only residual layers have attention, independent of the argument.
        self_attention=get(False, "mapping_ltnt2ltnt") and residual and not shared_width,
        normalize="component",
        normalize_global=False,
        learning_rate_multiplier=get(0.01, "mapping_lrmul"),
    )


def _mapping_layers(arguments: Arguments) -> tuple[int, bool]:
    """Return the number of hidden layers, and whether they are residual."""
    layers = arguments.get(8, "mapping_num_layers", "mapping_layersnum")
    residual = arguments.get(False, "mapping_resnet")
    return (layers // 2 if residual else layers - 1), residual


def _discriminator_config(arguments: Arguments) -> tuple[DiscriminatorConfig, int, int, int]:
    """Return the config, and the resolution, channels and classes of the images."""
    get = arguments.get
    arguments.require(crop_ratio=None, fmap_decay=1.0, nonlinearity="lrelu")
    arguments.ignore(*TRAINING_ARGUMENTS)
    group = get(4, "mbstd_group_size")
    channels = get(1, "mbstd_num_channels", "mbstd_num_features")
    config = DiscriminatorConfig(
        architecture=get("resnet", "architecture"),
        channel_base=2 * get(16 << 10, "channel_base", "fmap_base"),
        channel_max=get(512, "channel_max", "fmap_max"),
        minibatch_stddev_group=group,
        minibatch_stddev_channels=channels if group > 1 else 0,
        resample_filter=filter_taps(arguments, "resample_kernel", without=(1, 1)),
        local_attention_below=_power(get(0, "local_attention")),
        **_aggregators(arguments),
    )
    size, image_channels = get(1024, "resolution"), get(3, "num_channels")
    classes = get(0, "c_dim", "label_size")
    arguments.finish()
    return config, size, image_channels, classes


def _aggregators(arguments: Arguments) -> dict[str, Any]:
    """Return the fields of the discriminator's attention."""
    get = arguments.get
    lowest, end = get(0, "start_res"), get(20, "end_res")
    if not get(False, "transformer"):
        arguments.ignore(*ATTENTION_ARGUMENTS)
        return {}
    options = AggregatorConfig(
        count=get(1, "components_num"),
        width=get(512, "a_dim", "latent_size"),
        resolutions=(2**lowest, 2 ** (end - 1)),
        image_attends=get(False, "ltnt2img"),
        attend_each_other=get(False, "ltnt2ltnt"),
        positions=get(False, "use_pos"),
        heads=get(1, "num_heads"),
        dropout=get(0.12, "attention_dropout") or 0.0,
        gate=get(False, "ltnt_gate"),
        gate_image=get(False, "img_gate"),
    )
    return {
        "aggregators": options,
        "positions": position_config(arguments),
        "image_attention_resolution": _self_attended(arguments),
    }


def _plain_block(name: str) -> str:
    """Rename `synthesis/8x8/Conv0_up/bias` to `synthesis/8/layer_0/bias`, and the like."""
    name = re.sub(r"(^|/)(\d+)x\2(?=/)", r"\1\2", name)
    if name.startswith("synthesis/"):
        name = re.sub(r"^(synthesis/\d+)/Conv0_up/", r"\1/layer_0/", name)
        name = re.sub(r"^(synthesis/\d+)/Conv1?/", r"\1/layer_1/", name)
    return name


def _plain_names(
    variables: Mapping[str, Any], config: GeneratorConfig, arguments: Arguments
) -> Leaves:
    """Rename variables: layers by resolution and index, noise and positions by their layer."""
    layers, residual = _mapping_layers(arguments)
    output = layers - 1 if residual else layers
    branch = "mapping" if config.num_local_latents else "mapping/global"
    plain = {}
    for name, value in variables.items():
        noise = re.fullmatch(r"synthesis/noise(\d{1,2})", name)
        grid = re.fullmatch(r"synthesis/pos_emb(\d{1,2})/(\w+)", name)
        if noise:
            index = int(noise[1])
            resolution = 2 ** ((index + 5) // 2)
            plain[f"synthesis/{resolution}/layer_{1 - index % 2}/noise"] = value
        elif grid:  # shared by both layers of a resolution
            block = f"synthesis/{2 ** int(grid[1])}"
            plain |= {f"{block}/layer_{index}/grid/{grid[2]}": value for index in (0, 1)}
        else:
            name = re.sub(rf"^(mapping(?:/global)?)/Dense{output}/", r"\1/output/", name)
            name = re.sub(r"^mapping/(?=Dense|AttLayer|output)", f"{branch}/", name)
            plain[_plain_block(name)] = value
    return plain


def _unused(config: GeneratorConfig, arguments: Arguments) -> list[str]:
    """Return patterns of arrays that the published generator stores but never reads."""
    layer = r"synthesis/\d+/(layer_[01]|ToRGB|ToRGB/extraLayer)"
    beyond = 2 * config.resolution
    unused = [rf"synthesis/{beyond}/layer_0/noise", r"synthesis/\d+/layer_[01]/grid/.*"]
    unused += [rf"{layer}/{LOCAL_UNUSED}"]
    if config.merge.kind == "sum":
        unused += [r"synthesis/\d+/merge\d+/weight"]
    if config.attention.kmeans_iterations:
        unused += [rf"{layer}/AttLayer_l2n/(weight|bias)_(key|to_pos)"]
    if arguments.get(False, "ltnt2ltnt") and not config.components_attend_components:
        unused += [rf"{layer}/(AttLayer_l2l|Densel2l_[01])/.*"]
    if not config.reads_latent_positions:
        unused += [r"ltnt_emb/emb", r"mapping/(weight|bias)_map_pos"]
    if not config.synthesis.style:
        unused += [rf"{layer}/mod_(weight|bias)"]
        if config.local_attention_below:
            unused += [rf"{layer}/weight"]
    if not config.synthesis.noise:
        unused += [r"synthesis/\d+/layer_[01]/noise"]
    return unused


def _defaults(config: GeneratorConfig, template: Mapping[str, Any]) -> Leaves:
    """Return the grids that TensorFlow computes, and zeros for a mean of w that was not tracked."""
    defaults: Leaves = {"moments/w_average": np.zeros(config.w_size, np.float32)}
    for path, leaf in flatten(template).items():
        if path.endswith("/positions/grid"):
            height, width, size = leaf.shape
            grid = sinusoidal(height, width, size, config.positions.directions)
            defaults[path] = np.asarray(grid)
    return defaults

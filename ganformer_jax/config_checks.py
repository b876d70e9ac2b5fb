"""Checks of a config before anything is compiled: ranges, and how options fit together."""

from __future__ import annotations

from ganformer_jax.config import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    LabelMappingConfig,
    LossConfig,
    ScheduleConfig,
    SynthesisConfig,
)
from ganformer_jax.config_ranges import Range, check_range, check_ranges
from ganformer_jax.errors import UserError


def validate(config: Config) -> None:
    """Check every range of an experiment, and how its options fit together.

    Raises:
        UserError: If an option has to be set differently; the message names it.
    """
    check_ranges(config)
    validate_networks(config.generator, config.discriminator)
    _check_losses(config.loss)
    _check_schedules(config)
    _check_augmentation(config)
    _check_frozen(config)


def validate_networks(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> None:
    """Check the configs of both networks: every range, and how the options fit together."""
    check_ranges(generator, "generator")
    check_ranges(discriminator, "discriminator")
    _check_without_effect(generator)
    _check_label_mapping(discriminator)
    _check_resolution(generator.resolution, generator.base_grid)
    _check_latents(generator)
    if generator.components:
        _check_heads(generator)
        _check_positions(generator)
    _check_channels("generator.synthesis", generator.synthesis, generator)
    _check_channels("discriminator", discriminator, generator)
    _check_minibatch_stddev(discriminator, generator.base_grid)


def _check_without_effect(config: GeneratorConfig) -> None:
    """Refuse options that another option overrules."""
    mapping, attention = config.mapping, config.attention
    for name in ("width", "last_hidden_width"):
        width = getattr(mapping, name)
        if width and (mapping.residual or mapping.shared_width):
            other = "shared_width" if mapping.shared_width else "residual"
            raise UserError(
                f"generator.mapping.{name} is {width}, but generator.mapping.{other} sets the "
                "width of the layers; leave one of them out"
            )
    if mapping.last_hidden_width and not mapping.num_layers:
        name = "generator.mapping.last_hidden_width"
        raise UserError(f"{name} needs generator.mapping.num_layers of 1 or more")
    if attention.kmeans_carried and not attention.kmeans_iterations:
        name = "generator.attention.kmeans"
        raise UserError(f"{name}_carried needs {name}_iterations of 1 or more")


def _check_label_mapping(config: DiscriminatorConfig) -> None:
    if config.label_logit != "embedding" and config.label_mapping != LabelMappingConfig():
        raise UserError(
            f"discriminator.label_mapping is set, but discriminator.label_logit is "
            f"{config.label_logit}, which has no such network; set discriminator.label_logit to "
            "embedding, or leave the options of discriminator.label_mapping out"
        )
    mapping, name = config.label_mapping, "discriminator.label_mapping"
    for option, needed in (("embedding_width", 1), ("hidden_width", 2)):
        if getattr(mapping, option) and mapping.num_layers < needed:
            raise UserError(f"{name}.{option} needs {name}.num_layers of {needed} or more")


def _shape(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"


def _check_resolution(resolution: int, base_grid: tuple[int, int]) -> None:
    longer = max(base_grid)
    doubled = resolution // longer
    if doubled < 2 or resolution % longer or doubled & (doubled - 1):
        below = longer << max(max(doubled, 0).bit_length() - 1, 1)
        wanted = "a power of two from 8 up"
        if base_grid != (4, 4):
            wanted = f"the longer side of generator.base_grid, {longer}, doubled once or more"
        raise UserError(
            f"generator.resolution is {resolution}; it should be {wanted}, "
            f"such as {below} or {2 * below}"
        )


def _check_latents(config: GeneratorConfig) -> None:
    components = config.components
    sizes = {"latent_size": config.latent_size, "intermediate_size": config.intermediate_size}
    for name, size in sizes.items():
        if components and size and size % components:
            below = size - size % components
            near = [width for width in (below, below + components) if width]
            raise UserError(
                f"generator.components is {components}, which does not divide generator.{name} "
                f"{size}; use {' or '.join(map(str, near))}"
            )


def _check_channels(
    name: str, network: SynthesisConfig | DiscriminatorConfig, generator: GeneratorConfig
) -> None:
    taps, base = list(network.resample_filter), network.channel_base
    if not sum(taps):
        raise UserError(
            f"{name}.resample_filter is {taps}; it should be numbers whose sum is not 0"
        )
    if not network.channels_at(generator.resolution):
        size = _shape(generator.image_size)
        raise UserError(f"{name}.channel_base is {base}, which leaves no channels at {size}")


def _attended_widths(config: GeneratorConfig) -> dict[str, int]:
    """Return the width of every layer that attends by its description."""
    synthesis, mapping, grids = config.synthesis, config.mapping, config.attended_resolutions
    widths = {f"channels at {_shape(config.grid_at(r))}": synthesis.channels_at(r) for r in grids}
    if grids and (config.components_attend_components or config.components_attend_image):
        widths["width of w, which components that attend have"] = config.w_size
    if mapping.self_attention and not mapping.shared_width and mapping.num_layers:
        where = "of the mapping network's self-attention"
        widths[f"width {where}"] = config.w_size if mapping.residual else config.z_size
        if mapping.num_layers > 1 and not mapping.residual:
            widths[f"hidden width {where}"] = mapping.width or config.w_size
    return widths


def _check_heads(config: GeneratorConfig) -> None:
    heads = config.attention.heads
    option = f"generator.attention.heads is {heads}"
    for where, width in _attended_widths(config).items():
        if width % heads:
            raise UserError(f"{option}, which does not divide the {width} {where}")


def _check_positions(config: GeneratorConfig) -> None:
    positions = config.positions
    divisors = {"sinus": 2 * positions.directions, "linear": positions.directions, "trainable": 2}
    divisor, width = divisors.get(positions.kind, 1), positions.size or config.w_size
    if width % divisor:
        raise UserError(
            f"positions of kind {positions.kind} need a width that {divisor} divides, not {width}: "
            "set generator.positions.size or generator.positions.directions"
        )


def _check_minibatch_stddev(config: DiscriminatorConfig, base_grid: tuple[int, int]) -> None:
    added, channels = config.minibatch_stddev_channels, config.channels_at(max(base_grid))
    if added and channels % added:
        raise UserError(
            f"discriminator.minibatch_stddev_channels is {added}, which does not divide the "
            f"{channels} channels at {_shape(base_grid)}"
        )


def _check_losses(loss: LossConfig) -> None:
    """Refuse losses of two networks that do not belong together, and penalties that are off."""
    for name in ("relativistic", "least_squares"):
        if (loss.generator == name) != (loss.discriminator == name):
            raise UserError(
                f"loss.generator is {loss.generator} and loss.discriminator {loss.discriminator}; "
                f"{name} needs both: set both to {name}"
            )
    for name in ("r2_gamma", "gradient_penalty_weight"):
        if getattr(loss, name) and not loss.r1_interval:
            raise UserError(
                f"loss.{name} is {getattr(loss, name)}, but loss.r1_interval 0 turns it off; "
                "set the interval to 1 or more"
            )


def _check_schedules(config: Config) -> None:
    """Check every schedule, and the values that it starts and ends with."""
    optimizer, loss = config.optimizer, config.loss
    rate, gamma = optimizer.learning_rate_schedule, loss.r1_gamma_schedule
    _check_schedule("optimizer.learning_rate_schedule", rate)
    _check_schedule("optimizer.beta2_schedule", optimizer.beta2_schedule)
    _check_schedule("optimizer.ema_kimg_schedule", optimizer.ema_kimg_schedule)
    _check_schedule("loss.r1_gamma_schedule", gamma)
    check_range("optimizer.beta2_schedule.final", optimizer.beta2_schedule.final, Range(0, 1))
    # Other options keep their ratio to these.
    for name, schedule, initial in (
        ("optimizer.learning_rate", rate, optimizer.learning_rate),
        ("loss.r1_gamma", gamma, loss.r1_gamma),
    ):
        if schedule != ScheduleConfig() and not initial:
            raise UserError(f"{name} is 0; {name}_schedule needs one above 0")


def _check_augmentation(config: Config) -> None:
    """Refuse options of augmentation that have no effect, or that need another loss."""
    options, schedule = config.augment, config.augment.p_schedule
    _check_schedule("augment.p_schedule", schedule)
    check_range("augment.p_schedule.final", schedule.final, Range(0, 1))
    changes = schedule != ScheduleConfig()
    if not options.transforms:
        if options.p or changes:
            raise UserError("augment.p has no effect: set augment.transforms, such as bgc")
        return
    if options.mode == "adaptive":
        if changes:
            raise UserError("augment.p_schedule has no effect: set augment.mode to fixed")
        loss = config.loss.discriminator
        if loss in ("wgan", "relativistic"):
            raise UserError(
                f"augment.mode is adaptive, but loss.discriminator {loss} has no r_t to adapt to: "
                "set augment.mode to fixed, and augment.p"
            )
    elif not options.p and not schedule.final:
        raise UserError("augment.transforms has no effect: set augment.p, or mode to adaptive")


def _check_schedule(name: str, schedule: ScheduleConfig) -> None:
    """Check that the fields of a schedule fit together."""
    for field in ("final", "kimg"):
        given = getattr(schedule, field) is not None
        if given and schedule.kind == "constant":
            raise UserError(f"{name}.{field} has no effect: set {name}.kind to linear or cosine")
        if not given and schedule.kind != "constant":
            raise UserError(f"{name}.kind {schedule.kind} needs {name}.{field}")
    if schedule.kimg is not None and schedule.kimg <= schedule.warmup_kimg:
        raise UserError(
            f"{name}.kimg is {schedule.kimg}; it should be above {name}.warmup_kimg, "
            f"{schedule.warmup_kimg}"
        )


def _check_frozen(config: Config) -> None:
    """Refuse to freeze more blocks than the discriminator has."""
    blocks, frozen = len(config.generator.resolutions) - 1, config.train.freeze_discriminator
    if frozen > blocks:
        raise UserError(
            f"train.freeze_discriminator is {frozen}; the discriminator has {blocks} blocks at "
            f"{_shape(config.generator.image_size)}"
        )


def check_batch(config: Config, devices: int) -> None:
    """Refuse a batch that devices, path lengths or minibatch-stddev groups do not divide.

    Each part of an accumulated batch has to be divided by them too.
    """
    batch, loss, shrink = config.train.batch_size, config.loss, config.loss.path_length_batch_shrink
    option, parts = f"train.batch_size {batch}", config.train.accumulate
    accumulated = f"train.accumulate {parts}"
    if batch < 1 or batch % devices:
        raise UserError(f"{option} does not divide over {devices} devices")
    if batch % (devices * parts):
        raise UserError(f"{option} does not divide by {accumulated} times {devices} devices")
    if loss.path_length_weight and loss.path_length_interval and batch % (devices * shrink * parts):
        divisor = f"loss.path_length_batch_shrink {shrink} times {devices} devices"
        divisor += f" times {accumulated}" if parts > 1 else ""
        raise UserError(f"{option} does not divide by {divisor}")
    group = min(config.discriminator.minibatch_stddev_group, batch)
    if config.discriminator.minibatch_stddev_channels and batch % group:
        multiple = f"discriminator.minibatch_stddev_group {group}"
        raise UserError(f"{option} is not a multiple of {multiple}")
    if config.discriminator.minibatch_stddev_channels and batch % (group * parts):
        multiple = f"discriminator.minibatch_stddev_group {group} times {accumulated}"
        raise UserError(f"{option} is not a multiple of {multiple}")

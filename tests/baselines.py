"""The tiny experiment with the networks of DCGAN or SAGAN."""

import dataclasses

from tiny import CLASSES, tiny_config

from ganformer_jax.config import Config, DiscriminatorConfig, GeneratorConfig, SynthesisConfig


def baseline_config(network: str, resolution: int = 8, labels: bool = True) -> Config:
    """A DCGAN or SAGAN for images of this resolution, by default with labels."""
    attends = resolution if network == "sagan" else None
    generator = GeneratorConfig(
        network=network,
        resolution=resolution,
        base_grid=(2, 2),
        components=0,
        latent_size=8,
        label_size=CLASSES if labels else 0,
        image_attention_resolution=attends,
        synthesis=SynthesisConfig(channel_base=64, channel_max=8, noise=False, style=False),
    )
    discriminator = DiscriminatorConfig(
        network=network,
        channel_base=64,
        channel_max=8,
        minibatch_stddev_channels=0,
        label_logit="projection" if labels else "class",
        image_attention_resolution=attends and resolution // 2,
    )
    config = tiny_config(0, r1_gamma=0.0)
    return dataclasses.replace(config, generator=generator, discriminator=discriminator)


def changed(config, **values):
    """The experiment with other values, by dotted name with "__" between the parts."""
    for name, value in values.items():
        *parts, last = name.split("__")
        path = [config]
        for part in parts:
            path.append(getattr(path[-1], part))
        for part, owner in zip((last, *parts[::-1]), path[::-1], strict=True):
            value = dataclasses.replace(owner, **{part: value})
        config = value
    return config

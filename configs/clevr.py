"""GANformer on CLEVR at 256x256, with the published settings: no styles, smaller latents.

Optimization and discriminator are those of ffhq.py.

Command:   ganformer-jax train --config clevr
Hardware:  one or more accelerators that divide the batch of 32
Cost:      25,000 kimg; not measured here
Expected:  not trained here; the paper reports its results in table 1 (arXiv 2103.01209)

`ganformer-jax prepare clevr` makes the images as the published code does, in the folder
`data/clevr`: docs/data.md.
"""

import dataclasses

from ganformer_jax.config import (
    DataConfig,
    GeneratorConfig,
    LossConfig,
    MappingConfig,
    SynthesisConfig,
)
from ganformer_jax.config.files import load_config

config = dataclasses.replace(
    load_config("ffhq"),
    generator=GeneratorConfig(
        resolution=256,
        components=8,
        latent_size=128,
        attention_resolutions=(4, 128),
        dtype="bfloat16",
        mapping=MappingConfig(self_attention=False),
        synthesis=SynthesisConfig(channel_base=32_768, style=False),
    ),
    data=DataConfig(name="data/clevr", threads=8),
    loss=LossConfig(r1_gamma=40.0),
)

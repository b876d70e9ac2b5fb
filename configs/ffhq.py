"""GANformer on FFHQ at 256x256, with the published settings: mirrored at random.

Command:   ganformer-jax train --config ffhq
Hardware:  one or more accelerators that divide the batch of 32
Cost:      25,000 kimg; not measured here
Expected:  not trained here; the paper reports its results in table 1 (arXiv 2103.01209)

`ganformer-jax prepare ffhq` makes the images as the published code does, in the folder `data/ffhq`:
docs/data.md. clevr.py, bedrooms.py and cityscapes.py start from this file.

Activations are bfloat16, which halves their memory and suits the matrix units of accelerators. It
has the exponents of float32, so gradients need no scaling; parameters, losses, softmax and
normalization are float32. Trained weights are sampled and measured in float32.
"""

from ganformer_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    SynthesisConfig,
    TrainConfig,
)

config = Config(
    generator=GeneratorConfig(
        resolution=256,
        components=16,
        latent_size=512,
        attention_resolutions=(4, 128),
        dtype="bfloat16",
        synthesis=SynthesisConfig(channel_base=32_768),
    ),
    discriminator=DiscriminatorConfig(channel_base=32_768, dtype="bfloat16"),
    data=DataConfig(name="data/ffhq", mirror=True, threads=8),
    loss=LossConfig(r1_gamma=10.0),
    optimizer=OptimizerConfig(learning_rate=2e-3, ema_kimg=10.0, ema_rampup=None),
    train=TrainConfig(total_kimg=25_000.0, batch_size=32, log_kimg=8.0),
)

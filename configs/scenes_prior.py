"""An autoregressive prior (VQGAN, arXiv 2012.09841) on the built-in scenes.

Command:   ganformer-jax train --config scenes_prior
Hardware:  two CPU cores
Cost:      not measured to the end; 48 kimg took 37 minutes on busy cores
Expected:  at 48 kimg, half of them of the autoencoder, an error of 5.8 levels and an swd of 27
"""

from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.prior import (
    AutoencoderConfig,
    CodebookConfig,
    PriorConfig,
    PriorOptimizerConfig,
    PriorStageConfig,
)
from ganformer_jax.config.training import ScheduleConfig, TrainConfig

AUTOENCODER, TOTAL = 40.0, 120.0
"""Thousands of images that train the autoencoder, and of both stages."""

config = PriorConfig(
    autoencoder=AutoencoderConfig(width=16, multipliers=(1, 2, 4)),
    codebook=CodebookConfig(decay=0.95),
    discriminator=PatchConfig(width=16, layers=2),
    prior=PriorStageConfig(autoencoder_kimg=AUTOENCODER, adversarial_kimg=30.0),
    autoencoder_optimizer=PriorOptimizerConfig(
        learning_rate=1e-3,
        beta1=0.5,
        learning_rate_schedule=ScheduleConfig(kind="cosine", final=0.0, kimg=AUTOENCODER),
    ),
    transformer_optimizer=PriorOptimizerConfig(
        weight_decay=0.01,
        learning_rate_schedule=ScheduleConfig(
            kind="cosine", final=0.0, kimg=TOTAL - AUTOENCODER, warmup_kimg=1.0
        ),
    ),
    train=TrainConfig(
        total_kimg=TOTAL,
        batch_size=8,
        log_kimg=1.0,
        image_kimg=10.0,
        metric_kimg=10.0,
        checkpoint_kimg=10.0,
    ),
)

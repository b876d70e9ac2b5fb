"""Unpaired translation (CycleGAN, arXiv 1703.10593) between scenes and drawings of scenes.

Command:   ganformer-jax train --config scenes_translation
Hardware:  one CPU core
Cost:      21 minutes, with the scenes already rendered
Expected:  drawings with the outlines and most colors of the scenes; the mean absolute difference
           from the true drawings (metric/error in metrics.jsonl) falls to 10.5 levels, and from
           the true scenes to 11.2 (one run, 2026-11-30)
"""

from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.training import ScheduleConfig, TrainConfig
from ganformer_jax.config.translation import (
    TranslationConfig,
    TranslationDataConfig,
    TranslationOptimizerConfig,
    TranslatorConfig,
)

config = TranslationConfig(
    generator=TranslatorConfig(image_size=(32, 32), width=16, blocks=4),
    discriminator=PatchConfig(width=32, layers=2),
    data=TranslationDataConfig(
        name="scenes", target="scenes_drawn", train_images=20_000, held_out_images=2_000
    ),
    optimizer=TranslationOptimizerConfig(
        learning_rate=4e-4,
        learning_rate_schedule=ScheduleConfig(kind="linear", final=0.0, kimg=40.0),
    ),
    train=TrainConfig(
        total_kimg=40.0,
        batch_size=4,
        log_kimg=1.0,
        image_kimg=5.0,
        metric_kimg=5.0,
        checkpoint_kimg=10.0,
    ),
)

"""Unpaired translation between two sets of your images, with the published settings (CycleGAN).

Zhu et al. 2017 (arXiv 1703.10593, section 7): 256x256, nine residual blocks, batches of 1; images
are mirrored, and cropped at random from 286x286; the learning rate is constant for 100 thousand
images and falls to 0 over as many, which is 200 passes through a thousand.

Command:   ganformer-jax train --config translate
           with your sets in data/photos and data/paintings, or --data.name and --data.target
Hardware:  an accelerator
Cost:      200 kimg; not measured here
Expected:  not trained here; the paper shows its results
"""

from ganformer_jax.config.training import ScheduleConfig
from ganformer_jax.config.translation import (
    TranslationConfig,
    TranslationDataConfig,
    TranslationOptimizerConfig,
)

config = TranslationConfig(
    data=TranslationDataConfig(
        name="data/photos", target="data/paintings", mirror=True, enlarge=0.1171875
    ),
    optimizer=TranslationOptimizerConfig(
        learning_rate_schedule=ScheduleConfig("linear", final=0.0, kimg=200.0, constant_kimg=100.0)
    ),
)

"""GANformer2 (arXiv 2111.08960) on the built-in scenes at 32x32: layouts, then images of them.

Command:   ganformer-jax train --config scenes_ganformer2
Hardware:  one CPU core
Cost:      half an hour with other work beside it, two to five minutes of it to compile
Expected:  layouts of a few compact segments, and images of them; the sliced Wasserstein distance
           falls from about 190 to between 14 and 19, three runs (2026-12-01)
"""

from ganformer_jax.config.ganformer2 import GANformer2Config, GANformer2LossConfig
from ganformer_jax.config.training import DataConfig, TrainConfig

config = GANformer2Config(
    data=DataConfig(name="scenes", train_images=20_000, held_out_images=2_000),
    loss=GANformer2LossConfig(together_kimg=15.0),
    train=TrainConfig(
        total_kimg=60.0,
        batch_size=16,
        log_kimg=0.5,
        image_kimg=2.5,
        metric_kimg=5.0,
        checkpoint_kimg=5.0,
    ),
)

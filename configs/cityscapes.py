"""GANformer on Cityscapes at 256x256, with the published settings: ffhq.py with stronger R1.

Command:   ganformer-jax train --config cityscapes
Hardware:  one or more accelerators that divide the batch of 32
Cost:      25,000 kimg; not measured here
Expected:  not trained here; the paper reports its results in table 1 (arXiv 2103.01209)

`ganformer-jax prepare cityscapes` makes the images as the published code does, in the folder
`data/cityscapes`: docs/data.md.
"""

import dataclasses

from ganformer_jax.config import DataConfig, LossConfig
from ganformer_jax.config.files import load_config

config = dataclasses.replace(
    load_config("ffhq"),
    data=DataConfig(name="data/cityscapes", mirror=True, threads=8),
    loss=LossConfig(r1_gamma=20.0),
)

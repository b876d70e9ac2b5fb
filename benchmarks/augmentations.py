"""Draw what each set of augmentations does to images of a dataset, always applied.

Command:   python benchmarks/augmentations.py --data data/scenes --out augmentations.png
"""

from __future__ import annotations

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.augment import augment, diff_augment, expand
from ganformer_jax.data.batches import open_dataset
from ganformer_jax.pixels import from_uint8, to_uint8
from ganformer_jax.visualize import image_grid, save_png

SETS = ("blit", "geom", "color", "filter", "noise", "cutout", "bgc")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="data/scenes", help="folder of a dataset")
    parser.add_argument("--size", type=int, nargs=2, default=[32, 32], help="height and width")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--p", type=float, default=1.0)
    options = parser.parse_args()
    height, width = options.size
    source = open_dataset(options.data, "data", size=(height, width))
    found = [source[index]["images"] for index in range(options.columns)]
    images = jnp.asarray(from_uint8(np.stack(found)))
    rows = [images]
    for name in SETS:
        rows.append(augment(images, jax.random.key(1), options.p, expand([name])))
    rows.append(diff_augment(images, jax.random.key(1), ("color", "translation", "cutout")))
    grid = image_grid(np.asarray(to_uint8(jnp.concatenate(rows))), options.columns, scale=2)
    save_png(options.out, grid)
    print(f"{options.out}: as they are, {', '.join(SETS)}, DiffAugment, row by row")


if __name__ == "__main__":
    main()

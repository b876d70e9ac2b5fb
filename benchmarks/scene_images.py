"""Draw the first scenes of each built-in dataset, and their masks of objects.

Command:   python benchmarks/scene_images.py --out scenes.png
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np

from ganformer_jax.scenes.layout import VARIANTS
from ganformer_jax.scenes.rendering import render_batch
from ganformer_jax.visualize import component_palette, image_grid, save_png


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--names", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--masks", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    indices, rows = np.arange(options.columns, dtype=np.uint32), []
    for variant in map(VARIANTS.__getitem__, options.names):
        batch = render_batch(indices, 0, options.resolution, variant=variant)
        colors = np.concatenate([[[0, 0, 0]], component_palette(variant.max_objects)])
        rows.append(np.asarray(batch.images))
        if options.masks:
            rows.append(colors[np.asarray(batch.masks)].astype(np.uint8))
    save_png(options.out, image_grid(np.concatenate(rows), options.columns))
    print(f"{options.out}: {', '.join(options.names)}{', each with its masks' * options.masks}")


if __name__ == "__main__":
    main()

"""Train the published PyTorch networks a little and save a snapshot in their format.

Command:  python benchmarks/published_snapshot.py CHECKOUT --images scenes.npz --out snapshot.pkl
Cost:     about twenty minutes on one CPU core

Needs PyTorch, which this package does not, and a checkout of github.com/dorarad/gansformer, whose
networks and losses it runs unchanged, with its defaults: logistic losses, R1 every 16 steps, a
learning rate of 0.002. Their own training loop needs CUDA. `transfer.py --published` gives this
command the images of scenes and starts runs from the snapshot.
"""

from __future__ import annotations

import argparse
import pathlib
import pickle
import time

import cases
import numpy as np
from published import R1_INTERVAL, Trial


def save(trial: Trial, path: pathlib.Path) -> None:
    """Write both networks and the average as the published training loop does."""
    networks = {"G": trial.g, "D": trial.d, "Gs": trial.average}
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        pickle.dump({"dataset_args": {}, **networks}, file)
    partial.replace(path)


def train(trial: Trial, images: np.ndarray, steps: int, ema_kimg: float) -> None:
    """Update both networks and the average.

    Args:
        trial: Networks and optimizers.
        images: uint8, [N, H, W, C].
        steps: Of one generator and one discriminator update each.
        ema_kimg: Half-life of the average in thousand images; at first a twentieth of those seen.
    """
    torch, batch = trial.torch, trial.case.batch
    draw = np.random.default_rng(0)
    began = time.perf_counter()
    for step in range(steps):
        chosen = images[draw.integers(len(images), size=batch)].transpose(0, 3, 1, 2)
        trial.images = torch.from_numpy(chosen.astype(np.float32) / 127.5 - 1)
        trial.update("G_both", trial.g, 1)
        trial.update("D_main", trial.d, 1)
        if step % R1_INTERVAL == 0:
            trial.update("D_reg", trial.d, R1_INTERVAL)
        half_life = min(ema_kimg * 1000, max(step * batch, 1) / 20)
        trial.follow(0.5 ** (batch / half_life))
        if (step + 1) % 100 == 0:
            rate = (step + 1) * batch / (time.perf_counter() - began)
            print(f"{(step + 1) * batch / 1000:.1f} kimg, {rate:.0f} images/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", help="folder of the published code")
    parser.add_argument("--images", type=pathlib.Path, required=True, help="npz, `images` uint8")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="snapshot to write")
    parser.add_argument("--kimg", type=float, default=30.0)
    arguments = parser.parse_args()
    images = np.load(arguments.images)["images"]
    # Those of the config `scenes_ganformer`, with half as many layers in the mapping network.
    case = cases.Case(images.shape[1], 1024, 64, batch=16, components=8)
    trial = Trial(case, arguments.checkout, "cpu")
    train(trial, images, int(arguments.kimg * 1000) // case.batch, ema_kimg=5.0)
    save(trial, arguments.out)


if __name__ == "__main__":
    main()

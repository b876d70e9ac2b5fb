"""A GANformer2 in training: scenes, and their layouts step by step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax import visualize
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.experiment.ganformer2.data import GANformer2Data
from ganformer_jax.experiment.latest import Figures, LatestNetworks, Lower
from ganformer_jax.pixels import as_rgb
from ganformer_jax.sampling.planned_scenes import PlannedScenes, SceneSampler
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.ganformer2_state import WEIGHTS, GANformer2State
from ganformer_jax.train.observing import Moment

GRID, COLUMNS = 32, 8
"""Images in a sample grid, and in a row of it and of a sheet of layouts."""


class LatestScenes(LatestNetworks):
    """The averaged generators of a state in training.

    Attributes:
        sampler: Sampler of both generators.
    """

    def __init__(self, config: GANformer2Config, training: Placement):
        options = config.execution
        shape = options.resolution, options.resolution, options.image_channels
        super().__init__(training, sampler_weights, shape, GRID)
        self.sampler = SceneSampler(config, self.batch_size, self.placement.batch)

    def _lower(self, weights: Mapping[str, Any]) -> Mapping[str, Lower]:
        return {"scenes": functools.partial(self.sampler.lower, weights)}

    def images(
        self, data: GANformer2Data, state: GANformer2State, indices: Sequence[int]
    ) -> np.ndarray:
        """Return images of scenes."""
        return self.sampler(self.weights(state), indices).images

    def figures(self, data: GANformer2Data, now: Moment) -> Callable[[], Figures]:
        """Return a function that draws images, and a sheet of layouts step by step."""
        weights, held_out = self.weights(now.state), data.held_out(COLUMNS)
        return functools.partial(draw_scenes, self.sampler, weights, held_out)


def sampler_weights(state: GANformer2State) -> dict[str, Any]:
    """Return the part of a state that `SceneSampler` reads."""
    return {name: getattr(state, name) for name in WEIGHTS}


def draw_scenes(
    sampler: SceneSampler, weights: Mapping[str, Any], held_out: Mapping[str, np.ndarray]
) -> Figures:
    """Draw images of the first seeds, and their layouts above real ones."""
    drawn = sampler(weights, range(GRID))
    sheet = layout_sheet(drawn, sampler.config.planning.segments, COLUMNS, held_out)
    return {
        "samples": visualize.image_grid(drawn.images, COLUMNS, scale=None),
        "layouts": sheet,
    }


def segment_palette(segments: int) -> np.ndarray:
    """Return an RGB color, uint8, for each segment; the background is gray."""
    colors = visualize.component_palette(segments - 1)
    return np.concatenate([np.full((1, 3), 96, np.uint8), colors])


def layout_sheet(
    scenes: PlannedScenes,
    segments: int,
    columns: int,
    real: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Draw the layouts of scenes after each step of planning, their depth, and the images.

    Args:
        scenes: The scenes.
        segments: Segments of a layout.
        columns: Scenes to draw, at most.
        real: `images` and `layouts`, labels, of real scenes to draw below.
    """
    palette = segment_palette(segments)
    count = min(columns, len(scenes.images))
    steps = np.moveaxis(scenes.layouts[:count, 1:], 1, 0)
    rows = [palette[step] for step in steps]
    names = [f"step {number}" for number in range(1, len(rows) + 1)]
    depth = scenes.depth[:count]
    low, high = depth.min((1, 2), keepdims=True), depth.max((1, 2), keepdims=True)
    gray = (255 * (depth - low) / np.maximum(high - low, 1e-6)).astype(np.uint8)
    rows += [np.repeat(gray[..., None], 3, -1), as_rgb(scenes.images[:count])]
    names += ["depth", "image"]
    if real is not None and len(real["images"]) >= count:
        rows.append(palette[real["layouts"][:count]])
        rows.append(as_rgb(real["images"][:count]))
        names += ["real layout", "real image"]
    return visualize.image_grid(np.concatenate(rows), count, scale=None, row_headings=names)

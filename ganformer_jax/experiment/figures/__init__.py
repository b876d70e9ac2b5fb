"""Figures of a trained generator, by name: each is a function of a `FigureContext`."""

from ganformer_jax.experiment.figures.attention import attention, layers, segments
from ganformer_jax.experiment.figures.context import FigureContext, Still, Unsuitable, Video
from ganformer_jax.experiment.figures.interpolation import component_paths, w_path, z_path
from ganformer_jax.experiment.figures.mixing import component_mixing, layer_mixing, removal
from ganformer_jax.experiment.figures.samples import samples
from ganformer_jax.experiment.figures.variation import noise, truncation

__all__ = ["FIGURES", "FigureContext", "Still", "Unsuitable", "Video"]

FIGURES = {
    "samples": samples,
    "attention": attention,
    "segments": segments,
    "layers": layers,
    "interpolation-z": z_path,
    "interpolation-w": w_path,
    "interpolation-components": component_paths,
    "mixing-layers": layer_mixing,
    "mixing-components": component_mixing,
    "removal": removal,
    "noise": noise,
    "truncation": truncation,
}

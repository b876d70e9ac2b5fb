"""Directions in w: found in the weights that read it, or by regression on images.

Needs numpy, jax, flax and, for regression, scikit-learn.
"""

from ganformer_jax.directions.direction import ALL, COMPONENTS, GLOBAL, Direction, component_name
from ganformer_jax.directions.factorization import (
    Factors,
    Reader,
    component_readers,
    factorize,
    global_readers,
)
from ganformer_jax.directions.files import direction_record, read_directions, save_directions
from ganformer_jax.directions.properties import color_names, property_names, region_properties
from ganformer_jax.directions.regression import LinearFit, fit_linear, smallest_changes
from ganformer_jax.directions.targets import TargetChange, target_change

__all__ = [
    "ALL",
    "COMPONENTS",
    "GLOBAL",
    "Direction",
    "Factors",
    "LinearFit",
    "Reader",
    "TargetChange",
    "color_names",
    "component_name",
    "component_readers",
    "direction_record",
    "factorize",
    "fit_linear",
    "global_readers",
    "property_names",
    "read_directions",
    "region_properties",
    "save_directions",
    "smallest_changes",
    "target_change",
]

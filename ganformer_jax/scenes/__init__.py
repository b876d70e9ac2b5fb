"""The built-in datasets: rendered scenes of simple solids, with masks and attributes."""

"""The built-in dataset: rendered scenes of simple solids, with masks and attributes."""

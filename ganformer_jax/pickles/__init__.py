"""Pickles and what they hold, read without running anything that they name."""

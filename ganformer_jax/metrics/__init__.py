"""Measures of image quality, one file each: features in, a number out.

Import from the file: `from ganformer_jax.metrics.sliced_wasserstein import sliced_wasserstein`.
"""

"""Evaluation: metrics of image sets, of latent paths, of edits, and of components on scenes."""
